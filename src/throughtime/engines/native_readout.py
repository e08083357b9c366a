"""The compiled engine's readout: cross-entropy of a linear layer over any rows, and its gradients made with the loss.

Logits, softmax and errors exist for some 32 to 256 rows of each thread at a time, never for all. Loss and weights are summed in
double; gradients over those rows, then over a thread's rows in turn, then over the threads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.engines import native


class Readout(NamedTuple):
    """What the loss is made of. states [N, d]; V [k, d]; c [k] or None; labels int64 [N], each in 0 … k − 1 or `ignored`;
    weights of the classes, [k] or None; label smoothing, 0 to 1."""

    states: Tensor
    V: Tensor
    c: Tensor | None
    labels: Tensor
    weights: Tensor | None
    ignored: int
    smoothing: float


class ReadoutResult(NamedTuple):
    """The loss, a number; the loss of each row [N]; and the gradients of states, V and c, where they were wanted."""

    loss: float
    losses: Tensor | None
    states: Tensor | None
    V: Tensor | None
    c: Tensor | None


def linear_cross_entropy(
    of: Readout,
    needs: tuple[bool, bool, bool] = (False, False, False),
    *,
    mean: bool = False,
    by_row: bool = False,
    row_scales: Tensor | None = None,
) -> ReadoutResult:
    """The loss, summed over the rows, or with `mean` divided by the weights of their labels.

    `by_row`: each row's loss, too. `row_scales` [N]: what each row's gradient is multiplied by, instead of what `mean` says.
    """
    (k, d), N, V = of.V.shape, of.states.shape[0], of.V
    losses = V.new_empty(N) if by_row else None
    dstates = V.new_empty(N, d) if needs[0] else None
    dV = V.new_empty(k, d) if needs[1] else None
    dc = V.new_empty(k) if needs[2] and of.c is not None else None
    outputs = losses, dstates, dV, dc
    options = of.ignored, of.smoothing, mean, native.num_threads or torch.get_num_threads()
    given = of.states, V, of.c, of.labels, of.weights
    loss = native._native.readout(*given, *options, row_scales, *outputs)
    if loss is None:  # copied where the kernel cannot read it as it lies
        *given, row_scales = (None if t is None else native._whole(t) for t in (*given, row_scales))
        names = "input", "linear_weight", "linear_bias", "target", "weight", "the gradient of each row"
        shapes = (N, d), (k, d), (k,), (N,), (k,), (N,)
        for name, t, shape in zip(names, (*given, row_scales), shapes, strict=True):
            native._check(name, t, shape, torch.int64 if name == "target" else V.dtype)
        loss = native._native.readout(*given, *options, row_scales, *outputs)
    return ReadoutResult(loss, losses, dstates, dV, dc)
