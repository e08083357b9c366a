"""Standard output and standard error, which show what is in the data and are not steered by it."""

from __future__ import annotations

import io
import json
import math
import sys
from contextlib import suppress
from typing import Any, TextIO

from throughtime.untrusted.showing import visible

_quiet = False


def quieten(quiet: bool) -> None:
    """Whether `say` has nothing to say from now on; errors are told nevertheless, when the verb has ended."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """What `quieten` was told."""
    return _quiet


def say(message: str) -> None:
    """A line for the person at the terminal, on standard error."""
    if _quiet:
        return
    with suppress(OSError):  # the terminal may be gone, as after SIGHUP
        print(visible(" ".join(message.split())), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """A value for machines, on standard output; what JSON has no number for (NaN, infinity) is null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Visible(io.TextIOBase):
    """A stream that makes what is written to it `visible`, so that no verb has to think of it.

    Args: stream: where it goes on to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def colourable() -> TextIO:
    """Standard output for what is meant to steer the terminal; what is written to it is made `visible` before."""
    return sys.stdout.stream if isinstance(sys.stdout, Visible) else sys.stdout
