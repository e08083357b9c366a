"""How what belongs to the steps of a batch lies in memory: like the inputs x [T, B, …], by steps or by instances.

States and gradients follow the inputs, so that neither order ever has to be copied into the other: a batch [B, T, n] that was
transposed for the engines gives states that are contiguous when they are transposed back.
"""

from __future__ import annotations

from torch import Tensor


def batch_first(x: Tensor) -> bool:
    """Whether the steps of an instance of x [T, B, …] lie closer to one another than the instances of a step."""
    return x.stride(0) < x.stride(1)


def new_like(x: Tensor, W: Tensor, width: int) -> Tensor:
    """A new tensor [T, B, width], laid out like x, of the dtype and device of W."""
    T, B = x.shape[:2]
    return W.new_empty((B, T, width)).transpose(0, 1) if batch_first(x) else W.new_empty((T, B, width))


def laid_out_like(x: Tensor, steps: Tensor) -> Tensor:
    """`steps` [T, B, width], copied where it does not lie like x."""
    return steps.transpose(0, 1).contiguous().transpose(0, 1) if batch_first(x) else steps.contiguous()
