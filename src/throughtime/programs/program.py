"""A program: one step of a cell for one row, and the way back through it, as instructions over vectors.

    product       p = Σ_j M_j v_j + Σ b_i        v_j: an input, a part of the state, or a vector made earlier in this step
    elementwise   every other value              unit by unit; row_sum and row_max look along a row's units
    gradients     ∂L/∂M_j = Σ_t δ_t v_j,tᵀ       ∂L/∂b_i = Σ_t δ_t       and what goes back to the inputs and the state before

A program knows sizes but no numbers: its matrices and parameters are named here and given to whoever runs it. It knows nothing
of time, rows or engines. What each instruction may be computed from, hence when, `levels` tells.

Vectors are named and have a width; an instruction writes a window of one, and every unit is written once in each direction.
What one product reads or writes together lies side by side in one vector. An operand of width 1 serves all units.

Printed, a program shows its formulas. Its text (`program.text`, read by `parse`) is its canonical form: Python's syntax, an
instruction a line, `@` for the product with a matrix. So programs are written by hand, compared, stored, and handed to other
processes:

    elman                              the name
    inputs x[3]                        read at every step
    state s[4]                         before the step
    matrices U[4, 3] W[4, 4]           [rows, columns]
    parameters b[4]                    one number per unit
    forward
    a = U @ x + W @ s + b
    new = tanh(a)
    outputs new
    next new                           the state after the step, part by part
    upstream dy[4] dnext[4]            ∂L/∂ each output, then ∂L/∂ each part of the state after
    backward
    dnew = dy + dnext
    da = tanh_backward(dnew, new)
    dx = U.T @ da
    ds = W.T @ da
    gradients
    x: dx
    s: ds
    U: da @ x.T
    W: da @ s.T
    b: da
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

OPERATIONS = {
    "copy": 1, "neg": 1, "abs": 1, "sign": 1, "reciprocal": 1, "sqrt": 1, "rsqrt": 1,
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "sin": 1, "cos": 1, "erf": 1,
    "sigmoid": 1, "tanh": 1, "relu": 1, "logical_not": 1, "row_sum": 1, "row_max": 1,
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "minimum": 2, "maximum": 2,
    "gt": 2, "lt": 2, "ge": 2, "le": 2, "eq": 2, "ne": 2, "logical_and": 2, "logical_or": 2,
    "sigmoid_backward": 2, "tanh_backward": 2, "relu_backward": 2,
    "where": 3, "clamp": 3,
}  # fmt: skip
"""Every elementwise operation with its number of operands. They mean what PyTorch's functions of these names mean, with truth
as the numbers 1 and 0; sigmoid_backward(g, s) = g s (1 − s), tanh_backward(g, s) = g (1 − s²), relu_backward(g, s) = g where
not s ≤ 0; clamp(v, low, high); row_sum and row_max reduce a window to one number."""

REDUCTIONS = ("row_sum", "row_max")


class Vector(NamedTuple):
    """A named run of numbers of every row."""

    name: str
    width: int

    def __str__(self) -> str:
        return f"{self.name}[{self.width}]"


class Window(NamedTuple):
    """The units start … start + width − 1 of a vector."""

    vector: str
    start: int
    width: int

    @property
    def stop(self) -> int:
        return self.start + self.width

    def covers(self, other: Window) -> bool:
        return self.vector == other.vector and self.start <= other.start and other.stop <= self.stop

    def overlaps(self, other: Window) -> bool:
        return self.vector == other.vector and self.start < other.stop and other.start < self.stop


class Matrix(NamedTuple):
    """A matrix of the cell: the same for all rows and steps."""

    name: str
    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.name}[{self.rows}, {self.columns}]"


class Block(NamedTuple):
    """The rows row … row + rows − 1 and columns column … column + columns − 1 of a matrix."""

    matrix: str
    row: int
    column: int
    rows: int
    columns: int


class Term(NamedTuple):
    """block · vector, or blockᵀ · vector."""

    block: Block
    transposed: bool
    vector: Window


class Product(NamedTuple):
    """out = Σ addends + Σ terms, summed in this order. An addend that is `out` itself makes it a running sum."""

    out: Window
    terms: tuple[Term, ...]
    addends: tuple[Window, ...] = ()


class Elementwise(NamedTuple):
    """out = op(operands), unit by unit (to one unit, for a reduction)."""

    op: str
    out: Window
    operands: tuple[Window | float, ...]


Instruction = Product | Elementwise


class Contraction(NamedTuple):
    """∂L/∂block += Σ_t delta_t vector_tᵀ."""

    block: Block
    delta: Window
    vector: Window


class Sum(NamedTuple):
    """∂L/∂parameter += Σ_t delta_t."""

    parameter: Window
    delta: Window


def reads(instruction: Instruction) -> Iterator[Window]:
    """The windows an instruction reads, in order."""
    if isinstance(instruction, Product):
        yield from instruction.addends
        for term in instruction.terms:
            yield term.vector
    else:
        for operand in instruction.operands:
            if isinstance(operand, Window):
                yield operand


@dataclass(frozen=True, eq=False)
class Program:
    """One step of a cell and its way back. Two programs are equal when their texts are.

    Raises: ValueError: an unknown or twice written vector, widths that do not fit, an unknown operation.
    """

    name: str
    inputs: tuple[Vector, ...]
    state: tuple[Vector, ...]
    matrices: tuple[Matrix, ...]
    parameters: tuple[Vector, ...]
    forward: tuple[Instruction, ...]
    outputs: tuple[Window, ...]
    next: tuple[Window, ...]
    upstream: tuple[Vector, ...]
    backward: tuple[Instruction, ...]
    to_inputs: tuple[Window | None, ...]
    to_state: tuple[Window | None, ...]
    contractions: tuple[Contraction, ...]
    sums: tuple[Sum, ...]
    text: str = field(init=False)

    def __post_init__(self) -> None:
        from throughtime.programs.checks import check
        from throughtime.programs.text import write

        check(self)
        object.__setattr__(self, "text", write(self))  # at once: torch.compile cannot follow a cached property

    def __str__(self) -> str:
        from throughtime.programs.formulas import formulas

        return formulas(self)

    def __reduce__(self) -> tuple[Any, ...]:
        from throughtime.programs.text import parse

        return parse, (self.text,)  # a copy is the same program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def widths(self) -> dict[str, int]:
        """The width of every vector: the given ones, and those that instructions write."""
        found = {v.name: v.width for v in (*self.inputs, *self.state, *self.parameters, *self.upstream)}
        for instruction in (*self.forward, *self.backward):
            out = instruction.out
            found[out.vector] = max(found.get(out.vector, 0), out.stop)
        return found

    @cached_property
    def made_forward(self) -> frozenset[str]:
        """The vectors that the forward direction writes."""
        return frozenset(i.out.vector for i in self.forward)

    @cached_property
    def back_reads(self) -> tuple[Window, ...]:
        """Everything that the way back and the gradients read, in order."""
        return (
            *(w for i in self.backward for w in reads(i)),
            *(w for c in self.contractions for w in (c.delta, c.vector)),
            *(s.delta for s in self.sums),
            *(w for w in (*self.to_inputs, *self.to_state) if w is not None),
        )

    @cached_property
    def forward_parameters(self) -> int:
        """How many parameters, the last ones, the forward direction alone reads, such as biases."""
        read = vectors_of(self.back_reads)
        first = max((i + 1 for i, v in enumerate(self.parameters) if v.name in read), default=0)
        return len(self.parameters) - first

    @cached_property
    def kept(self) -> tuple[Window, ...]:
        """What a forward call must leave for the way back beyond its outputs: the vectors that it made and the way back reads,
        and the parts of the state after each step where the state before a step is read. Series [T, B, width] in this order."""
        held = list(self.outputs)
        states = {v.name: after for v, after in zip(self.state, self.next, strict=True)}
        for window in self.back_reads:
            if window.vector in states:
                need = states[window.vector]
            elif window.vector in self.made_forward:
                need = Window(window.vector, 0, self.widths[window.vector])
            else:
                continue
            if not any(h.covers(need) for h in held):
                held.append(need)
        return tuple(held[len(self.outputs) :])


def whole(vector: Vector) -> Window:
    """All of a vector."""
    return Window(vector.name, 0, vector.width)


def vectors_of(windows: Iterable[Window]) -> frozenset[str]:
    """The names of the vectors that windows belong to."""
    return frozenset(w.vector for w in windows)
