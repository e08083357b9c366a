"""Reading TOML that is not trusted: what would take long to parse is refused before it is parsed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

MOST = 1 << 17
"""Bytes of a file. The options of a training take a few hundred, and some dozen for each column that is named."""
MOST_PARTS = 100
"""Parts of a dotted key, whose time grows with their square; options have one."""

_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}\s*+\.\s*+){{{MOST_PARTS}}}")


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it says.

    Raises:
        ValueError: it is not TOML, or more than `MOST` bytes; names the file, and the line where that is known.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(MOST + 1)  # of a device or a pipe, too, no more than that
    if len(content) > MOST:
        raise ValueError(f"{path}: expected TOML of at most {MOST:,} bytes, found more")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        found = f"{content[error.start]:#04x}"
        raise ValueError(f"{path}, byte {error.start}: expected UTF-8, found {found}") from error
    long = _LONG_KEY.search(text)
    if long is not None:
        line = text.count("\n", 0, long.start()) + 1
        raise ValueError(f"{path}, line {line}: expected keys of at most {MOST_PARTS} parts, found a longer one")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: expected TOML, found: {error}") from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits is a ValueError
        found = "values nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path}: expected TOML, found: {found}") from error
    return text, table
