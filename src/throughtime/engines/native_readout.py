"""The compiled engine's readout: cross-entropy of a linear layer over any rows, and its gradients made with the loss.

Logits, softmax and errors exist for some 32 to 256 rows of each thread at a time, never for all. Loss and weights are summed in
double; gradients over those rows, then over a thread's rows in turn, then over the threads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.engines import native
from throughtime.engines.native import _address, _check_shape, _rows


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
    V, dtype = of.V.contiguous(), of.V.dtype
    (k, d), N = V.shape, of.states.shape[0]
    states, labels = _rows(of.states), of.labels.contiguous()
    c, weights, scales = (None if t is None else t.contiguous() for t in (of.c, of.weights, row_scales))
    _check_shape("input", states, (N, d), dtype)
    _check_shape("target", labels, (N,), torch.int64)
    for name, t, size in (("linear_bias", c, k), ("weight", weights, k), ("the gradient of each row", scales, N)):
        if t is not None:
            _check_shape(name, t, (size,), dtype)
    losses = V.new_empty(N) if by_row else None
    dstates = V.new_empty((N, d)) if needs[0] else None
    dV = torch.empty_like(V) if needs[1] else None
    dc = V.new_empty(k) if needs[2] and c is not None else None
    loss = native._native.readout(
        dtype is torch.float64, N, d, k, states.data_ptr(), states.stride(0), V.data_ptr(), _address(c), labels.data_ptr(),
        _address(weights), of.ignored, of.smoothing, mean, native.num_threads or torch.get_num_threads(), _address(scales),
        _address(losses), _address(dstates), _address(dV), _address(dc),
    )  # fmt: skip
    return ReadoutResult(loss, losses, dstates, dV, dc)
