"""Plain text, for language models."""

from __future__ import annotations

from pathlib import Path

from throughtime.data.errors import DataError
from throughtime.data.readers.lines import numbered_lines
from throughtime.data.readers.options import Options
from throughtime.data.records import Records


def read_text(path: Path, options: Options) -> Records:
    """A file as one sequence of characters.

    Raises:
        DataError: an empty file, or a byte that is not UTF-8.
    """
    texts = [read_whole(path)]
    return Records(str(path), "lm", texts, texts if options.labelled else None, [path.name], [str(path)])


def read_whole(path: Path) -> str:
    """The text of a file; every line end is "\\n".

    Raises:
        DataError: an empty file, or a byte that is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        for _ in numbered_lines(path):
            pass  # tells the line
        raise
    if not text:
        raise DataError(path, "text", "an empty file")
    return text
