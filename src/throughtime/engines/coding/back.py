"""What the way back needs beyond instructions: what is carried from step to step, what was kept, sums over all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from throughtime.engines.coding.coder import Coder
from throughtime.engines.coding.schedule import Group
from throughtime.engines.coding.tables import ONES, SYMBOLS
from throughtime.programs.program import Elementwise, Product, Vector, Window, reads, whole


class BackCoder(Coder):
    """Makes the tables of the way back."""

    def keep_carried(self, carried: Sequence[Vector], summed: Sequence[Window]) -> dict[str, str]:
        """Copies of what later steps carry back, where it is read when its slot is over. Returns their names."""
        late: dict[str, str] = {}
        for vector in carried:
            read = any(w.vector == vector.name for i in self.levels[2] for w in reads(i))
            if read or any(w.vector == vector.name for w in summed):
                new, copy = self.copy(whole(vector), vector.width)
                self.levels[1].append(copy)
                self.rename(2, vector.name, new.vector)
                late[vector.name] = new.vector
        return late

    def carry(self, carried: Sequence[Vector], ends: Sequence[Window | None], whole_chunk: set[str]) -> list[Window]:
        """Where what goes back to the state before the step is found by the next step walked: in memory that this one has done
        with. Copied at the end of the step where it is not made in such a place."""
        back: list[Window] = []
        last: list[Elementwise] = []
        first: list[Elementwise] = []
        for vector, window in zip(carried, ends, strict=True):
            if window is None or window.vector in whole_chunk or not self.may_carry(vector, window, back):
                value: Window | float = 0.0 if window is None else window
                if isinstance(value, Window) and any(v.name == value.vector for v in carried):
                    value, copy = self.copy(value, vector.width)
                    first.append(copy)
                window, copy = self.copy(value, vector.width)
                last.append(copy)
            back.append(window)
            self.aliases.append((window, whole(vector)))
        if last:
            end = sum(group.level < 2 for group in self.groups)
            self.groups.insert(end, Group(1, [*first, *last]))
        return back

    def may_carry(self, vector: Vector, window: Window, others: Sequence[Window]) -> bool:
        if any(window.overlaps(other) for other in others):
            return False
        touching = {
            group.level
            for group in self.groups
            for i in group.instructions
            if any(w.vector == window.vector for w in (*reads(i), i.out))
        }
        if touching != {1} or not any(i.out.overlaps(window) for i in self.levels[1]):
            return False
        done = False  # whether it has been written
        for i in (i for group in self.groups for i in group.instructions):
            if any(w.vector == vector.name for w in reads(i)):
                if done or (isinstance(i, Product) and i.out.overlaps(window)):
                    return False
                if i.out.overlaps(window) and any(
                    w.vector == vector.name and w.start != i.out.start - window.start for w in reads(i)
                ):
                    return False
            done |= i.out.overlaps(window)
        return True

    def plan_sums(self, sums: Iterable[tuple[Window | None, Window]]) -> None:
        """What the sums over all rows read: a's numbers one by one (None: ones), b's as whole vectors."""
        for a, b in sums:
            self.aliases.append((b,))
            self.loaded |= {b.vector}
            self.summed |= {w.vector for w in (a, b) if w is not None}

    def read_back(self, read: Iterable[Window]) -> None:
        """Sources for what the way back reads of the inputs, of what was kept, of the states and from upstream."""
        program, n = self.program, len(self.program.inputs)
        results = [*program.outputs, *program.kept]
        given = {v.name: (i, 0, -1) for i, v in enumerate(program.inputs)}
        given |= {v.name: (n + len(results) + i, 0, -1) for i, v in enumerate(program.upstream[: len(program.outputs)])}
        windows = {v.name: (a, i) for i, (v, a) in enumerate(zip(program.state, program.next))}
        for name in dict.fromkeys(
            w.vector for w in (*(w for g in self.groups for i in g.instructions for w in reads(i)), *read)
        ):
            made = any(i.out.vector == name for g in self.groups for i in g.instructions)
            symbols = self.symbols and name == program.inputs[0].name
            if made or symbols or name in self.parameters or name in self.bases:
                continue
            if name not in given:
                need, part = windows.get(name, (Window(name, 0, self.widths[name]), -1))
                k, held = next((k, held) for k, held in enumerate(results) if held.covers(need))
                given[name] = (n + k, need.start - held.start, part)
            self.source(name, *given[name])

    def sum_of(self, a: Window | None, b: Window) -> int:
        """The sum over all rows of a's units times b's, or of b's; made once."""
        if (a, b) not in self.sums:
            columns = self.rows.runs(b)
            first = columns[0].to
            by_symbol = self.symbols and a is not None and a.vector == self.program.inputs[0].name
            rows = 1 if a is None else a.width
            width = self.rows.up(columns[-1].to + columns[-1].width - first)
            self.sums[a, b] = number = self.tables.add("sums", rows, width, int(by_symbol))
            self.work += rows * b.width if not by_symbol else 0
            for column in columns:
                right = [*self.home(b.vector, column.to), column.width]
                if a is None or by_symbol:
                    left = [ONES if a is None else SYMBOLS, 0, *right[:2], 1, column.width]
                    self.tables.add("contractions", *left, number, 0, column.to - first)
                else:
                    for row in self.rows.runs(a):
                        left = [*self.home(a.vector, row.to), *right[:2], row.width, column.width]
                        self.tables.add("contractions", *left, number, row.start, column.to - first)
        return self.sums[a, b]

    def deliver(
        self, a: Window | None, b: Window, target: int, row: int, column: int, stride: int, transposed: bool, add: bool
    ):
        number = self.sum_of(a, b)
        first = self.rows.extent(b)[0]
        runs = self.tables.runs((r.start, r.to - first, r.width) for r in self.rows.runs(b))
        rows = 1 if a is None else a.width
        self.tables.add("deliveries", number, target, row, column, stride, rows, int(transposed), int(add), *runs)
