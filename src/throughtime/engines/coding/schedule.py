"""Which instructions run, and the order in which those of a level do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from throughtime.programs.levels import Levels
from throughtime.programs.program import Instruction, Product, Window, reads


class Group(NamedTuple):
    """A product, or elementwise instructions that run strip by strip."""

    level: int
    instructions: list[Instruction]

    @property
    def is_product(self) -> bool:
        return isinstance(self.instructions[0], Product)


def needed(found: Levels, roots: Sequence[Window]) -> list[list[Instruction]]:
    """The instructions that the roots depend on, by level."""
    read = list(roots)
    kept: list[list[Instruction]] = [[], [], []]
    for level in (2, 1, 0):
        for i in reversed(found[level]):
            if any(w.overlaps(i.out) for w in read):
                kept[level].insert(0, i)
                read += reads(i)
    return kept


def schedule(level: int, instructions: Sequence[Instruction]) -> Iterator[Group]:
    """Products as soon as they can, elementwise instructions in runs as long as possible."""
    left = list(instructions)

    def ready(i: Instruction, others: Iterable[Instruction]) -> bool:
        needs = [*reads(i), i.out]
        return not any(o.out.overlaps(w) for o in others for w in needs)

    while left:
        products = [i for k, i in enumerate(left) if isinstance(i, Product) and ready(i, left[:k])]
        if products:
            yield from (Group(level, [i]) for i in products)
            left = [i for i in left if not any(i is p for p in products)]
            continue
        run: list[Instruction] = []
        rest: list[Instruction] = []
        for i in left:
            if isinstance(i, Product) or not ready(i, rest):
                rest.append(i)
            else:
                run.append(i)
        yield Group(level, run)
        left = rest
