"""What `tt.fit(callbacks=[…])` calls while it trains: the protocol, and three that are at hand.

class Norms(tt.callbacks.Callback):
    def epoch(self, training):
        training.row["norm_W"] = float(training.model.W.norm())
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from throughtime.core.notation import check_choice, check_positive

if TYPE_CHECKING:
    from throughtime.learning.history import History, Row

__all__ = ["CSV", "Callback", "EarlyStopping", "TensorBoard", "Training"]


@dataclass
class Training:
    """A training in progress, as its callbacks see it.

    Attributes:
        model: the one that is trained. Where several processes train, look at it and leave it as it is.
        optimizer: the torch.optim.Optimizer.
        epochs: how many there are to be.
        updates: how many an epoch has.
        history: the `History` so far; while `epoch` is called it ends with the row of that epoch.
        epoch: the one in progress, from 1.
        update: how many were made, over all epochs.
        loss: of the last update's batch, the mean per step that counts, in nats (or squared units).
        gradient_norm: of the last update, over all parameters, before clipping.
        stopped: whether a callback has stopped the training.
    """

    model: Any
    optimizer: torch.optim.Optimizer
    epochs: int
    updates: int
    history: History
    epoch: int = 1
    update: int = 0
    loss: float = math.nan
    gradient_norm: float = math.nan
    stopped: bool = False

    @property
    def row(self) -> Row:
        """The last row of the history; what `epoch` adds to it stays there."""
        return self.history.rows[-1]

    @property
    def lr(self) -> float:
        """The learning rate, of the first group of parameters."""
        return self.optimizer.param_groups[0]["lr"]

    def stop(self) -> None:
        """End the training here: it makes no further update, and `fit` returns its history. Within an epoch, the updates that
        were made are that epoch."""
        self.stopped = True


class Callback:
    """Base of what is called during a training; every method may be left out.

    Where several processes train, the first one calls them. An exception in one ends the training.
    """

    def start(self, training: Training) -> None:
        """Before the first update; in a training that is resumed, before the next one, and after `restore`."""

    def step(self, training: Training) -> None:
        """After every update."""

    def epoch(self, training: Training) -> None:
        """After every epoch and its validation."""

    def end(self, training: Training) -> None:
        """After the last epoch, and when the training ends by an exception."""

    def state(self) -> dict[str, Any]:
        """What goes into a checkpoint, in values that JSON knows."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave for the checkpoint that the training goes on from; not called where that was empty."""


class EarlyStopping(Callback):
    """Stop when a number of the history has not become better for so many epochs.

    The weights stay as they are then; `fit(patience=…)`, which watches the validation loss, takes those of the best epoch.

    Args:
        monitor: a column of the history.
        patience: how many epochs without a better value end the training.
        min_delta: by how much a value must be better to count.
        mode: whether lower ("min") or higher ("max") is better.

    Raises: ValueError: an argument is wrong; during the training, the history has no such column.
    """

    def __init__(
        self, monitor: str = "valid_loss", patience: int = 5, min_delta: float = 0.0, mode: str = "min"
    ) -> None:
        check_positive("patience", patience)
        check_choice("mode", mode, ("min", "max"))
        if not 0 <= min_delta < math.inf:
            raise ValueError(f"min_delta: expected a number from 0, found {min_delta!r}")
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.best: float | None = None
        self.since = 0

    def start(self, training: Training) -> None:
        if self.since >= self.patience:  # it had stopped just before the training was killed
            training.stop()

    def epoch(self, training: Training) -> None:
        if self.monitor not in training.row:
            found = ", ".join(training.row)
            raise ValueError(f"monitor: expected a column of the history ({found}), found {self.monitor!r}")
        value = training.row[self.monitor]
        sign = 1 if self.mode == "min" else -1
        if self.best is None or sign * (self.best - value) > self.min_delta:
            self.best, self.since = value, 0
            return
        self.since += 1
        if self.since >= self.patience:
            training.stop()

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "since": self.since}

    def restore(self, state: dict[str, Any]) -> None:
        best = state["best"]
        self.best, self.since = None if best is None else float(best), int(state["since"])


class CSV(Callback):
    """Keep the history in a CSV file, which is written anew after every epoch and is whole at any time.

    Args: path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def epoch(self, training: Training) -> None:
        training.history.to_csv(self.path)


class TensorBoard(Callback):
    """Write what `tensorboard --logdir FOLDER` draws: loss, gradient norm and learning rate by update, and every column of the
    history by epoch.

    Args:
        folder: where the event files go; those of earlier trainings there stay.
        every: so many updates lie between two points of the curves by update.

    Raises: ImportError: the package tensorboard is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int = 10) -> None:
        check_positive("every", every)
        if find_spec("tensorboard") is None:
            raise ImportError(
                "TensorBoard: expected the package tensorboard, which is not installed: pip install tensorboard"
            )
        self.folder, self.every = os.fspath(folder), every
        self._writer: Any = None

    def start(self, training: Training) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # what was written after the checkpoint that a training goes on from is not drawn
        self._writer = SummaryWriter(self.folder, purge_step=training.update + 1 if training.update else None)

    def step(self, training: Training) -> None:
        if training.update % self.every == 0:
            for name in ("loss", "gradient_norm", "lr"):
                self._writer.add_scalar(f"update/{name}", getattr(training, name), training.update)

    def epoch(self, training: Training) -> None:
        for name, value in training.row.items():
            if name != "epoch":
                self._writer.add_scalar(f"epoch/{name}", value, training.update)
        self._writer.flush()

    def end(self, training: Training) -> None:
        if self._writer is not None:
            self._writer.close()
