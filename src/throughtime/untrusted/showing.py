"""Names and texts out of data, as they are shown to people: on a terminal, in a table, in a picture.

They come from files of strangers. An escape sequence among them could clear the screen, rewrite lines that were printed before
or set the window's title, and a mark of writing direction could show a line as another.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LONGEST = 40
"""Characters of a name in a table or a picture."""

_STEERING = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters but tab and line ends
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # overridden directions of writing
    "\ud800-\udfff"  # halves of characters, which stand for bytes of a file name that are not UTF-8
)
_IN_TEXT = re.compile(f"[{_STEERING}]|\r(?!\n)")  # a lone \r goes back to the beginning of the line
_IN_NAME = re.compile(f"[{_STEERING}\t\r\n]")


def visible(text: str) -> str:
    r"""`text` with what would steer a terminal as \uXXXX, as JSON writes it: printed JSON still says the same."""
    return _IN_TEXT.sub(_escape, text)


def short(name: str, longest: int = LONGEST) -> str:
    """A name on one line, cut to `longest` characters."""
    shown = _IN_NAME.sub(_escape, name[: longest + 1])  # a name may have millions
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


OTHER_NAMES = {"sigmoid": "logistic", "linear": "identity", "rnn": "elman"}
"""What others call a choice, and its name here."""


def did_you_mean(found: object, choices: Iterable[str]) -> str | None:
    """The choice that was probably meant; None where none is near."""
    name, known = str(found).lower(), list(choices)
    if OTHER_NAMES.get(name) in known:
        return OTHER_NAMES[name]
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)
