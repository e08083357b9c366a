"""From a simplified step to a `Program`, and to the weights that it is run with."""

from __future__ import annotations

import keyword
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from throughtime.programs.program import (
    Block,
    Contraction,
    Elementwise,
    Instruction,
    Matrix,
    Product,
    Program,
    Sum,
    Term,
    Vector,
    Window,
)
from throughtime.tracing.interpret import Step
from throughtime.tracing.layout import Homes
from throughtime.tracing.matrices import Layout, Matrices
from throughtime.tracing.saving import divide
from throughtime.tracing.sheet import Factor, Numbers, Op, Part, Value
from throughtime.tracing.totals import Gradient

RESERVED = {
    "inputs", "state", "matrices", "parameters", "forward", "outputs", "next", "upstream", "backward", "gradients",
    "inf", "nan",
}  # fmt: skip


class Names(NamedTuple):
    """What vectors are called: the inputs, the parts of the state, and the weights (as in `Step.weights`)."""

    program: str
    inputs: tuple[str, ...]
    state: tuple[str, ...]
    weights: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]


class Emitted(NamedTuple):
    """A program; for each of its matrices how it lies in which weight; and which weight each of its parameters is."""

    program: Program
    matrices: tuple[Layout, ...]
    parameters: tuple[int, ...]


def emit(step: Step, names: Names) -> Emitted:
    """The program of a step."""
    return _Emitter(step, names).run()


class _Emitter:
    def __init__(self, step: Step, names: Names) -> None:
        self.step, self.names, self.sheet = step, names, step.sheet
        self.taken: set[str] = set(RESERVED)
        self.given: dict[Value, Window] = {}
        self.inputs = [
            Vector(self.free(n), v.width if v else 1) for n, v in zip(names.inputs, step.inputs, strict=True)
        ]
        self.state = [Vector(self.free(n), len(u)) for n, u in zip(names.state, step.next, strict=True)]
        ys = ["dy"] if len(step.outputs) == 1 else [f"dy{k}" for k in range(len(step.outputs))]
        arriving = [*ys, *(f"dnext_{v.name}" for v in self.state)]
        self.upstream = [
            Vector(self.free(n), len(u)) for n, u in zip(arriving, (*step.outputs, *step.next), strict=True)
        ]
        vectors = {"input": self.inputs, "state": self.state, "upstream": self.upstream}
        for value in self.sheet.values:
            if value.kind in vectors:
                vector = vectors[value.kind][value.of]
                self.given[value] = Window(vector.name, 0, vector.width)
        weights = [v for v in self.sheet.values if v.kind == "weight"]
        self.weight_names = {v: self.free(names.weights[v.of]) for v in weights}
        self.matrices = Matrices(self.weight_names, {v: names.shapes[v.of] for v in weights})
        self.parameters: dict[Value, Vector] = {}

    def free(self, name: str) -> str:
        """A name that nothing else has."""
        name = "".join(c if c.isalnum() or c == "_" else "_" for c in name) or "v"
        if name[0].isdigit() or keyword.iskeyword(name):
            name = "_" + name
        k, candidate = 1, name
        while candidate in self.taken:
            k += 1
            candidate = f"{name}{k}"
        self.taken.add(candidate)
        return candidate

    def run(self) -> Emitted:
        step, sheet = self.step, self.sheet
        ways = divide(step)
        for op in (*ways.forward, *ways.again, *ways.backward):
            for part in (*(o for o in op.operands if isinstance(o, Part)), *op.addends):
                self.parameter(part.value)
        for g in step.gradients:
            if g.vector is None:
                self.parameter(g.weight)
        ahead = Homes(dict(self.given), self.free, "")
        made = {op.out: op for op in ways.forward}
        self.lay(ahead, ways.forward, made)
        for units in (*step.outputs, *step.next):
            ahead.together(list(sheet.parts(units)), made)
        ahead.alone(ways.forward, "")
        back = Homes({**ahead.windows}, self.free, "d")
        for op in ways.again:
            back.windows.pop(op.out, None)
        made = {op.out: op for op in (*ways.again, *ways.backward)}
        derivatives = {op.out for op in ways.backward}
        for g in step.gradients:
            derivative = all(p.value in derivatives for p in sheet.parts(g.delta))
            back.together(list(sheet.parts(g.delta)), made, "delta" if derivative else "")
            if g.vector is not None:
                back.together(list(sheet.parts(g.vector)), made)
        self.lay(back, ways.backward, made)
        back.alone(ways.again, "")
        back.alone(ways.backward, "d")
        forward = [self.instruction(op, ahead, False) for op in ways.forward]
        outputs = [self.whole(units, ahead, forward, "y") for units in step.outputs]
        after = [
            self.whole(units, ahead, forward, f"new_{v.name}") for units, v in zip(step.next, self.state, strict=True)
        ]
        backward = [self.instruction(op, back, False) for op in ways.again]
        backward += [self.instruction(op, back, True) for op in ways.backward]
        to_inputs, to_state = (
            tuple(
                None if units is None else self.whole(units, back, backward, f"d{v.name}")
                for units, v in zip(arrays, vectors, strict=True)
            )
            for arrays, vectors in ((step.to_inputs, self.inputs), (step.to_state, self.state))
        )
        contractions: list[Contraction] = []
        sums: list[Sum] = []
        for g in step.gradients:
            if g.vector is None:
                sums += self.sums(g, back)
            else:
                contractions += self.contractions(g, back)
        program = Program(
            self.names.program,
            tuple(self.inputs),
            tuple(self.state),
            tuple(Matrix(m.name, *m.full.shape) for m in self.matrices.layouts),
            tuple(self.parameters.values()),
            tuple(forward),
            tuple(outputs),
            tuple(after),
            tuple(self.upstream),
            tuple(backward),
            to_inputs,
            to_state,
            tuple(contractions),
            tuple(sums),
        )
        return Emitted(program, tuple(self.matrices.layouts), tuple(v.of for v in self.parameters))

    def parameter(self, value: Value) -> None:
        if value.kind == "weight" and value not in self.parameters:
            name = self.weight_names[value]
            if any(v is value for v in (layout.weight for layout in self.matrices.layouts)):
                name = self.free(name)
            self.parameters[value] = Vector(name, value.width)
            self.given[value] = Window(name, 0, value.width)

    def lay(self, homes: Homes, ops: list[Op], made: dict[Value, Op]) -> None:
        """Side by side what products read together."""
        for op in ops:
            for terms in _neighbours(op.terms):
                homes.together([part for _, part in terms], made)

    def instruction(self, op: Op, homes: Homes, back: bool) -> Instruction:
        out = homes.windows[op.out]
        if op.name != "product":
            return Elementwise(op.name, out, tuple(homes.window(o) if isinstance(o, Part) else o for o in op.operands))
        terms: list[Term] = []
        for group in _neighbours(op.terms):
            column = 0
            entries = np.concatenate([factor.entries for factor, _ in group], 1)
            for window in homes.joined([part for _, part in group]):
                place = (self.matrices.backward if back else self.matrices.forward)(
                    group[0][0].weight, entries[:, column : column + window.width]
                )
                terms.append(Term(place.block, place.transposed, window))
                column += window.width
        return Product(out, tuple(terms), tuple(homes.window(a) for a in op.addends))

    def whole(self, units: Numbers, homes: Homes, instructions: list[Instruction], name: str) -> Window:
        """One window of a vector that an instruction writes; where units lie elsewhere, they are copied into one."""
        parts = list(self.sheet.parts(units))
        if all(p.value.by is not None for p in parts):
            windows = homes.joined(parts)
            if len(windows) == 1:
                return windows[0]
        vector = self.free(name)
        start = 0
        for part in parts:
            source: Window | float = part.value.number if part.value.kind == "constant" else homes.window(part)
            instructions.append(Elementwise("copy", Window(vector, start, part.width), (source,)))
            start += part.width
        return Window(vector, 0, start)

    def sums(self, g: Gradient, homes: Homes) -> list[Sum]:
        vector = self.parameters[g.weight].name
        found = []
        for window, entries in self.stretches(g, homes):
            found.append(Sum(Window(vector, int(entries[0]), window.width), window))
        return found

    def stretches(self, g: Gradient, homes: Homes) -> list[tuple[Window, Numbers]]:
        """The windows of a gradient's δ, cut where the entries of the weight do not follow on one another."""
        found = []
        start = 0
        for part in self.sheet.parts(g.delta):
            if part.value.kind == "constant":  # zeros
                start += part.width
                continue
            entries = g.entries[start : start + part.width]
            edges = [0, *(np.flatnonzero(np.diff(entries) != 1) + 1).tolist(), part.width]
            for low, high in pairwise(edges):
                piece = Part(part.value, part.start + low, high - low)
                window, e = homes.window(piece), entries[low:high]
                last = found[-1] if found else None
                if (
                    last
                    and last[0].vector == window.vector
                    and last[0].stop == window.start
                    and last[1][-1] + 1 == e[0]
                ):
                    found[-1] = (
                        Window(window.vector, last[0].start, last[0].width + window.width),
                        np.append(last[1], e),
                    )
                else:
                    found.append((window, e))
            start += part.width
        return found

    def pieces(self, units: Numbers, homes: Homes) -> list[tuple[int, Window]]:
        """The windows of units, each with its place; zeros are left out."""
        found, place = [], 0
        for run in _solid(list(self.sheet.parts(units))):
            if isinstance(run, int):
                place += run
                continue
            for window in homes.joined(run):
                found.append((place, window))
                place += window.width
        return found

    def contractions(self, g: Gradient, homes: Homes) -> list[Contraction]:
        assert g.vector is not None
        return [
            self.contraction(g.weight, g.entries[i : i + delta.width, j : j + vector.width], delta, vector)
            for i, delta in self.pieces(g.delta, homes)
            for j, vector in self.pieces(g.vector, homes)
        ]

    def contraction(self, weight: Value, entries: Numbers, delta: Window, vector: Window) -> Contraction:
        """Σ delta vectorᵀ, turned round where it is the way forward's value that comes first."""
        for e, a, b in ((entries, delta, vector), (entries.T, vector, delta)):
            for layout in self.matrices.layouts:
                if layout.weight is weight and (block := layout.find(e)):
                    return Contraction(block, a, b)
        return Contraction(self.matrices.forward(weight, entries).block, delta, vector)


def _solid(parts: list[Part]) -> list[list[Part] | int]:
    """Stretches of parts, and between them the widths of zeros."""
    found: list[list[Part] | int] = []
    for part in parts:
        if part.value.kind == "constant":
            found.append(part.width)
        elif found and isinstance(found[-1], list):
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _neighbours(terms: list[tuple[Factor, Part]]) -> list[list[tuple[Factor, Part]]]:
    """Terms that stand for neighbouring columns of one matrix, together."""
    found: list[list[tuple[Factor, Part]]] = []
    for term in terms:
        if found and _follows(found[-1][-1][0], term[0]):
            found[-1].append(term)
        else:
            found.append([term])
    return found


def _follows(left: Factor, right: Factor) -> bool:
    a, b = left.entries, right.entries
    if left.weight is not right.weight or a.shape[0] != b.shape[0]:
        return False
    step = a[:, -1] - a[:, -2] if a.shape[1] > 1 else b[:, 1] - b[:, 0] if b.shape[1] > 1 else b[:, 0] - a[:, 0]
    return bool((b[:, 0] - a[:, -1] == step).all())


__all__ = ["Block", "Emitted", "Names", "emit"]
