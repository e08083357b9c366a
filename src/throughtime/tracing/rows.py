"""What tensors of a step are while its graph is read: arrays of unit numbers, and sums over the batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from throughtime.tracing.refusal import CannotTraceError, line_of_trace, refuse
from throughtime.tracing.sheet import Numbers, Sheet, Value

Node = Any
"""An fx.Node; what its arguments are, only its operation tells."""

APART = "each row has to stand for itself"


class Row(NamedTuple):
    """A tensor as an array of unit numbers; `axis`: where the batch lies, None for a tensor of the call level."""

    units: Numbers
    axis: int | None


class Total(NamedTuple):
    """A sum over the batch: a sum of arrays whose entries count the entries of contractions; −1 stands for zero."""

    summands: tuple[Numbers, ...]


def name_of(q: Node) -> str:
    """The name of a node's operation, without its overload."""
    return getattr(q.target, "__name__", str(q.target)).split(".")[0] if hasattr(q, "target") else ""


def refuse_node(q: Node, what: str, instead: str = "") -> CannotTraceError:
    """The error for a node's operation."""
    return refuse(what, line_of_trace(q.stack_trace), instead)


def same_kind(q: Node) -> bool:
    """Whether a conversion keeps every number: to the same dtype, or from truth to numbers."""
    before, after = q.args[0].meta["val"].dtype, q.meta["val"].dtype
    return before == after or before == torch.bool


def scattered(name: str, base: Numbers, source: Numbers, rest: Any) -> Numbers:
    dim, *where = rest
    out = np.array(base)
    index: list[Any] = [slice(None)] * out.ndim
    index[dim] = where[0] if name == "select_scatter" else slice(*(where + [None] * (3 - len(where))))
    out[tuple(index)] = source
    return out


def reduced(sheet: Sheet, name: str, units: Numbers, q: Node) -> int:
    """The unit that a reduction of units comes to."""
    if name == "amin":
        negative = sheet.reduce("row_max", sheet.elementwise("neg", [units], units.shape))
        return int(sheet.elementwise("neg", [np.array([negative])], (1,))[0])
    if name == "var":
        unbiased = q.args[2] if len(q.args) > 2 else True  # var.dim; the other overload has a correction
        correction = q.kwargs.get("correction", int(bool(unbiased)))
        k = len(units)
        mean = sheet.elementwise("div", [np.array([sheet.reduce("row_sum", units)]), float(k)], (1,))
        centred = sheet.elementwise("sub", [units, mean], units.shape)
        squares = sheet.reduce("row_sum", sheet.elementwise("mul", [centred, centred], units.shape))
        return int(sheet.elementwise("div", [np.array([squares]), float(k - correction)], (1,))[0])
    return sheet.reduce("row_max" if name == "amax" else "row_sum", units)


def weight_of(sheet: Sheet, q: Node, units: Numbers) -> tuple[Value, Numbers]:
    """The weight that an array of units belongs to, and which of its entries they are."""
    value, _ = sheet.find(int(units.flat[0]))
    entries = units - value.base
    if value.kind != "weight" or entries.min() < 0 or entries.max() >= value.width:
        raise refuse_node(q, "a product with a matrix of several origins", "make the matrix of parameters alone")
    return value, entries


def product_of_two(sheet: Sheet, a: Numbers, b: Numbers) -> Numbers:
    """The product of two matrices of one row, unit by unit."""
    (M, K), N = a.shape, b.shape[1]
    if K == 1:
        return sheet.elementwise("mul", [np.broadcast_to(a, (M, N)), np.broadcast_to(b, (M, N))], (M, N))
    found = np.empty((M, N), dtype=np.int64)
    for i in range(M):
        for j in range(N):
            found[i, j] = sheet.reduce("row_sum", sheet.elementwise("mul", [a[i], b[:, j]], (K,)))
    return found
