"""From the instructions of a direction of a program to its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from throughtime.engines import native
from throughtime.engines.coding.rows import Rows, Run
from throughtime.engines.coding.schedule import needed, schedule
from throughtime.engines.coding.tables import CHUNK, FIXED, OPERATIONS, SLOT, SOURCE, STRIP, STRIP_UNITS, Row, Tables
from throughtime.programs.levels import Levels
from throughtime.programs.program import (
    REDUCTIONS,
    Block,
    Elementwise,
    Instruction,
    Product,
    Program,
    Vector,
    Window,
    reads,
)


class Coder:
    """Makes the tables of one direction. What differs between the directions is given by the functions below."""

    def __init__(self, program: Program, unit: int, symbols: bool, found: Levels, roots: Sequence[Window]) -> None:
        self.program = program
        self.symbols = symbols
        self.tables = Tables()
        self.widths = dict(program.widths)
        self.places: dict[Any, int] = {}
        self.bases: dict[str, int] = {}  # of a vector that is a part of another's row
        self.weights: dict[Any, int] = {}
        self.work = 0
        self.extra = 0
        self.parameters = {v.name: i for i, v in enumerate(program.parameters)}
        self.matrices = {m.name: (i, m) for i, m in enumerate(program.matrices)}
        self.sums: dict[tuple[Window | None, Window], int] = {}
        self.unit = unit
        self.levels = [self.simple(instructions) for instructions in needed(found, roots)]
        self.aliases: list[tuple[Window, ...]] = []  # windows that share memory, to be cut alike; those to be cut out

    # --- instructions ------------------------------------------------------------------------------------------------

    def vector(self, width: int) -> Window:
        """A new vector."""
        self.extra += 1
        name = f"+{self.extra}"
        self.widths[name] = width
        return Window(name, 0, width)

    def simple(self, instructions: Sequence[Instruction]) -> list[Instruction]:
        """Products with one addend, parameters' sums apart; numbers and single units spread over a cache line."""
        made: list[Instruction] = []
        wide: dict[Window, Window] = {}

        def spread(window: Any) -> Window:
            if window not in wide:
                wide[window] = self.vector(1)
                made.append(Elementwise("spread", wide[window], (window,)))
            return wide[window]

        for i in instructions:
            if isinstance(i, Product):
                vectors = [a for a in i.addends if a.vector not in self.parameters]
                fixed = [a for a in i.addends if a.vector in self.parameters]
                if len(vectors) + bool(fixed) > 1:
                    first = vectors.pop(0)
                    for other in [*fixed, *vectors]:
                        made.append(Elementwise("add", i.out, (first, other)))
                        first = i.out
                    i = Product(i.out, i.terms, (i.out,))
                made.append(i)
                continue
            operands = []
            for operand in i.operands:
                made_once = not isinstance(operand, Window) or operand.vector in self.parameters or operand.width > 1
                spreads = i.out.width > 1 and i.op not in REDUCTIONS
                operands.append(spread(operand) if spreads and not made_once else operand)
            made.append(Elementwise(i.op, i.out, tuple(operands)))
        return made

    def copy(self, value: Window | float, width: int) -> tuple[Window, Elementwise]:
        """A new vector, and the instruction that makes it."""
        new = self.vector(width)
        return new, Elementwise("copy", new, (value,))

    def rename(self, level: int, before: str, after: str) -> None:
        """Let instructions read another vector in the place of one."""
        of = lambda w: Window(after, w.start, w.width) if isinstance(w, Window) and w.vector == before else w  # noqa: E731
        self.levels[level] = [
            Product(i.out, tuple(t._replace(vector=of(t.vector)) for t in i.terms), tuple(map(of, i.addends)))
            if isinstance(i, Product)
            else Elementwise(i.op, i.out, tuple(map(of, i.operands)))
            for i in self.levels[level]
        ]

    def schedule(self) -> None:
        self.groups = [g for level, instructions in enumerate(self.levels) for g in schedule(level, instructions)]

    def layout(self) -> None:
        """Cut the rows, once all instructions are known."""
        self.rows = Rows(self.widths, self.unit)
        groups: list[list[Window]] = [list(pair) for pair in self.aliases]
        for i in (i for g in self.groups for i in g.instructions):
            if isinstance(i, Product):
                groups.append([i.out, *(a for a in i.addends if a.vector not in self.parameters)])
            elif i.op in REDUCTIONS or i.op == "spread":
                groups.append([i.out])
            else:
                same = [
                    o
                    for o in i.operands
                    if isinstance(o, Window) and o.width == i.out.width and o.vector not in self.parameters
                ]
                groups.append([i.out, *same])
        self.rows.relate(groups)

    # --- homes -------------------------------------------------------------------------------------------------------

    def settle(self, pinned: dict[str, int], whole_chunk: set[str]) -> None:
        """Give every vector that is made a place. `pinned`: places that are known already; `whole_chunk`: vectors that are read
        when a chunk is done."""
        self.places |= pinned
        touched: dict[str, list[int]] = {}
        for k, group in enumerate(self.groups):
            for i in group.instructions:
                for window in (*reads(i), i.out):
                    touched.setdefault(window.vector, []).append(k)
        made = dict.fromkeys(i.out.vector for group in self.groups for i in group.instructions)
        strips: dict[int, list[str]] = {}
        for name in made:
            if name in self.places:
                continue
            groups = set(touched[name])
            in_slots = {self.groups[k].level for k in groups} == {1}
            one = len(groups) == 1 and not self.groups[min(groups)].is_product
            if name in whole_chunk or not (one or in_slots):
                self.places[name] = self.place(CHUNK, name)
            elif one:
                strips.setdefault(min(groups), []).append(name)
            else:
                self.places[name] = self.place(SLOT, name)
        self.allot_strips(strips)

    def place(self, home: int, name: str, of: int = -1) -> int:
        return self.tables.add("places", home, self.rows.width(name), of)

    def allot_strips(self, strips: dict[int, list[str]]) -> None:
        """Strips for the vectors of each run: a vector takes over the strip of one that was read for the last time."""
        pool: dict[int, list[int]] = {}  # by width of a row
        for k, names in strips.items():
            instructions = self.groups[k].instructions
            rows = max(1, STRIP_UNITS // self.widest(instructions))
            last = {w.vector: n for n, i in enumerate(instructions) for w in (*reads(i), i.out)}
            free = {width: list(places) for width, places in pool.items()}
            for n, i in enumerate(instructions):
                dying = [w for w in dict.fromkeys(reads(i)) if w.vector in names and last[w.vector] == n]
                name, width = i.out.vector, self.rows.width(i.out.vector)
                if name in names and name not in self.places:
                    ours = free.setdefault(width, [])
                    for w in dying:  # where it is read unit by unit, its strip may be written at once
                        if isinstance(i, Elementwise) and self.alike(i, w):
                            ours.append(self.places[w.vector])
                            dying = [d for d in dying if d.vector != w.vector]
                    if ours:
                        place = ours.pop()
                        row = self.tables.rows["places"][place]
                        row[2] = max(row[2], rows)
                    else:
                        place = self.place(STRIP, name, rows)
                        pool.setdefault(width, []).append(place)
                    self.places[name] = place
                for vector in dict.fromkeys(w.vector for w in dying):
                    free.setdefault(self.rows.width(vector), []).append(self.places[vector])

    def alike(self, i: Elementwise, operand: Window) -> bool:
        """Whether an instruction reads a whole vector of one piece as it writes another."""
        whole = [w for w in (i.out, operand) if w.width == self.widths[w.vector] and len(self.rows.runs(w)) == 1]
        return len(whole) == 2 and i.out.width == operand.width and i.op not in (*REDUCTIONS, "spread")

    def widest(self, instructions: Sequence[Instruction]) -> int:
        return max(self.rows.up(run.width) for i in instructions for run in self.rows.runs(i.out))

    # --- tables ------------------------------------------------------------------------------------------------------

    def operand(self, value: Window | float, out: Window, run: Run, reduced: bool) -> Row:
        """(place, at, spread) of an operand for one run of the result."""
        if not isinstance(value, Window):
            return [self.number(value), 0, 1]
        if value.vector in self.parameters:
            if reduced:
                at = self.parameter([value], [Run(0, 0, value.width)])
                return [at, 0, 0]
            if value.width == 1 < out.width:
                return [self.parameter([value], [Run(0, 0, 1)], spread=True), 0, 1]
            return [self.parameter([value], self.rows.runs(out)), run.to - self.rows.extent(out)[0], 0]
        if reduced:
            return [*self.home(value.vector, run.to), 0]
        if value.width == 1 < out.width:
            return [*self.home(value.vector, 0), 1]
        return [*self.home(value.vector, self.rows.runs(value)[self.rows.runs(out).index(run)].to), 0]

    def home(self, vector: str, at: int) -> Row:
        """The place of a vector, and where the number `at` of its row lies there."""
        return [self.places[vector], self.bases.get(vector, 0) + at]

    def number(self, value: float) -> int:
        key = ("number", repr(value))
        if key not in self.places:
            self.places[key] = place = self.tables.add("places", FIXED, self.rows.unit, -1)
            self.tables.numbers.append(value)
            self.tables.add("fillings", place, -1, len(self.tables.numbers) - 1, 0, 1, 1)
        return self.places[key]

    def parameter(self, windows: Sequence[Window], runs: Sequence[Run], spread: bool = False) -> int:
        """The place of a sum of parameters, laid out as `runs`."""
        first = runs[0].to
        key = (tuple(windows), tuple((r.start, r.to - first, r.width) for r in runs), spread)
        if key not in self.places:
            width = self.rows.up(runs[-1].to + runs[-1].width - first)
            self.places[key] = place = self.tables.add("places", FIXED, width, -1)
            for w in windows:
                for run in runs:
                    at = self.parameters[w.vector], w.start + run.start, run.to - first, run.width
                    self.tables.add("fillings", place, *at, int(spread))
        return self.places[key]

    def weight(self, block: Block, transposed: bool, out: Window, start: int, width: int) -> int:
        """A packed block for `width` units from `start` on of the vector it multiplies. Symbols: a table."""
        number, matrix = self.matrices[block.matrix]
        row, column = block.row + (start if transposed else 0), block.column + (0 if transposed else start)
        first, N = self.rows.extent(out)
        runs = [(r.start, r.to - first, r.width) for r in self.rows.runs(out)]
        return self.once(number, row, column, matrix.columns, int(transposed), width, N, 0, runs)

    def once(self, *key: Any) -> int:
        *row, runs = key
        key = (*row, tuple(runs))
        if key not in self.weights:
            self.weights[key] = self.tables.add("packings", *row, *self.tables.runs(runs))
        return self.weights[key]

    def product(self, i: Product) -> int:
        first, N = self.rows.extent(i.out)
        if not i.addends:
            init = [-1, 0, 0]
        elif i.addends[0].vector in self.parameters:
            init = [self.parameter(i.addends, self.rows.runs(i.out)), 0, 0]
        else:
            init = [*self.home(i.addends[0].vector, self.rows.extent(i.addends[0])[0]), 0]
        terms = []
        for term in i.terms:
            self.work += i.out.width * term.vector.width
            if self.symbols and term.vector.vector == self.program.inputs[0].name:
                number, matrix = self.matrices[term.block.matrix]
                b = term.block
                runs = [(r.start, r.to - first, r.width) for r in self.rows.runs(i.out)]
                weight = self.once(number, b.row, b.column, matrix.columns, 0, b.columns, N, 1, runs)
                terms.append([-1, 0, b.columns, weight])
                continue
            constant = term.vector.vector in self.parameters
            runs = [Run(0, 0, term.vector.width)] if constant else self.rows.runs(term.vector)
            for run in runs:
                weight = self.weight(term.block, term.transposed, i.out, run.start, run.width)
                home = [self.parameter([term.vector], runs), 0] if constant else self.home(term.vector.vector, run.to)
                terms.append([*home, run.width, weight])
        begin = len(self.tables.rows["terms"])
        for term in terms:
            self.tables.add("terms", *term)
        return self.tables.add("products", *self.home(i.out.vector, first), 0, *init, N, begin, begin + len(terms))

    def elementwise(self, i: Elementwise) -> None:
        code = OPERATIONS.index(i.op)
        none = [-1, 0, 0]
        if i.op in REDUCTIONS or i.op == "spread":
            [value] = i.operands
            assert isinstance(value, Window)
            out = [*self.home(i.out.vector, self.rows.runs(i.out)[0].to), 0]
            runs = self.rows.runs(value) if value.vector not in self.parameters else [Run(0, 0, value.width)]
            for n, run in enumerate(runs):
                operand = self.operand(value, i.out, run, reduced=True)
                if n == 0:
                    self.tables.add("instructions", code, run.width, *out, *operand, *none, *none)
                    continue
                part = [self.places[self.partial], 0, 0]
                self.tables.add("instructions", code, run.width, *part, *operand, *none, *none)
                join = OPERATIONS.index("add" if i.op == "row_sum" else "maximum")
                self.tables.add("instructions", join, 1, *out, *out, *part, *none)
            return
        for run in self.rows.runs(i.out):
            operands = [self.operand(v, i.out, run, reduced=False) for v in i.operands]
            operands += [none] * (3 - len(operands))
            out = [*self.home(i.out.vector, run.to), 0]
            self.tables.add("instructions", code, run.width, *out, *(n for o in operands for n in o))

    partial = "+partial"

    def items(self) -> list[int]:
        """The items of all levels. Returns where head, slots and tail begin and end."""
        if any(
            isinstance(i, Elementwise) and i.op in REDUCTIONS and isinstance(i.operands[0], Window)
            for g in self.groups
            for i in g.instructions
        ):
            self.places[self.partial] = self.tables.add("places", STRIP, self.rows.unit, STRIP_UNITS)
        bounds = [0, 0, 0, 0]
        for group in self.groups:
            begin = len(self.tables.rows["instructions"])
            if group.is_product:
                [i] = group.instructions
                assert isinstance(i, Product)
                self.tables.add("items", self.product(i), 0, 0, 0)
            else:
                for i in group.instructions:
                    assert isinstance(i, Elementwise)
                    self.elementwise(i)
                widest = self.widest(group.instructions)
                self.tables.add("items", -1, widest, begin, len(self.tables.rows["instructions"]))
            bounds[group.level + 1 :] = [len(self.tables.rows["items"])] * (3 - group.level)
        return bounds

    def part(self, window: Window) -> None:
        """A part of the state, or what is carried back."""
        self.tables.add("parts", self.places[window.vector], window.width, *self.tables.runs(self.rows.runs(window)))

    def sink(self, window: Window, series: int) -> None:
        runs = self.tables.runs(self.rows.runs(window))
        self.tables.add("sinks", self.places[window.vector], series, *runs)

    def source(self, name: str, series: int, start: int, part: int = -1) -> None:
        """A vector read from a series, from the unit `start` of its rows on."""
        whole = Window(name, 0, self.widths[name])
        runs = self.rows.runs(whole)
        self.places[name] = place = self.place(SOURCE, name)
        loaded = uniform = False
        for group in self.groups:
            for i in group.instructions:
                hit = any(w.vector == name for w in reads(i))
                addend = isinstance(i, Product) and any(a.vector == name for a in i.addends)
                loaded |= hit and (addend or not group.is_product)
                uniform |= hit and group.is_product and group.level != 1
        loaded |= name in self.loaded
        uniform |= name in self.summed
        as_is = len(runs) == 1
        first = self.tables.runs([(start + r.start, r.to, r.width) for r in runs])
        initial = self.tables.runs(runs) if part >= 0 else (0, 0)
        self.tables.add("sources", place, series, part, int(loaded), int(uniform), int(as_is), *first, *initial)

    loaded: frozenset[str] = frozenset()  # vectors whose rows a contraction loads, and all that it reads
    summed: frozenset[str] = frozenset()

    def finish(self, bounds: list[int], series: Iterable[Window | Vector]) -> Any:
        """The tables. series: what has the widths of the call's series, in order."""
        program = self.program
        self.tables.rows |= {
            "of_matrices": [[m.rows, m.columns] for m in program.matrices],
            "of_parameters": [[v.width] for v in program.parameters],
            "of_series": [[w.width] for w in series],
            "of_state": [[v.width] for v in program.state],
            "of_carried": [[v.width] for v in program.upstream[len(program.outputs) :]],
        }
        symbols = program.inputs[0].width if self.symbols else 0
        widest = max((row[1] for row in self.tables.rows["places"]), default=0)
        widest = max(
            [widest, *(p[6] for p in self.tables.rows["packings"]), *(c[5] for c in self.tables.rows["contractions"])]
        )
        self.tables.rows["whole"] = [[*bounds, symbols, max(1, self.work), widest]]
        return native._native.Code(self.tables.rows, self.tables.numbers)
