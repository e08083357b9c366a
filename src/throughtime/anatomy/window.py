"""A stretch of a data set's sequence as the model meets it: the state carried up to it, names for its inputs and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.anatomy.gradient import Anatomy, anatomy
from throughtime.models.states import State, each

if TYPE_CHECKING:
    from throughtime.data import Sequences
    from throughtime.data.encoding import Encoding
    from throughtime.learning.nonfinite import BlackBox


class Window(NamedTuple):
    """The anatomy of a stretch, and what its steps are called."""

    anatomy: Anatomy
    symbols: list[str] | None
    """The input of each step; None where the inputs are features."""
    targets: list[str] | None
    """The target of each step by name; None where it is a value."""
    name: str
    """Which sequence, and which of its steps (from 1)."""


def window(
    model: Any, sequences: Sequences, encoding: Encoding, *, instance: int = 0, start: int = 1, steps: int = 200
) -> Window:
    """The anatomy of the steps start..start + steps − 1 of one sequence.

    The state is carried from the beginning of the sequence to `start`; the gradient is that of the stretch alone, as in
    truncated BPTT. A sequence with one target for its whole length is taken whole.

    Args:
        model: an `ElmanNetwork` or a `SequenceModel`.
        sequences: with targets, encoded by `encoding`.
        encoding: the names of inputs and outputs.
        instance: which sequence, from 0.
        start: the first step, from 1.
        steps: how many steps at most.

    Raises: ValueError: no such sequence or step, or no targets; a model of two directions cannot start later than step 1.
    """
    if sequences.y is None:
        raise ValueError("sequences: expected targets, found inputs alone")
    if not 0 <= instance < len(sequences):
        raise ValueError(f"instance: expected 0 to {len(sequences) - 1}, found {instance}")
    x, y, length = sequences.inputs[instance], sequences.targets[instance], int(sequences.lengths[instance])
    if not 1 <= start <= length:
        raise ValueError(f"start: expected a step from 1 to {length}, found {start}")
    if not sequences.per_step and start > 1:
        raise ValueError(f"start: expected 1, as the sequence has one target for its whole length, found {start}")
    end = min(start - 1 + steps, length) if sequences.per_step else length
    part = slice(start - 1, end)
    dtype = next(model.parameters()).dtype
    model.eval()
    targets = torch.as_tensor(np.asarray(y[part] if sequences.per_step else [y]))
    targets = targets.to(dtype) if targets.is_floating_point() else targets.long()
    if sequences.per_step:
        targets = targets.unsqueeze(0)
    found = anatomy(model, _batch(x[part], dtype), targets, s0=_state_before(model, _batch(x[: start - 1], dtype)))
    named = None if targets.is_floating_point() else [_label(encoding, i) for i in targets.flatten().tolist()]
    if named is not None and not sequences.per_step:
        named = named * (end - start + 1)
    called = str(instance) if sequences.names is None else sequences.names[instance]
    return Window(
        found,
        None if encoding.vocabulary is None else encoding.vocabulary.decode(x[part]),
        named,
        f"{called}, steps {start} to {end}",
    )


def before_the_fault(box: BlackBox, *, instance: int | None = None, steps: int = 200) -> Window:
    """The anatomy of the steps that led to a loss or gradient that was not finite: those before the state that left the finite
    range, or those whose δ was still finite; of the whole row where neither place is known.

    Args:
        box: as `read_black_box` gives it; its model is made float64, whose range is larger.
        instance: which row of the batch, from 0; None: the one that the report names, else the first.
        steps: how many steps at most.

    Raises:
        ValueError: no such row, or no step to look at.
        ArithmeticError: the gradient is not finite there either.
    """
    place = box.report.state or box.report.delta
    row = (place.row if place else 0) if instance is None else instance
    if not 0 <= row < len(box.x):
        raise ValueError(f"instance: expected 0 to {len(box.x) - 1}, found {row}")
    per_step = box.y.shape[1:2] == box.x.shape[1:2]
    first, end = 0, int(box.lengths[row])
    if place is not None and per_step and row == place.row:
        first, end = (0, place.t) if box.report.state else (place.t + 1, end)
    if first >= end:
        raise ValueError(
            f"row {row}: expected a step that led to the fault, found none: it is in the first one that was walked"
        )
    if per_step:
        first, end = (max(first, end - steps), end) if box.report.state else (first, min(end, first + steps))
    model = box.model.double()
    x = box.x[row : row + 1]
    x = x.double() if x.is_floating_point() else x
    y = box.y[row : row + 1, first:end] if per_step else box.y[row : row + 1]
    s0 = None if box.s0 is None else each(lambda part: part.double().narrow(-2, row, 1), box.s0)
    if first > 0:
        s0 = _state_before(model, x[:, :first], s0)
    found = anatomy(model, x[:, first:end], y.double() if y.is_floating_point() else y, s0=s0)
    return Window(found, None, None, f"row {row}, steps {first + 1} to {end}")


def _batch(x: np.ndarray, dtype: torch.dtype) -> Tensor:
    tensor = torch.as_tensor(np.ascontiguousarray(x)).unsqueeze(0)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor.long()


def _state_before(model: Any, x: Tensor, s0: State | None = None) -> State | None:
    """The state after the steps x before a stretch, which began in s0 (None: the model's own)."""
    if x.shape[1] == 0:
        return s0
    with torch.no_grad():
        return model(x, s0=s0, return_state=True)[1]


def _label(encoding: Encoding, index: int) -> str:
    return "none" if index < 0 else encoding.labels[index]
