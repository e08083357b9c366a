"""The updates of an epoch, one per window: forward, loss, gradients, update; and the checkpoints between them."""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.core.weights import dtype_of
from throughtime.data.batches import Batch, Window, collate
from throughtime.data.sequences import Sequences
from throughtime.learning.checkpoints import Checkpoints
from throughtime.learning.interruption import Interrupted, Pending
from throughtime.learning.models import loss_options
from throughtime.learning.nonfinite import KEPT, NonFiniteError, Report, examine, write_black_box
from throughtime.learning.processes import Team
from throughtime.learning.standing import Standing, pack, unpack
from throughtime.learning.telling import Callbacks
from throughtime.learning.windows import Carried, weight_of
from throughtime.models.states import State, each, parts


@dataclass
class Learner:
    """What stays the same throughout a training.

    Attributes:
        generator: what the model draws from while it learns, such as dropout.
        lanes: the states that all lanes begin with, where states are carried.
        limit: the greatest norm of the gradient.
        set_rate: sets the learning rate by the share of the epochs done.
        settings: what the training was asked to do, as checkpoints keep it.
        norms: of the last updates.
        report: of the last batch that was not finite.
    """

    model: Any
    sequences: Sequences
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    lanes: State | None
    reduction: str
    limit: float | None
    set_rate: Callable[[float], None]
    on_nonfinite: str
    team: Team
    callbacks: Callbacks
    checkpoint: Checkpoints | None
    settings: dict[str, Any] = field(default_factory=dict)
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    report: Report | None = None

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.dtype = dtype_of(self.model)
        self.options = loss_options(
            self.model, self.reduction, self.lanes is not None, self.sequences.weights is not None, self.generator
        )

    def begin(self) -> Standing:
        """The beginning, or where the last checkpoint left off. From then on there is a checkpoint to go on from."""
        if self.checkpoint is None:
            return Standing()
        self.team.wait()  # the one that leads may still be writing
        state = self.checkpoint.load() if self.checkpoint.resume else None
        standing = Standing()
        if state is not None:
            standing = unpack(state, self.model, self.optimizer, self.generator, self.lanes, self.settings)
            self.callbacks.restore(state[1].get("callbacks"))
        self.team.check_alike("checkpoint", standing.epoch, standing.done)
        if state is None:
            self.save(standing)
        return standing

    def save(self, standing: Standing) -> None:
        """Write a checkpoint; all processes of a team call this together."""
        assert self.checkpoint is not None
        lanes = None if standing.carried is None else self.team.gather_lanes(standing.carried.states)
        if self.team.leads:
            tensors, values = pack(standing, self.model, self.optimizer, self.generator, lanes, self.settings)
            self.checkpoint.save((tensors, values | {"callbacks": self.callbacks.states()}))

    def epoch(self, standing: Standing, windows: list[Window], began: float, pending: Pending) -> None:
        """One update for each window that is not done yet, unless a callback stops the training.

        Raises: what a callback raises; NonFiniteError; Interrupted: after a checkpoint; OSError: one cannot be written.
        """
        if self.lanes is not None and standing.carried is None:
            standing.carried = Carried(self.lanes)
        if standing.done > len(windows):
            raise ValueError(f"checkpoint: done: expected at most {len(windows)} windows, found {standing.done}")
        self.model.train()
        while standing.done < len(windows) and not self.callbacks.stopped:
            save, stop = self._update(standing, windows, pending)
            if self.checkpoint is not None and (save or stop):
                standing.seconds = time.perf_counter() - began
                self.save(standing)
            if stop:
                raise Interrupted(pending.signal or signal.SIGTERM)
        if standing.skipped and standing.skipped == standing.done:
            assert self.report is not None
            raise NonFiniteError(self.report)

    def heed(self, standing: Standing, pending: Pending) -> None:
        """Between two epochs. Raises: Interrupted: after a checkpoint. (A team agrees on that after its next update.)"""
        if pending.signal is not None and self.team.size == 1:
            self.save(standing)
            raise Interrupted(pending.signal)

    def _update(self, standing: Standing, windows: list[Window], pending: Pending) -> tuple[bool, bool]:
        """Learn from the next window. Returns whether to save and whether to stop, in which all processes agree.

        Where a callback of a team has asked for the end, the others learn it here, and the update is not made.
        """
        window = windows[standing.done]
        batch, loss, weight, final = self._backward(self.team.share(window), standing.carried)
        steps = 0 if batch is None else weight_of(batch, "token")
        due = self.checkpoint is not None and self.checkpoint.due() and self.team.leads
        numbers = [loss * weight, steps, due, pending.signal is not None, self.callbacks.wants_to_stop]
        total, count, save, stop, ended = self.team.combine(self.parameters, weight, numbers)
        if ended:
            self.callbacks.agree()
            return False, False
        norm = _gradient_norm(self.parameters, self.limit)
        if math.isfinite(norm) and math.isfinite(total):
            self.set_rate(standing.epoch - 1 + standing.done / len(windows))
            self.optimizer.step()
            standing.total += total
            standing.count += count
            standing.norms += norm
            self.norms.append(norm)
        else:
            self._not_finite(standing, windows, total, norm)
            standing.skipped += 1
        if batch is not None and final is not None:
            assert standing.carried is not None
            if standing.skipped:  # a state that is not finite begins anew
                whole = torch.stack([part.isfinite().all(-1, keepdim=True) for part in parts(final)]).all(0)
                start = self.model.initial_state(len(batch.lanes))
                final = each(lambda part, new: part.where(whole, new), final, start)
            standing.carried.after(batch, final)
        standing.done += 1
        self.callbacks.step(total / (count or 1), norm)
        return save > 0, stop > 0

    def _backward(self, window: Window, carried: Carried | None) -> tuple[Batch | None, float, float, State | None]:
        """The batch of a window, its mean loss, what that is the mean of, and its final states. Sets the gradients."""
        self.optimizer.zero_grad()
        if not len(window.lanes):
            return None, 0.0, 0, None
        batch = collate(self.sequences, window).to(self.dtype)
        options = dict(self.options)
        if carried is not None:
            options["s0"] = carried.before(self.model, batch)
        if batch.weights is not None:
            options["sample_weight"] = batch.weights
        found = self.model.loss(batch.x, batch.y, batch.lengths, **options)
        loss, final = found if carried is not None else (found, None)
        loss.backward()
        return batch, loss.item(), weight_of(batch, self.reduction), final

    def _not_finite(self, standing: Standing, windows: list[Window], total: float, norm: float) -> None:
        """Write the black box; then stop, after a checkpoint of the last good weights, or go on."""
        window = windows[standing.done]
        batch, s0 = collate(self.sequences, window).to(self.dtype), None
        if standing.carried is not None:
            s0 = Carried(self.team.gather_lanes(standing.carried.states)).before(self.model, batch)
            s0 = each(Tensor.detach, s0)
        weight = weight_of(batch, self.reduction) or 1
        self.report = examine(
            self.model, batch, s0, epoch=standing.epoch, update=standing.done + 1, updates=len(windows),
            loss=total / weight, gradient_norm=norm, norms=tuple(self.norms),
        )  # fmt: skip
        if self.checkpoint is not None:
            if self.team.leads:
                write_black_box(self.checkpoint.folder / "nonfinite", self.report, self.model, batch, s0)
            if self.on_nonfinite == "stop":
                self.save(standing)
        if self.on_nonfinite == "stop":
            raise NonFiniteError(self.report)


def _gradient_norm(parameters: list[nn.Parameter], limit: float | None) -> float:
    """The norm of the gradient over all parameters, which is then scaled to at most `limit`."""
    if limit is not None:
        return float(nn.utils.clip_grad_norm_(parameters, limit))
    return float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
