"""Where every value of one direction lies: in which vector, from which unit.

Values that one product reads together, or that one gradient is made of, lie side by side in one vector, so that one product or
one contraction serves them all. A value has one home: who comes first decides, and others read it in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from throughtime.programs.program import Window
from throughtime.tracing.sheet import Op, Part, Value

SHORT = {
    "product": "a", "sigmoid": "gate", "tanh": "squashed", "copy": "v", "row_sum": "sum", "row_max": "max",
}  # fmt: skip


class Homes:
    """The windows of the values that one direction makes, and of those that it is given."""

    def __init__(self, given: dict[Value, Window], free: Callable[[str], str], prefix: str) -> None:
        self.windows = given
        self.free, self.prefix = free, prefix

    def together(self, parts: Sequence[Part], ops: dict[Value, Op], name: str = "") -> None:
        """Lay the values of parts side by side, if none has a home yet. `name`: of their vector."""
        values = [p.value for p in parts]
        fit = all(p.whole and p.value in ops and p.value not in self.windows for p in parts)
        if (len(parts) > 1 or name) and fit and len(dict.fromkeys(values)) == len(values):
            name = self.free(name or self.prefix + _stem(ops[values[0]]))
            start = 0
            for value in values:
                self.windows[value] = Window(name, start, value.width)
                start += value.width

    def alone(self, ops: Sequence[Op], prefix: str) -> None:
        """A vector of its own for every value that has no home yet."""
        for op in ops:
            if op.out not in self.windows:
                self.windows[op.out] = Window(self.free(prefix + _stem(op)), 0, op.out.width)

    def window(self, part: Part) -> Window:
        whole = self.windows[part.value]
        return Window(whole.vector, whole.start + part.start, part.width)

    def joined(self, parts: Sequence[Part]) -> list[Window]:
        """The windows of parts, those side by side as one."""
        found: list[Window] = []
        for part in parts:
            w = self.window(part)
            if found and found[-1].vector == w.vector and found[-1].stop == w.start:
                found[-1] = Window(w.vector, found[-1].start, found[-1].width + w.width)
            else:
                found.append(w)
        return found


def _stem(op: Op) -> str:
    return SHORT.get(op.name, op.name.replace("_backward", ""))
