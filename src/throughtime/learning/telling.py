"""The callbacks of a training: called on the process that leads, and agreed upon by all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from throughtime.callbacks import Callback, Training
from throughtime.learning.history import Row
from throughtime.learning.processes import Team


class Function(Callback):
    """A function of the model and the row as a callback, called after every epoch."""

    def __init__(self, function: Callable[[Any, Row], object]) -> None:
        self._function = function

    def epoch(self, training: Training) -> None:
        self._function(training.model, training.row)


class Callbacks:
    """All callbacks of a training, as one.

    Attributes:
        training: what they are shown.
        stopped: whether the training is to end, in which all processes agree.
    """

    def __init__(self, callbacks: Iterable[Callback], training: Training, team: Team) -> None:
        self._all, self.training, self._team = list(callbacks), training, team
        for i, callback in enumerate(self._all):
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks[{i}]: expected a tt.callbacks.Callback, found {type(callback).__name__}")
        self._error: Exception | None = None
        self.stopped = False

    @property
    def wants_to_stop(self) -> bool:
        """Whether a callback on this process has asked for that, or failed."""
        return self.training.stopped or self._error is not None

    @contextmanager
    def begun(self) -> Iterator[None]:
        """The time from the `start` of the training to its `end`."""
        try:
            self._tell("start")
            self.agree()
            yield
        finally:
            self._error = None  # they are told of the end in any case
            self._tell("end")
            if self._error is not None:
                raise self._error

    def step(self, loss: float, gradient_norm: float) -> None:
        """An update was made."""
        self.training.update += 1
        self.training.loss, self.training.gradient_norm = loss, gradient_norm
        self._tell("step")
        if self._team.size == 1:
            self.agree()

    def epoch(self) -> None:
        """An epoch has ended."""
        self._tell("epoch")
        self.agree()

    def agree(self) -> None:
        """Let all processes know what the first one's callbacks want; all call this together.

        Raises: what a callback raised; RuntimeError: on the other processes.
        """
        wishes = torch.tensor([float(self.training.stopped), float(self._error is not None)])
        stopped, failed = self._team.sum(wishes).tolist()
        if self._error is not None:
            raise self._error
        if failed:
            raise RuntimeError("callbacks: one has failed on the first process")
        self.stopped = self.training.stopped = stopped > 0

    def states(self) -> dict[str, dict[str, Any]]:
        """What checkpoints keep: the states, by names that tell callbacks of one class apart."""
        return {name: state for name, callback in self._named().items() if (state := callback.state())}

    def restore(self, states: Any) -> None:
        """Give the callbacks what `states` gave; one that was not there then begins anew.

        Raises: ValueError: not such states.
        """
        for name, callback in self._named().items():
            if isinstance(states, dict) and name in states:
                try:
                    callback.restore(states[name])
                except (KeyError, TypeError, ValueError) as error:
                    told = f"{type(error).__name__}: {error}"
                    raise ValueError(
                        f"checkpoint: callbacks: {name}: expected a state that it wrote, found {told}"
                    ) from error

    def _named(self) -> dict[str, Callback]:
        named: dict[str, Callback] = {}
        for callback in self._all:
            kind = type(callback).__name__
            earlier = sum(type(other).__name__ == kind for other in named.values())
            named[f"{kind}-{earlier + 1}"] = callback
        return named

    def _tell(self, event: str) -> None:
        """Call all; what one raises waits until all processes know of it."""
        if not self._team.leads or self._error is not None:
            return
        try:
            for callback in self._all:
                getattr(callback, event)(self.training)
        except Exception as error:
            self._error = error
            if self._team.size == 1 and event != "end":
                raise
