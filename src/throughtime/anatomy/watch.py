"""A network learning to remember: the anatomy of one fixed batch, epoch after epoch of a training.

watch = Watch(x, y)
tt.fit(model, train, callbacks=[watch])
watch.picture().savefig("memory.png")          # epoch × lag
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from throughtime.anatomy.gradient import Anatomy, anatomy
from throughtime.callbacks import Callback, Training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = 0.05


@dataclass(frozen=True)
class Look:
    """What one look at the batch found."""

    epoch: int
    horizon: int
    """Steps, at cosine 0.99."""
    half_life: float
    """Steps; infinite where a change of the state does not shrink."""
    exponent: float
    """The largest Lyapunov exponent, nats per step."""
    by_lag: tuple[float, ...]
    """The shares by lag, of W."""
    seconds: float


class Watch(Callback):
    """Takes the anatomy of a fixed batch after epochs of a training; one of the `callbacks` of `tt.fit`.

    It adds `horizon`, `half_life` and `watch_seconds` to the epoch's row of the history, and says one line when the gradient
    starts to vanish or to explode. After the first time it looks again only when all its looks so far have taken less than
    `budget` of the time of the training so far.

    Args:
        x, y, lengths: the batch, as in `anatomy`.
        reduction: as in training.
        budget: the share of the training's time that it may take; 1 for a look after every epoch.
        say: what to do with a line; None: standard error.
        options: `layer`, `direction`, `s0`, `readout` of `anatomy`.

    Attributes:
        looks: a `Look` for each epoch that was looked at.
        lines: what was said.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        lengths: Any = None,
        *,
        reduction: str = "sequence",
        budget: float = BUDGET,
        say: Callable[[str], object] | None = None,
        **options: Any,
    ) -> None:
        if not 0 < budget <= 1:
            raise ValueError(f"budget: expected a share above 0 and at most 1, found {budget!r}")
        self._batch, self._options = (x, y, lengths, reduction), options
        self._budget, self._say = budget, say
        self._training = self._spent = 0.0
        self._state = "well"
        self.looks: list[Look] = []
        self.lines: list[str] = []

    def epoch(self, training: Training) -> None:
        """Look at the batch with the model as it is now, unless that would exceed the budget."""
        self(training.model, training.row)

    def state(self) -> dict[str, Any]:
        """What was seen so far."""
        return {
            "spent": [self._training, self._spent],
            "saw": self._state,
            "looks": [asdict(look) for look in self.looks],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what was seen before a checkpoint."""
        self._training, self._spent = map(float, state["spent"])
        self._state = str(state["saw"])
        self.looks = [Look(**look | {"by_lag": tuple(look["by_lag"])}) for look in state["looks"]]

    def __call__(self, model: Any, row: dict[str, float]) -> None:
        """The same, in a training of one's own: `row` has `epoch` and `seconds`."""
        self._training += row.get("seconds", 0.0)
        if self.looks and self._spent + self.looks[-1].seconds > self._budget * self._training:
            return
        began, training = time.perf_counter(), model.training
        model.eval()
        try:
            found = anatomy(model, *self._batch, **self._options)
        except ArithmeticError as error:  # not finite, or too ill-conditioned for its precision: the training goes on
            self._tell("unfit", f"epoch {row['epoch']:.0f}: no anatomy of the watched batch: {error}")
            return
        finally:
            model.train(training)
        exponent, half_life, horizon = float(found.lyapunov[0]), found.half_life, found.horizon(0.99)
        seconds = time.perf_counter() - began
        self._spent += seconds
        shares = tuple(found.by_lag.tolist())
        self.looks.append(Look(int(row["epoch"]), horizon, half_life, exponent, shares, seconds))
        row |= {"horizon": float(horizon), "half_life": half_life, "watch_seconds": seconds}
        self._tell(*advice(found, int(row["epoch"])))

    def picture(self) -> Figure:
        """Share of the gradient by lag, look after look, with the horizon as a line."""
        from throughtime.anatomy.plots import memory_map

        if not self.looks:
            raise ValueError("watch: expected at least one epoch of training, found none")
        epochs = [look.epoch for look in self.looks]
        return memory_map([look.by_lag for look in self.looks], [look.horizon for look in self.looks], epochs)

    def _tell(self, state: str, line: str) -> None:
        """Say a line when things have changed since the last one."""
        if state != self._state and line:
            self.lines.append(line)
            if self._say is None:
                print(line, file=sys.stderr)
            else:
                self._say(line)
        self._state = state


def advice(a: Anatomy, epoch: int) -> tuple[str, str]:
    """Whether the gradient is "well", "vanishing" or "exploding", and one line on what to do about it (empty when well).

    Exploding: a change of the state grows e-fold within the sequence (λ₁ > 1/T). Vanishing: it halves within a quarter of the
    sequence, and 99 % of the gradient's direction comes from that quarter.
    """
    longest = max(a.unrolled.lengths)
    exponent, horizon = float(a.lyapunov[0]), a.horizon(0.99)
    if exponent > 1 / longest:
        remedy = f"clip it (clip_norm=1), lower the learning rate, or truncate (truncate={horizon} keeps 99 % of its direction)"
        return "exploding", f"epoch {epoch}: the gradient explodes (λ₁ = {exponent:+.3f} per step): {remedy}"
    if a.half_life < longest / 4 and horizon <= longest / 4:
        remedy = f"initialization='orthogonal' starts with a longer reach; truncate={horizon} would lose little now"
        return "vanishing", f"epoch {epoch}: the gradient vanishes after {horizon} of {longest} steps: {remedy}"
    return "well", ""
