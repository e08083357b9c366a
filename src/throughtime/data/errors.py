"""The one error for data that cannot be read: a single line that says where, what was expected, and what was found."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


class DataError(ValueError):
    """A file, folder or object that is not what its format asks for.

    The message is `place: expected …, found …`, where the place begins with the file and goes on as far as it is known:
    `file:line: field`.
    """

    def __init__(self, place: str | os.PathLike[str], expected: str, found: str) -> None:
        super().__init__(f"{os.fspath(place)}: expected {expected}, found {found}")


def nearest(found: str, names: Iterable[str]) -> str:
    """The end of a message about a name that there is not: the one that may have been meant, or nothing."""
    close = difflib.get_close_matches(found, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
