"""Signals that wait until an update is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP ended a training, after a checkpoint was saved.

    Attributes:
        signal: SIGINT, SIGTERM or SIGHUP.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"interrupted by {self.signal.name}")


class Pending:
    """The signal that has come, or None."""

    signal: int | None = None


@contextmanager
def deferred(active: bool) -> Iterator[Pending]:
    """Note the first of `SIGNALS` instead of acting on it; a second Ctrl-C acts at once. One that is ignored stays ignored.

    Args: active: False: nothing is noted, signals act as always. (So it is outside the main thread, where Python has none.)
    """
    pending = Pending()
    if not active or threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def note(number: int, _: object) -> None:
        if pending.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        pending.signal = number

    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
