"""Files and folders that are either whole or absent."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file so that `path` holds either its old content or all of the new one, never a part.

    The content goes to a temporary file in the same folder (a rename is atomic within one file system only), is flushed
    to the disk, and then takes the name `path`. A symbolic link is followed. On any failure the temporary file is removed
    and `path` is as it was; that of a writer that was killed is removed by the next.

    Args:
        path: the file to write; its folder must exist.
        content: bytes; a string, written as UTF-8 with its line ends untouched; or a function that is given the open
            binary file and writes to it.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _remove_leftovers(target)
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a write, such as to a full disk
            error.filename = os.fspath(path)
        raise


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of writers of `target` that were killed; whoever still writes holds a lock on its own."""
    named = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.tmp")
    for path in target.parent.iterdir():
        if named.fullmatch(path.name) and path.is_file():
            with suppress(OSError), open(path, "rb") as file:  # locked, or another's to remove
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the name `path` when the block ends; what had that name is then removed.

    Until then it has a temporary name beside `path`. Where the block fails, or the renaming, it is removed, and `path` is as it
    was; that of a writer that was killed is removed by the next.

    Raises: OSError: it cannot be made or renamed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        _remove_old_folders(path, temporary)
        yield temporary
        _take_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _remove_old_folders(path)


def _remove_old_folders(path: Path, *kept: Path) -> None:
    """Remove the temporary folders of `path` that were killed while they were written; what was about to be replaced stays as
    long as there is nothing in its place."""
    old = r"(\.old)?" if path.exists() else ""
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp{old}")
    for folder in path.parent.iterdir():
        if named.fullmatch(folder.name) and folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _take_place(new: Path, path: Path) -> None:
    """Give the folder `new` the name `path`; what had it is removed when that is done."""
    if not path.exists():
        os.rename(new, path)
        return
    old = new.with_name(f"{new.name}.old")
    os.rename(path, old)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def not_written(error: OSError, path: Path, what: str, needed: int) -> OSError:
    """`error` about the folder `path`, with the bytes that `what` needs and those that are free there."""
    told = f"{error.strerror or error}: {what} needs {needed:,} bytes"
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
    if there is not None:
        told += f", {shutil.disk_usage(there).free:,} are free"
    return OSError(error.errno, told, str(path))
