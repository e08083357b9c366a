"""How what belongs to the steps of a batch lies in memory: like the inputs x, by steps or by instances, whichever of the two
comes first in their shape.

States and gradients follow the inputs, so that neither order ever has to be copied into the other: a batch [B, T, n] that was
transposed for the engines gives states that are contiguous when they are transposed back.
"""

from __future__ import annotations

from torch import Tensor


def _swapped(x: Tensor) -> bool:
    """Whether the first two dimensions of x lie in memory as if they were exchanged."""
    return x.stride(0) < x.stride(1)


def new_like(x: Tensor, W: Tensor, width: int) -> Tensor:
    """A new tensor of the first two dimensions of x and `width`, laid out like x, of the dtype and device of W."""
    first, second = x.shape[:2]
    if _swapped(x):
        return W.new_empty(second, first, width).transpose(0, 1)
    return W.new_empty(first, second, width)


def laid_out_like(x: Tensor, steps: Tensor) -> Tensor:
    """`steps`, of the first two dimensions of x and any width, copied where it does not lie like x."""
    return steps.transpose(0, 1).contiguous().transpose(0, 1) if _swapped(x) else steps.contiguous()
