"""Sums over the batch: what the gradients of weights are made of.

A contraction is Σ δ vᵀ, or Σ δ, over rows and steps. PyTorch then only moves and adds such sums until they have the shape of a
weight; what is told here is which entry of which contraction each entry of a weight's gradient consists of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from throughtime.tracing.rows import Node, Total, name_of, refuse_node, scattered, weight_of
from throughtime.tracing.sheet import Numbers, Sheet, Value
from throughtime.tracing.views import VIEWS


@dataclass(eq=False)
class Contraction:
    """Σ delta vectorᵀ over rows and steps, or Σ delta where there is no vector."""

    base: int
    delta: Numbers
    vector: Numbers | None


class Gradient(NamedTuple):
    """∂L/∂ some entries of a weight: [rows, columns] of Σ delta vectorᵀ, or [rows] of Σ delta."""

    weight: Value
    entries: Numbers
    delta: Numbers
    vector: Numbers | None


class Totals:
    """The contractions of a step, and what becomes of them."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.contractions: list[Contraction] = []
        self.next_entry = 0

    def contract(self, deltas: Numbers, vectors: Numbers) -> list[Numbers]:
        """Σ delta vectorᵀ for each of the rows' merged parts: arrays of entries."""
        found = []
        for delta, vector in zip(map(self.solid, deltas), map(self.solid, vectors), strict=True):
            found.append(self.entry(Contraction(self.next_entry, delta, vector), (len(delta), len(vector))))
        return found

    def sum_of(self, units: Numbers) -> Numbers:
        """Σ δ for an array of units: an array of entries."""
        return self.entry(Contraction(self.next_entry, self.solid(units.ravel()), None), units.shape)

    def solid(self, units: Numbers) -> Numbers:
        """Units of which none is a constant but zero: others become vectors."""
        pieces = []
        for part in self.sheet.parts(units):
            number = self.sheet.number_of(part)
            piece = self.sheet.units(part.value)[part.start : part.start + part.width]
            if number is not None and number != 0:
                piece = self.sheet.units(self.sheet.emit("copy", [number], part.width))
            pieces.append(piece)
        return np.concatenate(pieces)

    def entry(self, contraction: Contraction, shape: tuple[int, ...]) -> Numbers:
        self.contractions.append(contraction)
        size = math.prod(shape)
        self.next_entry += size
        return np.arange(contraction.base, contraction.base + size).reshape(shape)

    def moved(self, q: Node, args: list[Any], found: dict[Any, Any], filled: Callable[[Node], float | None]) -> Total:
        """What is done to sums over the batch: views, and sums of such sums. `found`: what nodes are; `filled`: the number that
        a tensor is filled with."""
        name, shape = name_of(q), tuple(q.meta["val"].shape)
        first = found.get(args[0])
        if isinstance(first, Total) and (name in VIEWS or name == "_to_copy"):
            view = VIEWS.get(name, lambda a, *_: a)
            extra = (args[1], -1) if name == "constant_pad_nd" else args[1:]
            return Total(tuple(view(a, shape, *extra) for a in first.summands))
        if name == "add" and not q.kwargs:
            totals = [found[a] for a in args if isinstance(found.get(a), Total)]
            if all(filled(a) == 0 for a in args if not isinstance(found.get(a), Total)):
                return Total(tuple(np.broadcast_to(a, shape) for t in totals for a in t.summands))
        if name in ("slice_scatter", "select_scatter") and filled(args[0]) == 0:
            zeros = np.full(shape, -1)
            return Total(tuple(scattered(name, zeros, a, args[2:]) for a in found[args[1]].summands))
        if name == "sum" and isinstance(first, Total):
            axes = first.summands[0].ndim
            dims = [d % axes for d in args[1]] if len(args) > 1 else list(range(axes))
            rest = [i for i in range(axes) if i not in dims]
            flat = [a.transpose([*rest, *dims]).reshape(*(a.shape[i] for i in rest), -1) for a in first.summands]
            return Total(tuple(a[..., k].reshape(shape) for a in flat for k in range(a.shape[-1])))
        raise refuse_node(q, f"a gradient that passes {name} after its sum over rows", "engine='loop' runs anything")

    def gradients(self, q: Node, total: Total, places: Numbers) -> list[Gradient]:
        """What a sum is to the weight whose units are `places`, in the same shape."""
        gradients = []
        for summand in total.summands:
            for c in self.contractions:
                shape = (len(c.delta),) if c.vector is None else (len(c.delta), len(c.vector))
                size = math.prod(shape)
                inside = (summand >= c.base) & (summand < c.base + size)
                if not inside.any():
                    continue
                units = np.full(size, -1)
                units[summand[inside] - c.base] = places[inside]
                if (units < 0).any() or inside.sum() != size:
                    raise refuse_node(q, "a part of a gradient that no weight has", "engine='loop' runs anything")
                weight, entries = weight_of(self.sheet, q, units)
                gradients.append(Gradient(weight, entries.reshape(shape), c.delta, c.vector))
        return gradients
