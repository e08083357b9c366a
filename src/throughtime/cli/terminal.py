"""Standard output and standard error, which show what is in the data and are not steered by it."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import TextIO

from throughtime.showing import visible


def say(message: str) -> None:
    """A line for the person at the terminal, on standard error."""
    with suppress(OSError):  # the terminal may be gone, as after SIGHUP
        print(visible(" ".join(message.split())), file=sys.stderr, flush=True)


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
