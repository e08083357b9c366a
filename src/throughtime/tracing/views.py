"""Operations that move units and compute nothing, on arrays of numbers.

In a row's array the axis of the batch has size 1, or m where a view merged it with an inner axis of m (batch outermost).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import fx

from throughtime.tracing.sheet import Numbers

SAME = {"detach", "alias", "clone", "contiguous", "lift_fresh", "lift_fresh_copy", "positive"}


def shape_of(node: fx.Node, batch: int) -> tuple[int, ...]:
    """The shape of a row's array: the batch counts as 1."""
    return tuple(k // batch if k and k % batch == 0 else k for k in node.meta["val"].shape)


def axis_of(node: fx.Node, batch: int) -> int | None:
    """Where the batch lies in a tensor; None where it does not."""
    return next((i for i, k in enumerate(node.meta["val"].shape) if k and k % batch == 0), None)


def _reshape(a: Numbers, shape: tuple[int, ...], *_: Any) -> Numbers:
    return a.reshape(shape)


def _expand(a: Numbers, shape: tuple[int, ...], *_: Any) -> Numbers:
    return np.broadcast_to(a, shape)


def _broadcast(a: Numbers, shape: tuple[int, ...], _: Any, axes: Sequence[int]) -> Numbers:
    """`axes`: where each of the array's axes goes."""
    spread = [1] * len(shape)
    for size, axis in zip(a.shape, axes, strict=True):
        spread[axis] = size
    return np.broadcast_to(a.reshape(spread), shape)


def _slice(
    a: Numbers, shape: tuple[int, ...], dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Numbers:
    k = dim % a.ndim
    if a.shape == shape and step == 1:
        return a
    index: list[Any] = [slice(None)] * a.ndim
    index[k] = slice(start, stop, step)
    return a[tuple(index)]


def _pad(a: Numbers, shape: tuple[int, ...], pad: Sequence[int], value: int) -> Numbers:
    """Grow (or, where negative, cut) the last axes; `value`: the number of the unit that fills."""
    widths = [(0, 0)] * a.ndim
    for i in range(len(pad) // 2):
        widths[a.ndim - 1 - i] = (pad[2 * i], pad[2 * i + 1])
    a = np.pad(a, [(max(low, 0), max(high, 0)) for low, high in widths], constant_values=value)
    return a[tuple(slice(max(-low, 0), a.shape[i] - max(-high, 0)) for i, (low, high) in enumerate(widths))]


VIEWS: dict[str, Callable[..., Numbers]] = {
    **dict.fromkeys(SAME, lambda a, shape, *_, **__: a),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "squeeze_"), _reshape),
    "expand": _expand,
    "broadcast_in_dim": _broadcast,
    "t": lambda a, shape: a.T,
    "transpose": lambda a, shape, i, j: np.swapaxes(a, i, j),
    "permute": lambda a, shape, order: a.transpose(order),
    "slice": _slice,
    "select": lambda a, shape, dim, index: np.take(a, index, dim),
    "diagonal": lambda a, shape, offset=0, i=0, j=1: np.diagonal(a, offset, i, j),
    "flip": lambda a, shape, dims: np.flip(a, dims),
    "roll": lambda a, shape, shifts, dims=(): (
        np.roll(a, shifts, dims) if dims else np.roll(a.ravel(), shifts[0]).reshape(shape)
    ),
    "repeat": lambda a, shape, repeats: np.tile(a, repeats),
    "constant_pad_nd": _pad,
}
"""f(array, shape of the result, further arguments) by the operation's name."""

SPLITS = ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk", "unbind")


def split(a: Numbers, name: str, size: Any, dim: int = 0) -> list[Numbers]:
    """The pieces of an array, as the operation of that name cuts it."""
    k = dim % a.ndim
    if name == "unbind":
        return [np.take(a, i, k) for i in range(a.shape[k])]
    if "chunk" in name:
        size = -(-a.shape[k] // size)
    cuts = np.arange(size, a.shape[k], size) if isinstance(size, int) else np.cumsum(size)[:-1]
    return np.split(a, cuts, k)


def keeps_batch(name: str, before: tuple[int, ...], axis: int, after: tuple[int, ...], new: int) -> bool:
    """Whether a view leaves every row with its own units: the same number of them before and behind the batch."""
    if name not in ("view", "_unsafe_view", "reshape"):
        return True
    return math.prod(before[:axis]) == math.prod(after[:new])
