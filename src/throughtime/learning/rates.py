"""The learning rate range test: a short training whose rate grows, and what that tells (Smith, 2017)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from throughtime.callbacks import Callback, Training
from throughtime.core.notation import check_positive
from throughtime.learning.given import Data
from throughtime.learning.nonfinite import NonFiniteError
from throughtime.learning.recipe import fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHING, DIVERGED = 0.9, 4.0
"""The weight of what came before in the smoothed loss; and how many times the lowest of it ends the test."""


@dataclass(repr=False)
class Rates:
    """What `lr_find` found.

    Attributes:
        lrs: the learning rate of each update.
        losses: of its batch, before the update, smoothed; nats (or squared units) per step that counts.
    """

    lrs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def suggestion(self) -> float:
        """The rate at which the loss was lowest, by ten: there it still falls, and is far from growing."""
        return self.lrs[min(range(len(self.losses)), key=self.losses.__getitem__)] / 10

    def __repr__(self) -> str:
        return f"Rates({len(self.lrs)} updates from {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}; suggestion {self.suggestion:.2g})"

    def plot(self) -> Figure:
        """The loss by learning rate, and the suggestion, as a matplotlib `Figure`."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 4.2), dpi=150, layout="constrained")
        axis = figure.subplots()
        axis.semilogx(self.lrs, self.losses, color="#1f77b4")
        axis.axvline(self.suggestion, color="#d95f02", linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        axis.set_xlabel("learning rate")
        axis.set_ylabel("loss per target, smoothed")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.legend(frameon=False)
        return figure


class _Record(Callback):
    def __init__(self, updates: int) -> None:
        self.found, self._updates, self._mean = Rates(), updates, 0.0

    def step(self, training: Training) -> None:
        count = len(self.found.losses) + 1
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * training.loss
        self.found.lrs.append(training.lr)
        self.found.losses.append(self._mean / (1 - SMOOTHING**count))
        if count == self._updates or self.found.losses[-1] > DIVERGED * min(self.found.losses):
            training.stop()


def lr_find(
    model: Any, train: Data, *, low: float = 1e-6, high: float = 1.0, updates: int = 100, **options: Any
) -> Rates:
    """Train a copy of the model while the learning rate grows from `low` to `high`, and tell the loss at each.

    Args:
        model: left as it is.
        train: as in `fit`.
        low, high: the first and the last rate, between which it grows by the same factor at every update.
        updates: how many are made at most; fewer where the loss grows to four times its lowest, or is not finite.
        options: of `fit`, such as `optimizer`, `batch_size`, `truncate`, `clip_norm`, `reduction` and `seed`.

    Raises: TypeError, ValueError: as `fit`, and where 0 < low < high does not hold. NonFiniteError: already at `low`.
    """
    check_positive("updates", updates)
    if not 0 < low < high < math.inf:
        raise ValueError(f"low, high: expected 0 < low < high, found {low!r} and {high!r}")
    record = _Record(updates)

    def grow(done: float) -> float:
        return (high / low) ** min(len(record.found.lrs) / max(updates - 1, 1), 1.0)

    try:
        fit(
            copy.deepcopy(model),
            train,
            lr=low,
            lr_schedule=grow,
            epochs=updates,
            progress=False,
            callbacks=[record],
            **options,
        )
    except NonFiniteError:
        if not record.found.lrs:
            raise
    return record.found
