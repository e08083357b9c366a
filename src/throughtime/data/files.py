"""Files that are either whole or absent."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file so that `path` holds either its old content or all of the new one, never a part.

    The content goes to a temporary file in the same folder (a rename is atomic within one file system only), is flushed
    to the disk, and then takes the name `path`. A symbolic link is followed. On any failure the temporary file is removed
    and `path` is as it was.

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
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def not_written(error: OSError, path: Path, what: str, needed: int) -> OSError:
    """`error` about the folder `path`, with the bytes that `what` needs and those that are free there."""
    told = f"{error.strerror or error}: {what} needs {needed:,} bytes"
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
    if there is not None:
        told += f", {shutil.disk_usage(there).free:,} are free"
    return OSError(error.errno, told, str(path))
