"""Checkpoints: where a training stands, on disk, so that it can go on as if it had never stopped.

    FOLDER/00000007/state.safetensors    tensors
    FOLDER/00000007/state.json           numbers, and the SHA-256 of both files' contents
    FOLDER/00000008/…

A checkpoint is written under a temporary name, flushed to the disk and then renamed, so that it is whole or not there. The one
before it stays until the next is complete: there are two, and a damaged one (its checksum tells) makes way for the other.
Nothing that is read can run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from throughtime.data.files import not_written, write_atomically
from throughtime.learning.tensor_files import read_tensors

VERSION = 1
MOST_JSON = 1 << 26  # bytes; the history of a training has some hundred for each epoch
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
State = tuple[dict[str, Tensor], dict[str, Any]]


def parse_every(every: int | str) -> tuple[int | None, float | None]:
    """(updates, None) or (None, seconds) of `200`, `"200"`, `"30s"`, `"5min"` or `"1h"`.

    Raises: ValueError: something else, or not positive.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|h)?", str(every), re.ASCII)
    number = float(found[1]) if found else 0.0
    if found is None or number <= 0 or (found[2] is None and "." in found[1]):
        raise ValueError(f"every: expected a number of updates such as 200, or a time such as 5min, found {every!r}")
    return (int(number), None) if found[2] is None else (None, number * UNITS[found[2]])


class Checkpoints:
    """A folder of checkpoints of one training.

    Args:
        folder: made when the first checkpoint is written.
        every: how often: a number of updates, or a time such as "5min", "30s" or "1h".
        resume: whether the training goes on from the last checkpoint in the folder.
        config: kept in each checkpoint, in values that JSON knows: what is needed to set up the same training again.

    Raises: ValueError: a wrong `every`; or, without `resume`, a folder that has checkpoints.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | str = "5min",
        *,
        resume: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.resume = resume
        self._config = dict(config or {})
        self._updates, self._seconds = parse_every(every)
        self._since, self._last = 0, time.monotonic()
        self._good: Path | None = None
        if not resume and numbered(self.folder):
            raise ValueError(f"{self.folder}: expected no checkpoints, found those of a training that can be resumed")

    def due(self) -> bool:
        """Whether it is time for a checkpoint; asked once after every update."""
        self._since += 1
        if self._updates is not None:
            return self._since >= self._updates
        assert self._seconds is not None
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: State) -> None:
        """Write a checkpoint of `state`: tensors by name, and values that JSON knows.

        Raises: OSError: it cannot be written, with the bytes that it needs; what was there before stays.
        """
        from safetensors.torch import save

        tensors = save(state[0])
        content = json.dumps(
            {"config": self._config, "state": state[1]}, ensure_ascii=False
        )  # floats come back exactly
        described = json.dumps({"version": VERSION, "sha256": _checksum(tensors, content), "content": content})
        path = self.folder / f"{max(map(int, numbered(self.folder)), default=0) + 1:08d}"
        temporary = self.folder / f".{path.name}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)  # of a training that was killed here
            temporary.mkdir()
            write_atomically(temporary / "state.safetensors", tensors)
            write_atomically(temporary / "state.json", described)
            _flush(temporary)
            os.rename(temporary, path)
            _flush(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise not_written(error, self.folder, "a checkpoint", len(tensors) + len(described)) from error
        for old in numbered(self.folder):
            if self.folder / old not in (path, self._good):
                shutil.rmtree(self.folder / old, ignore_errors=True)
        self._good = path
        self._since, self._last = 0, time.monotonic()

    def load(self) -> State | None:
        """The last whole checkpoint; None where there is none at all. A damaged one is passed over with a warning.

        Raises: ValueError: there are checkpoints, and all are damaged.
        """
        names = numbered(self.folder)
        for name in reversed(names):
            try:
                tensors, content = _read(self.folder / name)
            except (ValueError, OSError) as error:
                warnings.warn(f"{error}; going back to the checkpoint before it", RuntimeWarning, stacklevel=2)
                continue
            self._good = self.folder / name
            self._config = self._config or content["config"]
            return tensors, content["state"]
        if names:
            raise ValueError(f"{self.folder}: expected a whole checkpoint, found {len(names)}, all damaged")
        return None


def numbered(folder: Path) -> list[str]:
    """The names of the checkpoints in `folder`, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if re.fullmatch(r"\d{8}", entry.name, re.ASCII))


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The `config` that the last whole checkpoint in `folder` was made with.

    Raises: ValueError: there is no checkpoint, or all are damaged.
    """
    checkpoints = Checkpoints(folder, resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the training that loads it will tell
        found = checkpoints.load()
    if found is None:
        raise ValueError(f"{folder}: expected checkpoints to resume from, found none")
    return checkpoints._config


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the content of a checkpoint.

    Raises: ValueError, OSError: a file is missing, unreadable or not as it was written.
    """
    size = (path / "state.json").stat().st_size
    if size > MOST_JSON:
        raise ValueError(f"{path / 'state.json'}: expected at most {MOST_JSON:,} bytes, found {size:,}")
    try:
        described = json.loads((path / "state.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path / 'state.json'}: expected JSON, found: {error}") from error
    if not isinstance(described, dict) or described.get("version") != VERSION:
        raise ValueError(f"{path / 'state.json'}: expected an object of version {VERSION}, found another")
    text = described.get("content")
    tensors = (path / "state.safetensors").read_bytes()
    if not isinstance(text, str) or described.get("sha256") != _checksum(tensors, text):
        raise ValueError(f"{path}: expected a checkpoint as it was written, found another checksum")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path / 'state.json'}: content: expected JSON, found: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("config", "state")):
        raise ValueError(f"{path / 'state.json'}: content: expected the objects config and state, found others")
    return read_tensors(path / "state.safetensors", tensors), content


def _checksum(tensors: bytes, content: str) -> str:
    digest = hashlib.sha256(tensors)
    digest.update(content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _flush(folder: Path) -> None:
    """Have the names in `folder` on the disk, where the system can do that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
