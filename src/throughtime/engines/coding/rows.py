"""How the units of a vector lie in its row: cut into pieces that begin on cache lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from throughtime.programs.program import Window


class Run(NamedTuple):
    """Units of a window that lie side by side: from the unit `start` of it, at the place `to` of the vector's row."""

    start: int
    to: int
    width: int


class Rows:
    """Where the units of vectors lie in their rows; `unit`: numbers in a cache line."""

    def __init__(self, widths: dict[str, int], unit: int) -> None:
        self.widths = widths
        self.unit = unit
        self.cuts: dict[str, set[int]] = {name: {0, width} for name, width in widths.items()}

    def relate(self, groups: Sequence[Sequence[Window]]) -> None:
        """Cut all windows of each group alike, the first of each at its ends, too."""
        for window in (group[0] for group in groups):
            self.cuts[window.vector] |= {window.start, window.stop}
        changed = True
        while changed:
            changed = False
            for group in groups:
                inside = {c - w.start for w in group for c in self.cuts[w.vector] if w.start < c < w.stop}
                for w in group:
                    own = {c + w.start for c in inside}
                    if len(group) > 1:
                        own |= {w.start, w.stop}
                    if not own <= self.cuts[w.vector]:
                        self.cuts[w.vector] |= own
                        changed = True

    def pieces(self, vector: str) -> Iterator[tuple[int, int, int]]:
        """(first unit, its place, width) of each piece."""
        cuts = sorted(self.cuts[vector])
        at = 0
        for start, stop in pairwise(cuts):
            yield start, at, stop - start
            at += self.up(stop - start)

    def up(self, width: int) -> int:
        return -(-width // self.unit) * self.unit

    def width(self, vector: str) -> int:
        return sum(self.up(width) for _, _, width in self.pieces(vector))

    def runs(self, window: Window) -> list[Run]:
        found: list[Run] = []
        for start, at, width in self.pieces(window.vector):
            first, last = max(start, window.start), min(start + width, window.stop)
            if first < last:
                run = Run(first - window.start, at + first - start, last - first)
                if found and found[-1].to + found[-1].width == run.to:
                    run = Run(found[-1].start, found[-1].to, found[-1].width + run.width)
                    found.pop()
                found.append(run)
        return found

    def extent(self, window: Window) -> tuple[int, int]:
        """The place at which a window that was cut out begins, and how many numbers it takes with its gaps."""
        runs = self.runs(window)
        return runs[0].to, self.up(runs[-1].to + runs[-1].width - runs[0].to)
