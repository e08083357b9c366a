"""What engines that run programs in PyTorch share: the numbers of vectors, and all that happens to every step at once, before
and after the sweep over time.

    begin_forward      the inputs, and the program's head
    begin_backward     also the series of a forward call, the states before each step, and what comes from upstream
    finish_backward    the program's tail, and the gradients: sums over steps and rows
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.programs import Program, levels
from throughtime.programs.calls import Batch, Gradients, Needs, Recurrence, Upstream, Walk
from throughtime.programs.program import Block, Instruction, Product, Term, Vector, Window

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "copy": torch.clone,
    "add": lambda u, v: u + v,
    "sub": lambda u, v: u - v,
    "mul": lambda u, v: u * v,
    "div": lambda u, v: u / v,
    "gt": lambda u, v: u > v,
    "lt": lambda u, v: u < v,
    "ge": lambda u, v: u >= v,
    "le": lambda u, v: u <= v,
    "eq": lambda u, v: u == v,
    "ne": lambda u, v: u != v,
    "logical_not": lambda v: v == 0,
    "logical_and": lambda u, v: (u != 0) & (v != 0),
    "logical_or": lambda u, v: (u != 0) | (v != 0),
    "where": lambda truth, u, v: torch.where(truth != 0, u, v),
    "sigmoid_backward": lambda g, s: g * (s * (1 - s)),
    "tanh_backward": lambda g, s: g * (1 - s * s),
    "relu_backward": lambda g, s: torch.where(s <= 0, 0.0, g),
    "row_sum": lambda v: v.sum(-1, keepdim=True),
    "row_max": lambda v: v.amax(-1, keepdim=True),
}
"""What an operation does, where it is not PyTorch's function of its name."""


def begin_forward(recurrence: Recurrence, batch: Batch) -> Values:
    """The values of all steps before the sweep."""
    values = Values(recurrence, batch)
    values.give(recurrence.program.inputs, _without_padding(batch, real_steps(batch)))
    values.run(levels(recurrence.program)[0].head)
    return values


def begin_backward(recurrence: Recurrence, batch: Batch, walk: Walk, upstream: Upstream) -> Values:
    """The values of all steps before the sweep back."""
    program = recurrence.program
    values = Values(recurrence, batch)
    values.give(program.inputs, _without_padding(batch, real_steps(batch)))
    for window, series in zip((*program.outputs, *program.kept), (*walk.outputs, *walk.kept), strict=True):
        values.write(window, series)
    values.give(program.state, states_before(values, program, batch))
    arriving = program.upstream[: len(program.outputs)]
    values.give(
        arriving,
        [or_zeros(g, (*values.rows, v.width), values.like) for v, g in zip(arriving, upstream.outputs, strict=True)],
    )
    values.run(levels(program)[1].head)
    return values


def finish_backward(
    recurrence: Recurrence,
    batch: Batch,
    values: Values,
    carry: Sequence[Tensor],
    restart: Sequence[Tensor],
    needs: Needs,
) -> Gradients:
    """The gradients, from the values of the sweep back, what it carried to the initial state [B, width], and what it left at
    the starts of pieces [width]."""
    program, real = recurrence.program, real_steps(batch)
    values.run(levels(program)[1].tail)
    to_inputs = zip(program.inputs, program.to_inputs, needs.inputs, strict=True)
    return Gradients(
        tuple(
            None if not need else values.zeros(v.width) if w is None else masked(values.read(w), real)
            for v, w, need in to_inputs
        ),
        _weight_gradients(recurrence, values, real, needs.weights),
        tuple(c if need else None for c, need in zip(carry, needs.initial, strict=True)),
        tuple(r if need else None for r, need in zip(restart, needs.restart)),
    )


class Values:
    """The numbers of vectors while instructions run over rows of one leading shape: of each vector the windows written, by
    their start."""

    def __init__(self, recurrence: Recurrence, batch: Batch) -> None:
        program, weights = recurrence
        self.like = weights[0] if weights else batch.inputs[0]
        self.rows: tuple[int, ...] = tuple(batch.inputs[0].shape[:2])
        self.matrices = dict(zip((m.name for m in program.matrices), weights))
        self.parameters = dict(zip((v.name for v in program.parameters), weights[len(program.matrices) :]))
        self.parts: dict[str, dict[int, Tensor]] = {}

    def zeros(self, width: int) -> Tensor:
        return self.like.new_zeros((*self.rows, width))

    def at(self, t: int) -> Values:
        """The values of one step."""
        here = self._alike(self.rows[1:])
        here.parts = {name: {start: v[t] for start, v in parts.items()} for name, parts in self.parts.items()}
        return here

    def cut(self, part: tuple[slice, ...], rows: tuple[int, ...]) -> Values:
        """The values of some rows, shared among as many as `rows` says."""
        here = self._alike(rows)
        here.parts = {
            name: {start: v[part].expand(*rows, *v.shape[len(part) :]) for start, v in parts.items()}
            for name, parts in self.parts.items()
        }
        return here

    def widened(self, count: int) -> Values:
        """The values with one more axis of rows at the end, along which they are the same."""
        here = self._alike((*self.rows, count))
        n = len(self.rows)
        here.parts = {
            name: {start: v.unsqueeze(n).expand(*here.rows, *v.shape[n:]) for start, v in parts.items()}
            for name, parts in self.parts.items()
        }
        return here

    def _alike(self, rows: tuple[int, ...]) -> Values:
        here = object.__new__(Values)
        here.like, here.matrices, here.parameters, here.rows = self.like, self.matrices, self.parameters, rows
        here.parts = {}
        return here

    def give(self, vectors: Iterable[Vector], values: Iterable[Tensor]) -> None:
        for vector, value in zip(vectors, values, strict=True):
            self.parts[vector.name] = {0: value}

    def write(self, window: Window, value: Tensor) -> None:
        parts = self.parts.setdefault(window.vector, {})
        for start, part in list(parts.items()):
            if window.start <= start and start + part.shape[-1] <= window.stop:
                del parts[start]
        parts[window.start] = value.to(self.like.dtype).expand(*self.rows, window.width)

    def read(self, window: Window) -> Tensor:
        if window.vector in self.parameters:
            return self.parameters[window.vector][window.start : window.stop]
        parts = self.parts[window.vector]
        whole = parts.get(window.start)
        if whole is not None and (not whole.is_floating_point() or whole.shape[-1] == window.width):
            return whole  # symbols have no units
        found = []
        for start, part in sorted(parts.items()):
            first, last = max(window.start, start), min(window.stop, start + part.shape[-1])
            if first < last:
                found.append(part.narrow(-1, first - start, last - first))
        return found[0] if len(found) == 1 else torch.cat(found, -1)

    def gather(self, steps: Sequence[Values], windows: Iterable[Window]) -> None:
        """Take windows over from the values of each step."""
        for window in windows:
            self.write(window, torch.stack([step.read(window) for step in steps]))

    def run(self, instructions: Iterable[Instruction]) -> None:
        for i in instructions:
            if isinstance(i, Product):
                parts = [*map(self.read, i.addends), *map(self.term, i.terms)]
                value = parts[0]
                for part in parts[1:]:
                    value = value + part
            else:
                operands = [self.read(v) if isinstance(v, Window) else self.constant(v) for v in i.operands]
                value = FUNCTIONS.get(i.op, getattr(torch, i.op, None))(*operands)  # type: ignore[misc]
            self.write(i.out, value)

    def constant(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=self.like.dtype, device=self.like.device)

    def term(self, term: Term) -> Tensor:
        matrix = _block(self.matrices[term.block.matrix], term.block)
        vector = self.read(term.vector)
        if not vector.is_floating_point():  # a symbol is a one-hot vector, so its product is a column
            return matrix.T[vector.long()]
        return vector @ (matrix if term.transposed else matrix.T)


def _weight_gradients(
    recurrence: Recurrence, values: Values, real: Tensor | None, needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """∂L/∂ each matrix and parameter: what lies in the padding counts for nothing, whatever it holds."""
    program, weights = recurrence
    found: list[Tensor | None] = []
    for matrix, weight, need in zip(program.matrices, weights, needs):
        total = None
        for block, delta, vector in (c for c in program.contractions if need and c.block.matrix == matrix.name):
            part = _contract(masked(values.read(delta), real), values.read(vector), real, block.columns)
            right, below = matrix.columns - block.column - block.columns, matrix.rows - block.row - block.rows
            part = F.pad(part, (block.column, right, block.row, below))
            total = part if total is None else total + part
        found.append(torch.zeros_like(weight) if need and total is None else total)
    for parameter, weight, need in zip(program.parameters, weights[len(program.matrices) :], needs[len(found) :]):
        total = None
        for to, delta in (s for s in program.sums if need and s.parameter.vector == parameter.name):
            part = masked(values.read(delta), real).sum((0, 1))
            part = F.pad(part, (to.start, parameter.width - to.stop))
            total = part if total is None else total + part
        found.append(torch.zeros_like(weight) if need and total is None else total)
    return tuple(found)


def _contract(delta: Tensor, vector: Tensor, real: Tensor | None, columns: int) -> Tensor:
    """Σ delta ⊗ vector over steps and rows; symbols count as one-hot vectors."""
    flat = delta.reshape(-1, delta.shape[-1])
    if vector.is_floating_point():
        return flat.transpose(0, 1) @ masked(vector, real).reshape(-1, vector.shape[-1])
    return flat.new_zeros(columns, flat.shape[1]).index_add(0, vector.flatten().long(), flat).T


def _block(matrix: Tensor, block: Block) -> Tensor:
    return matrix[block.row : block.row + block.rows, block.column : block.column + block.columns]


def whole_windows(vectors: Iterable[Vector]) -> list[Window]:
    return [Window(v.name, 0, v.width) for v in vectors]


def restart_parts(batch: Batch, program: Program) -> tuple[Tensor | None, ...]:
    """The state from which pieces start, part by part."""
    return batch.restart or (None,) * len(program.state)


def or_zeros(value: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_zeros(shape) if value is None else value


def restart_state(own: Tensor | None, state: Tensor) -> Tensor:
    """The state from which pieces start, for all rows."""
    return torch.zeros_like(state) if own is None else own.expand_as(state)


def order_of(batch: Batch) -> range:
    T = batch.inputs[0].shape[0]
    return range(T - 1, -1, -1) if batch.reverse else range(T)


def real_steps(batch: Batch) -> Tensor | None:
    """Which rows have a step t: bool [T, B, 1]; None where every row has all."""
    if batch.lengths is None:
        return None
    x = batch.inputs[0]
    return (torch.arange(x.shape[0], device=x.device).unsqueeze(1) < batch.lengths.to(x.device)).unsqueeze(-1)


def fresh_steps(batch: Batch) -> Tensor | None:
    """The steps before which a row takes the initial state of pieces: bool [T, B, 1]. Walked in time, these are the first steps
    of pieces; walked from the end, the last steps, those before a first one."""
    if batch.starts is None:
        return None
    starts, real = batch.starts.to(batch.inputs[0].device).unsqueeze(-1), real_steps(batch)
    starts = starts if real is None else starts & real
    if not batch.reverse:
        return starts
    return torch.cat([starts[1:], torch.zeros_like(starts[:1])])


def _without_padding(batch: Batch, real: Tensor | None) -> list[Tensor]:
    """The inputs with zeros in the padding, which may hold NaN or any integer."""
    if real is None:
        return list(batch.inputs)
    return [x.where(real if x.dim() == 3 else real.squeeze(-1), 0) for x in batch.inputs]


def masked(series: Tensor, real: Tensor | None) -> Tensor:
    return series if real is None else series.where(real, 0.0)


def states_before(values: Values, program: Program, batch: Batch) -> list[Tensor]:
    """The state that each step started from, [T, B, width] by part; zeros for a part whose states after are unknown."""
    fresh = fresh_steps(batch)
    found = []
    for vector, after, first, own in zip(
        program.state, program.next, batch.initial, restart_parts(batch, program), strict=True
    ):
        if after.vector not in values.parts:
            found.append(values.zeros(vector.width))
            continue
        series = values.read(after)
        T, B = series.shape[:2]
        initial = or_zeros(first, (B, vector.width), values.like).expand(1, B, vector.width)
        if not batch.reverse:
            before = torch.cat([initial, series[:-1]])
        else:
            before = torch.cat([series[1:], initial])
            if batch.lengths is not None:
                last = torch.arange(T, device=series.device).unsqueeze(1) == batch.lengths.to(series.device) - 1
                before = initial.where(last.unsqueeze(-1), before)
        found.append(before if fresh is None else restart_state(own, before).where(fresh, before))
    return found
