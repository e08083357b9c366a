"""A progress bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from throughtime.learning.history import Row


class Progress:
    """Told of every update and every epoch; this one stays silent."""

    def step(self) -> None:
        """One update was made."""

    def epoch(self, row: Row) -> None:
        """An epoch has ended with these values."""


class _Bar(Progress):
    def __init__(self, bar, task) -> None:
        self._bar, self._task = bar, task

    def step(self) -> None:
        self._bar.advance(self._task)

    def epoch(self, row: Row) -> None:
        shown = {"train_loss": "train loss", "valid_loss": "valid loss", "valid_accuracy": "valid accuracy"}
        values = "  ".join(f"{label} {row[name]:.4f}" for name, label in shown.items() if name in row)
        self._bar.console.print(
            f"epoch {row['epoch']:>3}  {values}  [dim]{row['seconds']:.1f} s[/dim]", highlight=False, soft_wrap=True
        )


class _Lenient(io.TextIOBase):
    """A stream that goes silent when its terminal is gone, as after SIGHUP: no reason to miss the checkpoint."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextmanager
def progress_bar(show: bool | None, steps: int, done: int = 0) -> Iterator[Progress]:
    """A bar over `steps` updates, some of them `done`, on standard error; with `show` None, only where that is a terminal and
    rich is installed."""
    if show is None:
        show = sys.stderr.isatty()
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
    except ModuleNotFoundError:
        show = False
    if not show:
        yield Progress()
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=_Lenient(sys.stderr))  # type: ignore[arg-type]
    with RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Bar(bar, bar.add_task("training", total=steps, completed=done))
