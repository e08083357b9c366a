"""Text files line by line, with the numbers of the lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from throughtime.data.errors import DataError

BOM = b"\xef\xbb\xbf"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, without line ends and byte order mark, counted from 1.

    Raises:
        DataError: a byte that is not UTF-8.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            if number == 1:
                raw = raw.removeprefix(BOM)
            try:
                yield number, raw.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                place = f"{path}:{number}: byte {error.start + 1}"
                raise DataError(place, "UTF-8 text", f"the byte 0x{raw[error.start]:02x}") from None
