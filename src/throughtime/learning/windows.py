"""Walking sequences in batches: the state that lanes carry from one window to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from throughtime.core.loss import weight_sum
from throughtime.core.notation import check_sample_weight
from throughtime.core.weights import dtype_of
from throughtime.data.batches import Batch, Window, collate
from throughtime.data.sequences import IGNORED, Sequences
from throughtime.models.states import State, each


class Carried:
    """The state of each lane, between one of its windows and the next: `states` [lanes, d] or [layers, lanes, d], or a tuple
    of such parts."""

    def __init__(self, states: State) -> None:
        self.states = each(lambda part: part.detach().clone(), states)

    def before(self, model: Any, batch: Batch) -> State:
        """The states that the pieces of `batch` start from: carried on, cut from the gradient; anew where a sequence begins."""
        start = model.initial_state(len(batch.lanes))
        if batch.fresh.all():
            return start
        fresh = batch.fresh.unsqueeze(-1)
        return each(lambda new, old: new.where(fresh, old.index_select(-2, batch.lanes)), start, self.states)

    def after(self, batch: Batch, final: State) -> None:
        """Take the states that the pieces ended with."""
        each(lambda old, new: old.index_copy_(-2, batch.lanes, new.detach()), self.states, final)


def walk(
    model: Any, sequences: Sequences, windows: Sequence[Window], carry: bool, run: Callable[..., Any]
) -> Iterator[tuple[Window, Batch, Any]]:
    """Call `run(batch)` for every window that is not empty and yield (window, batch, result).

    With `carry`, `run(batch, s0=…, return_state=True)` is called, which returns (result, final states); these are carried.
    """
    dtype = dtype_of(model)
    windows = [window for window in windows if len(window.lanes)]
    lanes = 1 + max((int(window.lanes.max()) for window in windows), default=0)
    carried = Carried(model.initial_state(lanes)) if carry else None
    for window in windows:
        batch = collate(sequences, window).to(dtype)
        if carried is None:
            yield window, batch, run(batch)
            continue
        result, final = run(batch, s0=carried.before(model, batch), return_state=True)
        carried.after(batch, final)
        yield window, batch, result


def checksum(sequences: Sequences) -> str:
    """SHA-256 of the steps, lengths, targets and weights: the same numbers, the same text."""
    digest = hashlib.sha256()
    for array in (sequences.x, sequences.offsets, sequences.y, sequences.weights):
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def labelled(sequences: Sequences) -> bool:
    """Whether the targets are labels, not values."""
    return sequences.y is not None and sequences.y.dtype.kind == "i"


def weight_of(batch: Batch, reduction: str) -> float:
    """What the mean loss of a batch is the mean of: sequences, targets that count, or their weights (see `loss`)."""
    assert batch.y is not None
    if batch.weights is None:
        return len(batch.lengths) if reduction == "sequence" else counted(batch.y)
    known = ~batch.y.isnan().all(-1) if batch.y.is_floating_point() else batch.y != IGNORED
    T = known.shape[1] if known.dim() == 2 else 1
    weights = check_sample_weight(batch.weights, len(known), T, batch.weights.dtype, batch.weights.device)
    return float(weight_sum(weights.T, known.view(-1, T).T, batch.lengths.clamp_max(T), reduction))


def counted(y: Tensor) -> int:
    """How many targets count: labels that are not −100, or rows of values that are not NaN."""
    if y.is_floating_point():
        return int((~y.isnan()).any(-1).sum())
    return int((y != IGNORED).sum())
