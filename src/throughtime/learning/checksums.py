"""Checksums of a folder's files, in the form that `sha256sum --check SHA256SUMS` reads: a bit that flips is noticed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from throughtime.data.files import write_atomically

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)")
MOST = 1 << 16  # bytes; a line for each of a few files


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the file SHA256SUMS of the files `names` in `folder`. Raises: OSError: a file cannot be read or written."""
    write_atomically(folder / SUMS, "".join(f"{_checksum(folder / name)}  {name}\n" for name in names))


def check_checksums(folder: Path, names: Iterable[str]) -> None:
    """Check the files `names` of `folder`; a folder without SHA256SUMS, from before there was one, is taken as it is.

    Raises:
        ValueError: a file is not as it was written, or SHA256SUMS itself is not.
        OSError: a file cannot be read.
    """
    path = folder / SUMS
    if not path.exists():
        return
    with open(path, "rb") as file:
        lines = file.read(MOST).decode("ascii", "replace").removesuffix("\n").split("\n")
    found = [_LINE.fullmatch(line) for line in lines]
    written = {line[2]: line[1] for line in found if line is not None}
    for name in names:
        if None in found or name not in written:
            raise ValueError(f"{path}: expected the checksum of {name}, found none that can be read")
        if _checksum(folder / name) != written[name]:
            raise ValueError(
                f"{folder / name}: expected the file as it was written, found one that does not have the checksum in {SUMS}"
            )


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
