"""Passes that make a traced step as good as one written by hand; each re-emits the instructions on a new sheet.

dead      what nothing needs is dropped
cut       vectors are cut where they are read in windows, so that a product of all gates can join others gate by gate
flatten   sums of products, and of what is known before the sweep, become one running product
merge     instructions that do the same to neighbouring windows become one
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from throughtime.programs.program import REDUCTIONS
from throughtime.tracing.interpret import Step
from throughtime.tracing.sheet import Factor, Numbers, Op, Part, Sheet, Value
from throughtime.tracing.totals import Gradient


def simplify(step: Step) -> Step:
    """The same step in fewer and wider instructions."""
    step = _Cut(_dead(step)).run()
    _flatten(step)
    step = _dead(step)
    while True:
        merged = _Merge(step).run()
        if len(merged.sheet.ops) == len(step.sheet.ops):
            return _dead(merged)
        step = merged


def dependent(ops: list[Op], kind: str, only: frozenset[int] | None = None) -> set[Value]:
    """The values that depend on given ones of a kind (`only`: on those of these numbers). For membership, never for order."""
    found: set[Value] = set()
    for op in ops:
        for part in op.reads:
            given = part.value.kind == kind and (only is None or part.value.of in only)
            if given or part.value in found:
                found.add(op.out)
                break
    return found


def roots(step: Step) -> Iterator[Numbers]:
    """Every array of units that a step is asked for."""
    yield from step.outputs
    yield from step.next
    for units in (*step.to_inputs, *step.to_state):
        if units is not None:
            yield units
    for g in step.gradients:
        yield g.delta
        if g.vector is not None:
            yield g.vector


class _Rebuild:
    """Writes a step anew, instruction by instruction."""

    def __init__(self, step: Step) -> None:
        self.step, self.old, self.new = step, step.sheet, Sheet()
        last = self.old.values[-1]
        self.moved = np.full(last.base + last.width, -1, dtype=np.int64)

    def run(self) -> Step:
        given = {}
        for value in self.old.values:
            if value.kind == "constant":
                self.moved[value.base] = self.new.constant(value.number)
            elif value.kind != "made":
                given[value] = self.new.new(value.kind, value.width, value.of)
                self.move(value, self.new.units(given[value]))
        self.given = given
        for op in self.old.ops:
            self.write(op)
        step, moved = self.step, self.moved

        def all_moved(arrays: list[Numbers | None]) -> list[Numbers | None]:
            return [None if u is None else moved[u] for u in arrays]

        return Step(
            self.new,
            step.weights,
            [None if v is None else given[v] for v in step.inputs],
            [moved[u] for u in step.outputs],
            [moved[u] for u in step.next],
            all_moved(step.to_inputs),
            all_moved(step.to_state),
            [
                Gradient(given[g.weight], g.entries, moved[g.delta], None if g.vector is None else moved[g.vector])
                for g in step.gradients
            ],
        )

    def move(self, value: Value, units: Numbers, start: int = 0) -> None:
        self.moved[value.base + start : value.base + start + len(units)] = units

    def units(self, part: Part) -> Numbers:
        first = part.value.base + part.start
        return self.moved[first : first + part.width]

    def write(self, op: Op) -> None:
        self.write_piece(op, 0, op.out.width)

    def write_piece(self, op: Op, low: int, high: int) -> None:
        """One stretch of an instruction's units."""
        width = high - low
        if op.name == "product":
            out = self.product(op, low, high)
        elif op.name in REDUCTIONS:
            [part] = op.reads
            out = np.array([self.new.reduce(op.name, self.units(part))])
        else:
            operands = [
                (self.units(o) if o.width == 1 < op.out.width else self.units(o)[low:high])
                if isinstance(o, Part)
                else o
                for o in op.operands
            ]
            out = self.new.elementwise(op.name, operands, (width,))
        self.move(op.out, out, low)

    def product(self, op: Op, low: int, high: int) -> Numbers:
        terms: list[tuple[Factor, Part]] = []
        for factor, part in op.terms:
            column = 0
            for piece in self.new.parts(self.units(part)):
                entries = factor.entries[low:high, column : column + piece.width]
                terms.append((Factor(self.given[factor.weight], entries), piece))
                column += piece.width
        addends = []
        for part in op.addends:
            addends += list(self.new.parts(self.units(part)[low:high]))
        return self.new.units(self.new.multiply(high - low, terms, addends))


class _Cut(_Rebuild):
    """Cuts vectors at the windows that are read of them, where no product or reduction reads across."""

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self.cuts: dict[Value, list[int]] = defaultdict(list)
        across: dict[Value, list[tuple[int, int]]] = defaultdict(list)
        for op in self.old.ops:
            if op.name in REDUCTIONS:
                for part in op.reads:
                    across[part.value].append((part.start, part.start + part.width))
        for units in roots(step):
            for part in self.old.parts(units):
                self.read(part)
        for op in reversed(self.old.ops):
            cuts = [
                c
                for c in sorted(dict.fromkeys(self.cuts[op.out]))
                if 0 < c < op.out.width and not any(low < c < high for low, high in across[op.out])
            ]
            self.cuts[op.out] = cuts
            for part in op.reads:
                self.read(part)
            if op.name != "product" and op.name not in REDUCTIONS:
                for part in op.reads:
                    if part.width == op.out.width:
                        self.cuts[part.value] += [part.start + c for c in cuts]

    def read(self, part: Part) -> None:
        self.cuts[part.value] += [part.start, part.start + part.width]

    def write(self, op: Op) -> None:
        edges = [0, *self.cuts[op.out], op.out.width]
        for low, high in pairwise(edges):
            self.write_piece(op, low, high)


class _Merge(_Rebuild):
    """Joins instructions that read the same or the next units of the same values."""

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self.groups: dict[Op, list[Op]] = {}
        ends: dict[tuple[object, ...], Op] = {}
        first: dict[Op, Op] = {}
        for op in self.old.ops:
            starts, after = _edges(op, 0), _edges(op, 1)
            previous = ends.pop(starts, None) if starts else None
            head = op if previous is None else first[previous]
            first[op] = head
            self.groups.setdefault(head, []).append(op)
            if after:
                ends[after] = op

    def write(self, op: Op) -> None:
        group = self.groups.get(op)
        if group is None:
            return
        if len(group) == 1:
            self.write_piece(op, 0, op.out.width)
            return
        width = sum(o.out.width for o in group)
        joined = Op(op.name, Value("made", width, 0))
        if op.name == "product":
            joined.terms = [
                (Factor(factor.weight, np.concatenate([o.terms[k][0].entries for o in group])), part)
                for k, (factor, part) in enumerate(op.terms)
            ]
            joined.addends = [Part(a.value, a.start, width) for a in op.addends]
            out = self.product(joined, 0, width)
        else:
            operands = [
                (self.units(o) if _spread(op, o) else self.units(Part(o.value, o.start, width)))
                if isinstance(o, Part)
                else o
                for o in op.operands
            ]
            out = self.new.elementwise(op.name, operands, (width,))
        start = 0
        for o in group:
            self.move(o.out, out[start : start + o.out.width])
            start += o.out.width


def _spread(op: Op, part: Part) -> bool:
    return part.width == 1


def _edges(op: Op, side: int) -> tuple[object, ...] | None:
    """What an instruction begins with (side 0), or what its continuation would begin with (1); None where it has none."""
    if op.name in REDUCTIONS or op.out.width == 1:
        return None
    if op.name == "product":
        key: list[object] = []
        for factor, part in op.terms:
            e = factor.entries
            if len(e) < 2:
                return None
            row = int(e[1, 0] - e[0, 0])
            key += [factor.weight, part, e.shape[1], row, int(e[0, 0]) if side == 0 else int(e[-1, 0]) + row]
            key.append(int(e[0, 1] - e[0, 0]) if e.shape[1] > 1 else 0)
        key += [(a.value, a.start + side * a.width) for a in op.addends]
        return ("product", *key)
    parts = [o for o in op.operands if isinstance(o, Part)]
    if not any(p.width > 1 for p in parts):
        return None
    return (
        op.name,
        *(
            (o.value, o.start + (side * o.width if o.width > 1 else 0)) if isinstance(o, Part) else repr(o)
            for o in op.operands
        ),
    )


def _dead(step: Step) -> Step:
    """Drops instructions that no root needs."""
    sheet = step.sheet
    needed: set[Value] = set()
    for units in roots(step):
        needed.update(part.value for part in sheet.parts(units))
    kept = []
    for op in reversed(sheet.ops):
        if op.out in needed:
            kept.append(op)
            needed.update(part.value for part in op.reads)
    sheet.ops = kept[::-1]
    return step


def _flatten(step: Step) -> None:
    """Chains of additions: products share one running sum with what is known before the sweep; the rest is added to it."""
    sheet = step.sheet
    uses: Counter[Value] = Counter(p.value for op in sheet.ops for p in op.reads)
    uses.update(p.value for units in roots(step) for p in sheet.parts(units))
    back = dependent(sheet.ops, "upstream")
    carried = frozenset(range(len(step.outputs), len(step.outputs) + len(step.next)))
    late_forward, late_back = dependent(sheet.ops, "state"), dependent(sheet.ops, "upstream", carried)

    def is_known(part: Part, op: Op) -> bool:
        """Whether a value is there before the sweep."""
        kind, of = part.value.kind, part.value.of
        if op.out in back:
            return part.value not in late_back and not (kind == "upstream" and of in carried)
        return part.value not in late_forward and kind != "state"

    def summands(part: Part | float, top: bool = False) -> list[Part | float]:
        by = part.value.by if isinstance(part, Part) else None
        if (
            isinstance(part, Part)
            and by is not None
            and by.name == "add"
            and part.whole
            and (top or uses[part.value] == 1)
        ):
            operands = [o for o in by.operands if isinstance(o, Part) and o.width == part.width]
            if len(operands) == 2:
                return [s for o in operands for s in summands(o)]
        return [part]

    for op in reversed(sheet.ops):
        if op.name != "add":
            continue
        parts = summands(Part(op.out, 0, op.out.width), top=True)
        if not all(isinstance(p, Part) for p in parts):
            continue
        products, known, rest = [], [], []
        for p in parts:
            assert isinstance(p, Part)
            by = p.value.by
            if by is not None and by.name == "product" and p.whole and uses[p.value] == 1:
                products.append(by)
            elif is_known(p, op):
                known.append(p)
            else:
                rest.append(p)
        if len(products) + len(known) < 2 or not products:
            continue
        terms = [t for product in products for t in product.terms]
        addends = [a for product in products for a in product.addends] + known
        if not rest:
            op.name, op.operands, op.terms, op.addends = "product", [], terms, addends
            continue
        total = sheet.new("made", op.out.width)
        joined = Op("product", total, terms=terms, addends=addends)
        total.by = joined
        place = sheet.ops.index(op)
        added = [joined]
        for k, part in enumerate(rest):
            out = op.out if k == len(rest) - 1 else sheet.new("made", op.out.width)
            one = Op("add", out, [Part(added[-1].out, 0, out.width), part])
            out.by = one
            added.append(one)
        sheet.ops[place : place + 1] = added
