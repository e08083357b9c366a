"""A program as formulas, as people write them: both ways, and the gradients.

    h, c before the step        h′, c′ after it        ∂v: the derivative of the loss by v        ⊙: unit by unit

What is used once stands where it is used; a vector keeps its name where a product, a gradient or several formulas read it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from throughtime.programs.program import Block, Elementwise, Instruction, Product, Program, Window

SUM, TIMES, ATOM = 1, 2, 3
"""How tightly an expression binds."""

_INFIX = {
    "add": (" + ", SUM), "sub": (" − ", SUM), "mul": (" ⊙ ", TIMES), "div": (" / ", TIMES),
    "gt": (" > ", 0), "lt": (" < ", 0), "ge": (" ≥ ", 0), "le": (" ≤ ", 0), "eq": (" = ", 0), "ne": (" ≠ ", 0),
}  # fmt: skip


def formulas(program: Program) -> str:
    """The formulas of a program, one a line."""
    return _Writer(program).write()


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.shown = self.names()
        self.made: dict[str, list[Instruction]] = {}
        for i in (*program.forward, *program.backward):
            self.made.setdefault(i.out.vector, []).append(i)
        self.uses: Counter[str] = Counter()
        held = [*program.outputs, *program.next, *(w for w in (*program.to_inputs, *program.to_state) if w is not None)]
        held += [w for c in program.contractions for w in (c.delta, c.vector)] + [s.delta for s in program.sums]
        self.held = {w.vector for w in held}
        forward = {i.out.vector for i in program.forward}
        for i in (*program.forward, *program.backward):
            back = i.out.vector not in forward
            windows = (
                [*i.addends, *(t.vector for t in i.terms)]
                if isinstance(i, Product)
                else [o for o in i.operands if isinstance(o, Window)]
            )
            for w in windows:
                crossing = back and w.vector in forward  # saved, or used again: it keeps its name
                self.uses[w.vector] += 2 if isinstance(i, Product) or crossing else 1
        self.matrices = {m.name: m for m in program.matrices}

    def names(self) -> dict[str, str]:
        """What vectors are shown as."""
        p, shown = self.program, {}
        widths = p.widths
        for k, v in enumerate(p.upstream):
            count = len(p.outputs)
            shown[v.name] = (f"∂y{k + 1}" if count > 1 else "∂y") if k < count else f"∂{p.state[k - count].name}′"
        ends = [(w, f"{v.name}′") for w, v in zip(p.next, p.state, strict=True)]
        ends += [(w, f"y{k + 1}" if len(p.outputs) > 1 else "y") for k, w in enumerate(p.outputs)]
        ends += [
            (w, f"∂{v.name}") for w, v in zip((*p.to_inputs, *p.to_state), (*p.inputs, *p.state), strict=True) if w
        ]
        for w, name in ends:
            if w.width == widths[w.vector] and name not in shown.values():
                shown.setdefault(w.vector, name)
        forward = {i.out.vector for i in p.forward}
        for i in p.backward:
            name = i.out.vector
            if name not in shown and name not in forward:
                told = "δ" + name[5:] if name.startswith("delta") else re.sub("^d(?=.)", "∂", name)
                shown[name] = name if told in shown.values() else told
        return shown

    def write(self) -> str:
        p = self.program
        sizes = ", ".join(f"{v.name} of {v.width}" for v in (*p.inputs, *p.state))
        lines = [f"{p.name}: {sizes}", "", "forward", *self.direction(p.forward)]
        for k, w in enumerate(p.outputs):
            name = f"y{k + 1}" if len(p.outputs) > 1 else "y"
            lines += [f"  {name} = {self.window(w)}"] if self.window(w) != name else []
        lines += ["", "backward", *self.direction(p.backward), "", "gradients, summed over steps and rows"]
        for c in p.contractions:
            lines.append(f"  ∂{self.block(c.block)} = Σ {self.window(c.delta)} {self.window(c.vector)}ᵀ")
        lines += [f"  ∂{self.window(s.parameter)} = Σ {self.window(s.delta)}" for s in p.sums]
        return "\n".join(lines)

    def direction(self, instructions: Sequence[Instruction]) -> list[str]:
        return [
            f"  {self.window(i.out)} = {self.instruction(i)[0]}"
            for i in instructions
            if not self.stands_inside(i.out.vector)
        ]

    def stands_inside(self, vector: str) -> bool:
        made = self.made.get(vector, [])
        return (
            len(made) == 1 and isinstance(made[0], Elementwise) and self.uses[vector] == 1 and vector not in self.held
        )

    # --- expressions, with how tightly they bind

    def instruction(self, i: Instruction) -> tuple[str, int]:
        if isinstance(i, Product):
            terms = [f"{self.block(t.block)}{'ᵀ' if t.transposed else ''} {self.window(t.vector)}" for t in i.terms]
            return " + ".join([*terms, *map(self.window, i.addends)]), SUM if len(terms) + len(i.addends) > 1 else TIMES
        values = [self.operand(o) for o in i.operands]
        if i.op in _INFIX:
            sign, level = _INFIX[i.op]
            left = _within(values[0], level)
            right = _within(values[1], level + (i.op in ("sub", "div")))
            number = isinstance(i.operands[0], float) or isinstance(i.operands[1], float)
            return left + (" · " if i.op == "mul" and number else sign) + right, level
        if i.op in ("sigmoid_backward", "tanh_backward", "relu_backward"):
            g, s = _within(values[0], TIMES), values[1][0] if values[1][1] == ATOM else f"({values[1][0]})"
            slope = {"sigmoid": f"{s} ⊙ (1 − {s})", "tanh": f"(1 − {s}²)", "relu": f"[{s} > 0]"}[i.op.split("_")[0]]
            return f"{g} ⊙ {slope}", TIMES
        if i.op == "copy":
            return values[0]
        if i.op == "neg":
            return "−" + _within(values[0], TIMES), TIMES
        if i.op == "reciprocal":
            return "1 / " + _within(values[0], ATOM), TIMES
        name = {"row_sum": "Σ", "row_max": "max", "logical_not": "not", "sqrt": "√"}.get(i.op, i.op)
        return f"{name}({', '.join(v for v, _ in values)})", ATOM

    def operand(self, o: Window | float) -> tuple[str, int]:
        if not isinstance(o, Window):
            return f"{o:g}" if float(f"{o:g}") == o else repr(o), ATOM if o >= 0 else SUM
        if self.stands_inside(o.vector):
            return self.instruction(self.made[o.vector][0])
        return self.window(o), ATOM

    def window(self, w: Window) -> str:
        name = self.shown.get(w.vector, w.vector)
        return name if w.width == self.program.widths[w.vector] else f"{name}[{w.start}:{w.stop}]"

    def block(self, b: Block) -> str:
        m = self.matrices[b.matrix]
        if (b.rows, b.columns) == (m.rows, m.columns):
            return m.name
        across = "" if b.columns == m.columns else f", {b.column}:{b.column + b.columns}"
        return f"{m.name}[{b.row}:{b.row + b.rows}{across}]"


def _within(value: tuple[str, int], level: int) -> str:
    """An operand as it stands within an operation that binds so tightly."""
    return value[0] if value[1] >= level else f"({value[0]})"
