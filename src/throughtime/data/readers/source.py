"""What is read: a file, a folder or standard input; unpacked where it is gzipped, as UTF-8 whatever it is written in."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from throughtime.data.errors import DataError

STDIN = "-"
HEAD = 1 << 18  # bytes that are looked at to tell what a file is
GZIP, UTF8_MARK = b"\x1f\x8b", codecs.BOM_UTF8
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNPACKED_AT_LEAST, MOST_TIMES = 1 << 28, 100
"""What a gzip file may become: 256 MiB, or a hundred times its size; columns that hardly change come to twenty."""


@dataclass(frozen=True)
class Source:
    """A file or folder that is there. `str` of it begins the messages about it.

    Attributes:
        path: where it is.
        name: what to call it.
        encoding: what its text is written in.
        content: the bytes, as UTF-8 text where they are text; None: they are in the file as they should be.
    """

    path: Path
    name: str
    encoding: str = "utf-8"
    content: bytes | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], encoding: str | None = None) -> Source:
        """The source at `path`; "-" is standard input.

        Args: encoding: of its text; None: UTF-8, or what a byte order mark tells.

        Raises:
            DataError: neither a file nor a folder (a pipe or a device may never end), or broken gzip.
            ValueError: no such encoding.
            OSError: it cannot be opened.
        """
        known = _codec(encoding)
        if os.fspath(path) == STDIN:
            return cls(Path(STDIN), "standard input", *_as_utf8("standard input", sys.stdin.buffer.read(), known))
        path = Path(path)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return cls(path, str(path), known or "utf-8")
        if not stat.S_ISREG(mode):
            raise DataError(path, "a file or a folder", "a pipe" if stat.S_ISFIFO(mode) else "a device")
        with open(path, "rb") as file:
            beginning = file.read(4)
        mark = next((name for mark, name in MARKS.items() if beginning.startswith(mark)), None)
        if beginning[:2] != GZIP and mark is None and known in (None, "utf-8"):
            return cls(path, str(path))
        return cls(path, str(path), *_as_utf8(str(path), path.read_bytes(), known))

    def __str__(self) -> str:
        return self.name

    @property
    def is_folder(self) -> bool:
        return self.content is None and self.path.is_dir()

    @property
    def suffix(self) -> str:
        """Of the name, in small letters; that of the file in a .gz."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        return next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")

    def binary(self) -> BinaryIO:
        """The content as an open file."""
        return open(self.path, "rb") if self.content is None else io.BytesIO(self.content)

    @cached_property
    def head(self) -> bytes:
        """The first bytes."""
        if self.is_folder:
            return b""
        with self.binary() as file:
            return file.read(HEAD)

    @cached_property
    def sample(self) -> list[str]:
        """The first lines, whole, without their ends; bytes that are not UTF-8 are replaced."""
        whole = len(self.head) < HEAD
        lines = self.head.removeprefix(UTF8_MARK).decode(errors="replace").split("\n")
        return [line.rstrip("\r") for line in (lines if whole and lines[-1] else lines[:-1] or lines)]

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines, without their ends and a byte order mark, counted from 1.

        Raises: DataError: a byte that is not UTF-8.
        """
        with self.binary() as file:
            for number, raw in enumerate(file, 1):
                if number == 1:
                    raw = raw.removeprefix(UTF8_MARK)
                try:
                    yield number, raw.decode().rstrip("\r\n")
                except UnicodeDecodeError as error:
                    place = f"{self}:{number}: byte {error.start + 1}"
                    raise DataError(place, "UTF-8 text", f"the byte 0x{raw[error.start]:02x}{_meant(raw)}") from None

    def text(self) -> str:
        """All of the text; every line end is "\\n".

        Raises: DataError: an empty file, or a byte that is not UTF-8.
        """
        with self.binary() as file:
            raw = file.read().removeprefix(UTF8_MARK)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            for _ in self.lines():
                pass  # tells the line
            raise
        if not text:
            raise DataError(self.name, "text", "an empty file")
        return text.replace("\r\n", "\n").replace("\r", "\n")


def _codec(encoding: str | None) -> str | None:
    try:
        return None if encoding is None else codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise ValueError(f"encoding: expected the name of one, such as latin-1 or utf-16, found {encoding!r}") from None


def _as_utf8(name: str, raw: bytes, encoding: str | None) -> tuple[str, bytes]:
    """The encoding, and the bytes unpacked and in UTF-8."""
    if raw[:2] == GZIP:
        raw = _unpacked(name, raw)
    encoding = encoding or next((known for mark, known in MARKS.items() if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8":
        return encoding, raw
    try:
        return encoding, raw.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: byte {error.start + 1}", f"text in {encoding}", f"the byte 0x{raw[error.start]:02x}"
        ) from None


def _unpacked(name: str, raw: bytes) -> bytes:
    most, content = max(UNPACKED_AT_LEAST, MOST_TIMES * len(raw)), io.BytesIO()
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while content.tell() <= most and (piece := file.read(1 << 20)):  # no more memory than there is content
                content.write(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(name, "a gzip file", " ".join(str(error).split())) from None
    if content.tell() > most:
        raise DataError(name, f"at most {most:,} bytes in {len(raw):,} bytes of gzip", "more; unpack it first")
    return content.getvalue()


def _meant(raw: bytes) -> str:
    """What the text may be written in instead."""
    return "; is it utf-16? encoding names it" if b"\0" in raw else "; is it latin-1? encoding names it"
