"""The instructions of a step while they are found: every unit of every value has a number of its own.

A tensor of the step is an array of such numbers, so chunk, cat, transpose, view and the like move numbers and need no
instruction. An elementwise operation becomes one instruction for every run of units that lie side by side in all operands.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from throughtime.engines.values import FUNCTIONS
from throughtime.programs.program import REDUCTIONS
from throughtime.tracing.refusal import refuse

Numbers = NDArray[np.int64]

LIMIT = 8192
"""Instructions beyond which a step is refused: units that are read one by one."""


@dataclass(eq=False)
class Value:
    """A run of units: given (an input, a part of the state …; `of` says which), a constant, or made by an instruction."""

    kind: str  # "input", "state", "upstream", "weight", "constant", "made"
    width: int
    base: int
    of: int = 0
    number: float = 0.0
    by: Op | None = None


@dataclass(frozen=True)
class Part:
    """The units start … start + width − 1 of a value."""

    value: Value
    start: int
    width: int

    @property
    def whole(self) -> bool:
        return self.width == self.value.width


@dataclass(eq=False)
class Factor:
    """A matrix as it stands in a product: which unit of which weight is its entry [row, column]; transposed or not."""

    weight: Value
    entries: Numbers  # [rows, columns], counted within the weight


@dataclass(eq=False)
class Op:
    """out = name(operands), or out = Σ addends + Σ factor · part for a product."""

    name: str
    out: Value
    operands: list[Part | float] = field(default_factory=list)
    terms: list[tuple[Factor, Part]] = field(default_factory=list)
    addends: list[Part] = field(default_factory=list)

    @property
    def reads(self) -> list[Part]:
        return [o for o in self.operands if isinstance(o, Part)] + [p for _, p in self.terms] + self.addends


class Sheet:
    """The values and instructions of one step, in order."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.bases: list[int] = []
        self.ops: list[Op] = []
        self.constants: dict[str, Value] = {}
        self.known: dict[tuple[object, ...], Value] = {}

    def new(self, kind: str, width: int, of: int = 0, number: float = 0.0) -> Value:
        base = (
            self.values[-1].base + self.values[-1].width + 1 if self.values else 0
        )  # a gap: no run crosses two values
        value = Value(kind, width, base, of, number)
        self.values.append(value)
        self.bases.append(base)
        return value

    def units(self, value: Value) -> Numbers:
        return np.arange(value.base, value.base + value.width)

    def constant(self, number: float) -> int:
        """The unit that holds a number."""
        key = repr(float(number))  # tells 0 from −0
        if key not in self.constants:
            self.constants[key] = self.new("constant", 1, number=float(number))
        return self.constants[key].base

    def find(self, unit: int) -> tuple[Value, int]:
        value = self.values[bisect_right(self.bases, unit) - 1]
        return value, unit - value.base

    def parts(self, units: Numbers) -> Iterator[Part]:
        """The runs of an array of numbers, in order."""
        flat = units.ravel()
        edges = [0, *(np.flatnonzero(np.diff(flat) != 1) + 1).tolist(), len(flat)]
        for low, high in pairwise(edges):
            if low < high:
                value, start = self.find(int(flat[low]))
                yield Part(value, start, high - low)

    def number_of(self, operand: Part | float) -> float | None:
        if isinstance(operand, Part):
            return operand.value.number if operand.value.kind == "constant" else None
        return operand

    # --- instructions

    def elementwise(self, name: str, operands: Sequence[Numbers | float], shape: tuple[int, ...]) -> Numbers:
        """The numbers, in `shape`, of an operation on arrays (broadcast to it) and numbers."""
        flat = [np.broadcast_to(o, shape).ravel() if isinstance(o, np.ndarray) else o for o in operands]
        size = math.prod(shape)
        out = np.empty(size, dtype=np.int64)
        for low, high in _runs([f for f in flat if isinstance(f, np.ndarray)], size):
            run = [self._operand(f, low, high) if isinstance(f, np.ndarray) else float(f) for f in flat]
            out[low:high] = self._simplified(name, run, high - low)
        return out.reshape(shape)

    def _operand(self, flat: Numbers, low: int, high: int) -> Part | float:
        value, start = self.find(int(flat[low]))
        if value.kind == "constant":
            return value.number
        return Part(value, start, high - low if high - low == 1 or flat[low + 1] != flat[low] else 1)

    def _simplified(self, name: str, operands: list[Part | float], width: int) -> Numbers | int:
        """The units of one instruction, which is left out where its result is there already."""
        if name in ("add", "sub"):
            name, operands = _without_minus(name, operands)
        same = _identity(name, operands)
        if isinstance(same, Part):
            units = self.units(same.value)[same.start : same.start + same.width]
            return units if same.width == width else int(units[0])
        if same is not None:
            return self.constant(same)
        out = self.emit(name, operands, 1 if name in REDUCTIONS else width)
        return self.units(out)

    def emit(self, name: str, operands: list[Part | float], width: int) -> Value:
        key = (name, width, *((o.value.base, o.start, o.width) if isinstance(o, Part) else repr(o) for o in operands))
        if key not in self.known:
            out = self.new("made", width)
            self._append(Op(name, out, operands))
            self.known[key] = out
        return self.known[key]

    def reduce(self, name: str, units: Numbers) -> int:
        """The unit that holds the sum or maximum of units."""
        combine = {"row_sum": "add", "row_max": "maximum"}[name]
        found: int | None = None
        for part in self.parts(units):
            one: Part | float = part if self.number_of(part) is None else part.value.number
            if part.width > 1:
                one = Part(self.emit(name, [part], 1), 0, 1)
            unit = one.value.base + one.start if isinstance(one, Part) else self.constant(one)
            if found is not None:
                unit = int(self.elementwise(combine, [np.array([found]), np.array([unit])], (1,))[0])
            found = unit
        assert found is not None
        return found

    def product(self, factor: tuple[Value, Numbers], units: Numbers) -> Numbers:
        """The units of matrix · vector; zeros of the vector are left out."""
        weight, entries = factor
        terms: list[tuple[Factor, Part]] = []
        column = 0
        for part in self.parts(units):
            number = self.number_of(part)
            if number is None or number != 0:
                if number is not None:
                    part = Part(self.emit("copy", [number], part.width), 0, part.width)
                terms.append((Factor(weight, entries[:, column : column + part.width]), part))
            column += part.width
        if not terms:
            return np.full(len(entries), self.constant(0.0))
        return self.units(self.multiply(len(entries), terms, []))

    def multiply(self, width: int, terms: list[tuple[Factor, Part]], addends: list[Part]) -> Value:
        out = self.new("made", width)
        self._append(Op("product", out, terms=terms, addends=addends))
        return out

    def _append(self, op: Op) -> None:
        op.out.by = op
        self.ops.append(op)
        if len(self.ops) > LIMIT:
            raise refuse(
                f"a step of more than {LIMIT} instructions",
                instead="lay units that are used together side by side, rather than interleaved",
            )


def _runs(arrays: Sequence[Numbers], size: int) -> Iterator[tuple[int, int]]:
    """Where every array's numbers grow by one, or stay the same: the stretches [low, high) of one instruction each."""
    if not arrays:
        yield 0, size
        return
    steps = np.stack([np.diff(a) for a in arrays])
    low = 0
    while low < size:
        high = low + 1
        if high < size and np.isin(steps[:, low], (0, 1)).all():
            same = (steps[:, low:] == steps[:, low : low + 1]).all(0)
            high += len(same) if same.all() else int(np.argmin(same))
        yield low, high
        low = high


def _identity(name: str, operands: list[Part | float]) -> Part | float | None:
    """The operand, or the number, that an operation comes to where that is plain without computing; None elsewhere."""
    numbers = [o if not isinstance(o, Part) else None for o in operands]
    if all(n is not None for n in numbers):
        return _constant(name, [n for n in numbers if n is not None])
    left = operands[0]
    right = operands[1] if len(operands) > 1 else None
    if name == "copy" or (name in ("mul", "div", "pow") and right == 1) or (name in ("add", "sub") and right == 0):
        return left
    if (name == "add" and left == 0) or (name == "mul" and left == 1):
        return right
    if name == "neg" and (inner := _negated(left)) is not None:
        return inner
    if name == "where" and isinstance(left, float):
        return operands[1] if left else operands[2]
    return None


def _negated(operand: Part | float) -> Part | None:
    """v, where an operand is −v."""
    by = operand.value.by if isinstance(operand, Part) and operand.whole else None
    inner = by.operands[0] if by is not None and by.name == "neg" else None
    return inner if isinstance(inner, Part) and isinstance(operand, Part) and inner.width == operand.width else None


def _without_minus(name: str, operands: list[Part | float]) -> tuple[str, list[Part | float]]:
    """a + (−b) is a − b, (−a) + b is b − a, and a − (−b) is a + b."""
    left, right = operands
    if (inner := _negated(right)) is not None:
        return ("sub" if name == "add" else "add"), [left, inner]
    if name == "add" and (inner := _negated(left)) is not None:
        return "sub", [right, inner]
    return name, operands


def _constant(name: str, numbers: list[float]) -> float | None:
    """An operation on numbers alone."""
    found = FUNCTIONS.get(name) or getattr(torch, name)
    return float(found(*(torch.tensor([n], dtype=torch.float64) for n in numbers)))
