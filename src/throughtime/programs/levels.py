"""When each instruction can run: once for all rows of a chunk before the sweep, slot by slot in it, or for all rows after it.

    head    what does not depend on the state (forward), or on what comes back from later steps (backward)
    slots   what later steps, or earlier ones on the way back, depend on
    tail    the rest: output parts that no state needs; gradients of the inputs

A product is split: its terms that are known at the head are summed there, and the sweep adds the rest to the running sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from throughtime.programs.program import Instruction, Product, Program, Window, reads


class Levels(NamedTuple):
    """The instructions of one direction, each in one of three lists, in order."""

    head: tuple[Instruction, ...]
    slots: tuple[Instruction, ...]
    tail: tuple[Instruction, ...]


@lru_cache(maxsize=512)
def levels(program: Program) -> tuple[Levels, Levels]:
    """The levels of the forward direction and of the way back."""
    carried = program.upstream[len(program.outputs) :]
    return (
        _split(program.forward, {v.name for v in program.state}, program.next),
        _split(program.backward, {v.name for v in carried}, [w for w in program.to_state if w is not None]),
    )


def _split(instructions: Sequence[Instruction], carried: set[str], ends: Sequence[Window]) -> Levels:
    """`carried`: vectors that come from the step walked before; `ends`: what goes on to the next one."""
    late: list[Window] = []  # written windows that depend on what is carried

    def is_late(window: Window) -> bool:
        return window.vector in carried or any(w.overlaps(window) for w in late)

    for i in instructions:
        if any(map(is_late, reads(i))):
            late.append(i.out)
    needed = list(ends)
    in_slots: set[Window] = set()
    for i in reversed(instructions):
        if any(w.overlaps(i.out) for w in needed):
            needed += reads(i)
            in_slots.add(i.out)
    head: list[Instruction] = []
    slots: list[Instruction] = []
    tail: list[Instruction] = []
    for i in instructions:
        if i.out not in late:
            head.append(i)
            continue
        later = slots if i.out in in_slots else tail
        if isinstance(i, Product):
            early = tuple(t for t in i.terms if not is_late(t.vector))
            known = tuple(a for a in i.addends if not is_late(a))
            if early:
                head.append(Product(i.out, early, known))
                i = Product(
                    i.out,
                    tuple(t for t in i.terms if t not in early),
                    (i.out, *(a for a in i.addends if a not in known)),
                )
        later.append(i)
    return Levels(tuple(head), tuple(slots), tuple(tail))
