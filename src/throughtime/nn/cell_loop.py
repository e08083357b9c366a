"""Any cell over time by calling it at every step, under autograd: what no program can be, and the measure of those that are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from throughtime.nn.cell_calls import Result, steps

Call = Callable[[Sequence[Tensor], Sequence[Tensor]], Result]
"""call(inputs of one step, parts of the state) -> output and parts of the new state."""


def walk(
    call: Call,
    inputs: Sequence[Tensor],
    initial: Sequence[Tensor],
    lengths: Tensor | None,
    starts: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The outputs [T, B, …] (zero in the padding) and the last state by part [B, …], of inputs [T, B, …].

    A row whose sequence is over keeps its state; one that begins a piece takes zero.
    """
    T, B = inputs[0].shape[:2]
    real = fresh = None
    if lengths is not None:
        real = torch.arange(T, device=inputs[0].device).unsqueeze(1) < lengths.to(inputs[0].device)
        inputs = [x.masked_fill(~real.reshape(T, B, *(1,) * (x.dim() - 2)), 0) for x in inputs]  # padding may be NaN
    if starts is not None:
        fresh = starts if real is None else starts & real
        if reverse:  # walked from the end, a piece begins at its last step
            fresh = torch.cat([fresh[1:], torch.zeros_like(fresh[:1])])
    outputs: list[Tensor] = [inputs[0]] * T
    parts = list(initial)
    for t in steps(T, reverse):
        if fresh is not None:
            parts = [p.masked_fill(_like(fresh[t], p), 0) for p in parts]
        output, after = call([x[t] for x in inputs], parts)
        if real is not None:
            output = torch.where(_like(real[t], output), output, 0)
            after = [torch.where(_like(real[t], a), a, p) for a, p in zip(after, parts, strict=True)]
        outputs[t], parts = output, after
    return torch.stack(outputs), parts


def _like(mask: Tensor, tensor: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (tensor.dim() - 1))
