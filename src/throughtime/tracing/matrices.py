"""The matrices of a traced program: tensors of the call level, as products read them.

A product's matrix is known as an array: which entry of which tensor stands at [row, column]. Where that is a block of the
tensor, in rows or transposed, the program's matrix is the tensor itself; elsewhere its entries are gathered once a call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from throughtime.programs.program import Block
from throughtime.tracing.sheet import Numbers, Value


@dataclass(eq=False)
class Layout:
    """How a matrix lies in a tensor: "rows" ([numel / stride, stride]), "columns" (that transposed), or gathered."""

    name: str
    weight: Value
    kind: str
    stride: int
    full: Numbers

    def of(self, tensor: Tensor) -> Tensor:
        """The matrix, of the tensor's numbers."""
        if self.kind == "rows":
            return tensor if tensor.shape == self.full.shape else tensor.reshape(-1, self.stride)
        if self.kind == "columns":
            return tensor.reshape(-1, self.stride).T
        import torch

        index = torch.from_numpy(np.ascontiguousarray(self.full)).to(tensor.device)
        return tensor.flatten()[index]

    def find(self, entries: Numbers) -> Block | None:
        """The block that an array of entries is."""
        first, (rows, columns) = int(entries[0, 0]), entries.shape
        if self.kind == "gathered":
            places = np.argwhere(self.full == first)
            if not len(places):
                return None
            row, column = map(int, places[0])
        else:
            row, column = divmod(first, self.stride)
            if self.kind == "columns":
                row, column = column, row
        if not np.array_equal(self.full[row : row + rows, column : column + columns], entries):
            return None
        return Block(self.name, row, column, rows, columns)


class Place(NamedTuple):
    """A block of a matrix, or its transpose."""

    block: Block
    transposed: bool


class Matrices:
    """All matrices of a program, in the order in which they are met. `names`: of each weight, and a way to a free name."""

    def __init__(self, names: dict[Value, str], shapes: dict[Value, tuple[int, ...]]) -> None:
        self.names, self.shapes = names, shapes
        self.layouts: list[Layout] = []

    def forward(self, weight: Value, entries: Numbers) -> Place:
        """Where the matrix [out, in] of a product of the way forward lies."""
        for layout in self.layouts:
            if layout.weight is weight and (block := layout.find(entries)):
                return Place(block, False)
        return Place(self._add(weight, entries), False)

    def backward(self, weight: Value, entries: Numbers) -> Place:
        """The same for the way back, which reads what the way forward reads, transposed."""
        for matrix, transposed in ((entries.T, True), (entries, False)):
            for layout in self.layouts:
                if layout.weight is weight and (block := layout.find(matrix)):
                    return Place(block, transposed)
        return Place(self._add(weight, entries.T), True)

    def _add(self, weight: Value, entries: Numbers) -> Block:
        kind, stride = _kind(entries, weight.width, self.shapes[weight])
        whole = np.arange(weight.width).reshape(-1, stride) if stride else entries
        name = self.names[weight] + ("_T" if kind == "columns" else "")
        taken = {layout.name for layout in self.layouts}
        while name in taken:
            name += "_"
        layout = Layout(name, weight, kind, stride, whole.T if kind == "columns" else whole)
        block = layout.find(entries)
        if block is None:  # no block of any such matrix
            layout = Layout(name, weight, "gathered", 0, entries)
            block = Block(name, 0, 0, *entries.shape)
        self.layouts.append(layout)
        return block


def _kind(entries: Numbers, size: int, shape: tuple[int, ...]) -> tuple[str, int]:
    """The layout in which entries may be a block, and its stride; "gathered", 0 where there is none."""
    rows, columns = entries.shape
    down = int(entries[1, 0] - entries[0, 0]) if rows > 1 else 0
    across = int(entries[0, 1] - entries[0, 0]) if columns > 1 else 0
    last = shape[-1] if shape else 1
    if rows > 1 and columns > 1:
        kind, stride = ("rows", down) if across == 1 else ("columns", across) if down == 1 else ("gathered", 0)
    elif columns > 1:
        kind, stride = ("rows", last if len(shape) > 1 else columns) if across == 1 else ("columns", across)
    else:
        kind, stride = ("columns", last if len(shape) > 1 else rows) if down == 1 else ("rows", down or last)
    if kind == "columns" and rows > 1 and columns == 1 and len(shape) == 2 and shape[1] == 1:
        kind, stride = "rows", 1
    return (kind, stride) if stride > 0 and size % stride == 0 else ("gathered", 0)


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape) or (math.prod(tensor.shape),)
