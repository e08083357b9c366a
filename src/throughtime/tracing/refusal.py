"""Why a cell cannot be a program, told by the operation, the line of the user's source, and what to do instead."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path

import torch

_LIBRARIES = (str(Path(str(torch.__file__)).parent), str(Path(__file__).parent))


class CannotTraceError(ValueError):
    """A cell's step that is no program. The message is one line: what, where, and what to do instead."""


def refuse(what: str, where: str = "", instead: str = "") -> CannotTraceError:
    """The error for an operation `what` at the source line `where`."""
    line = f" ({where})" if where else ""
    return CannotTraceError(f"{what}{line}; {instead}" if instead else f"{what}{line}")


def line_of_trace(trace: str | None) -> str:
    """The innermost line of the user's own source in a stack as PyTorch's graphs record it: "cell.py:12: h = …", or ""."""
    found = ""
    for m in re.finditer(r'File "([^"]+)", line (\d+), in .*\n\s*(.*)', trace or ""):
        if _is_users(m[1]):
            found = f"{Path(m[1]).name}:{m[2]}: {m[3].strip()}"
    return found


def line_of_error(error: BaseException) -> str:
    """The innermost line of the user's own source that an error came through; "" for none."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if _is_users(frame.filename) and frame.lineno:
            code = (frame.line or linecache.getline(frame.filename, frame.lineno)).strip()
            found = f"{Path(frame.filename).name}:{frame.lineno}: {code}"
    return found


def _is_users(filename: str) -> bool:
    return not filename.startswith(_LIBRARIES) and not filename.startswith("<")
