"""A progress bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, TextIO

from throughtime.callbacks import Callback, Training


class Bar(Callback):
    """Epoch, loss, rate and time left on standard error; and a line for each epoch, above."""

    def start(self, training: Training) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}")
        loss = TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]}")
        console = Console(file=_Lenient(sys.stderr))  # type: ignore[arg-type]
        self._bar: Any = Progress(
            text,
            BarColumn(20),
            loss,
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        steps = training.epochs * training.updates
        shown = {"epoch": training.epoch, "epochs": training.epochs, "loss": training.loss, "rate": ""}
        self._task = self._bar.add_task("training", total=steps, completed=training.update, **shown)
        self._bar.start()

    def step(self, training: Training) -> None:
        speed = self._bar.tasks[0].speed
        rate = "" if speed is None else f"{speed:.3g} updates/s"
        self._bar.update(self._task, completed=training.update, epoch=training.epoch, loss=training.loss, rate=rate)

    def epoch(self, training: Training) -> None:
        row, shown = (
            training.row,
            {"train_loss": "train loss", "valid_loss": "valid loss", "valid_accuracy": "valid accuracy"},
        )
        values = "  ".join(f"{label} {row[name]:.4f}" for name, label in shown.items() if name in row)
        self._bar.console.print(
            f"epoch {row['epoch']:>3}  {values}  [dim]{row['seconds']:.1f} s[/dim]", highlight=False, soft_wrap=True
        )

    def end(self, training: Training) -> None:
        if hasattr(self, "_bar"):
            self._bar.stop()


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


def progress_bars(show: bool | None) -> list[Callback]:
    """A bar, or none; with `show` None, one where standard error is a terminal and rich is installed."""
    wanted = sys.stderr.isatty() if show is None else show
    return [Bar()] if wanted and find_spec("rich") is not None else []
