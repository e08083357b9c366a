"""The text of a program, both ways: `parse` reads it and `write` gives the canonical form (see `program`).

In what people write, an expression may be nested: each inner operation becomes a vector of its own, `_1`, `_2`, ….
Arithmetic, comparisons and minus signs have Python's operators; all other operations are calls by name. A line may
hold a comment after `#`.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from throughtime.programs.program import (
    OPERATIONS,
    REDUCTIONS,
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

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "gt": ">",
    "lt": "<",
    "ge": ">=",
    "le": "<=",
    "eq": "==",
    "ne": "!=",
}
_OPERATORS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div",
    ast.Gt: "gt", ast.Lt: "lt", ast.GtE: "ge", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip
_HEADS = (
    "inputs",
    "state",
    "matrices",
    "parameters",
    "forward",
    "outputs",
    "next",
    "upstream",
    "backward",
    "gradients",
)


@lru_cache(maxsize=512)
def parse(text: str) -> Program:
    """The program that a text describes.

    Raises: ValueError: a line that is no program's, an unknown name, widths that do not fit; the message names the line.
    """
    return _Reader().read(text)


class _Reader:
    """Reads one text, top to bottom; remembers widths and shapes as they appear."""

    def __init__(self) -> None:
        self.widths: dict[str, int] = {}
        self.matrices: dict[str, Matrix] = {}
        self.made: list[Instruction] = []
        self.inner = 0

    def read(self, text: str) -> Program:
        lines = [line.split("#")[0].strip() for line in text.strip().splitlines()]
        name, *rest = [line for line in lines if line]
        parts: dict[str, list[str]] = {head: [] for head in _HEADS}
        head = ""
        for line in rest:
            first = line.split(maxsplit=1)[0]
            if first in _HEADS:
                head = first
                line = line[len(first) :].strip()
            if line:
                if not head:
                    raise ValueError(f"program {name}: expected one of {', '.join(_HEADS)}, found {line!r}")
                parts[head].append(line)
        inputs, state, parameters, upstream = (
            self.vectors(" ".join(parts[head])) for head in ("inputs", "state", "parameters", "upstream")
        )
        for m in re.finditer(r"(\w+)\[(\d+), *(\d+)\]", " ".join(parts["matrices"])):
            self.matrices[m[1]] = Matrix(m[1], int(m[2]), int(m[3]))
        forward = self.instructions(parts["forward"])
        outputs = tuple(self.window(w) for w in " ".join(parts["outputs"]).split())
        after = tuple(self.window(w) for w in " ".join(parts["next"]).split())
        backward = self.instructions(parts["backward"])
        to: dict[str, Window] = {}
        contractions: list[Contraction] = []
        sums: list[Sum] = []
        given = {v.name for v in (*inputs, *state)}
        for line in parts["gradients"]:
            of, _, value = (part.strip() for part in line.partition(": "))
            if of in given:
                to[of] = self.window(value)
            elif "@" in value:
                delta, vector = (part.strip() for part in value.split("@"))
                block, _ = self.block(ast.parse(of, mode="eval").body)
                contractions.append(Contraction(block, self.window(delta), self.window(vector.removesuffix(".T"))))
            else:
                sums.append(Sum(self.window(of), self.window(value)))
        return Program(
            name, inputs, state, tuple(self.matrices.values()), parameters, forward, outputs, after, upstream, backward,
            tuple(to.get(v.name) for v in inputs), tuple(to.get(v.name) for v in state), tuple(contractions), tuple(sums),
        )  # fmt: skip

    def vectors(self, text: str) -> tuple[Vector, ...]:
        found = tuple(Vector(m[1], int(m[2])) for m in re.finditer(r"(\w+)\[(\d+)\]", text))
        self.widths |= {v.name: v.width for v in found}
        return found

    def window(self, text: str) -> Window:
        return self.operand_window(ast.parse(text, mode="eval").body, text)

    def operand_window(self, node: ast.expr, text: str) -> Window:
        if isinstance(node, ast.Name):
            if node.id not in self.widths:
                raise ValueError(f"{text}: unknown vector {node.id!r}")
            return Window(node.id, 0, self.widths[node.id])
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Slice):
            start, stop = _whole(node.slice.lower), _whole(node.slice.upper)
            return Window(node.value.id, start, stop - start)
        raise ValueError(f"{text}: expected a vector or a window of one, found {ast.unparse(node)!r}")

    def instructions(self, lines: list[str]) -> tuple[Instruction, ...]:
        self.made = []
        for line in lines:
            statement = ast.parse(line).body[0]
            if not isinstance(statement, ast.Assign):
                raise ValueError(f"{line}: expected an assignment")
            [target] = statement.targets
            out = target.id if isinstance(target, ast.Name) else self.operand_window(target, line)
            self.value(statement.value, line, out)
        return tuple(self.made)

    def value(self, node: ast.expr, line: str, out: str | Window | None = None) -> Window | float:
        """The window or number that an expression stands for; with `out`, a vector's name or a window, it is written there."""
        if out is None:
            number = _number(node)
            if number is not None:
                return number
            if isinstance(node, ast.Name | ast.Subscript):
                return self.operand_window(node, line)
        if _has_product(node):
            return self.product(node, line, out)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return self.elementwise(_OPERATORS[type(node.op)], [node.left, node.right], line, out)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
            return self.elementwise(_OPERATORS[type(node.ops[0])], [node.left, node.comparators[0]], line, out)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _number(node) is None:
            return self.elementwise("neg", [node.operand], line, out)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self.elementwise(node.func.id, node.args, line, out)
        return self.elementwise("copy", [node], line, out)

    def elementwise(self, op: str, operands: list[ast.expr], line: str, out: str | Window | None) -> Window:
        if OPERATIONS.get(op) != len(operands):
            raise ValueError(f"{line}: unknown operation {op} of {len(operands)} operands")
        values = tuple(self.value(node, line) for node in operands)
        width = max((v.width for v in values if isinstance(v, Window)), default=1)
        to = self.home(out, 1 if op in REDUCTIONS else width)
        self.made.append(Elementwise(op, to, values))
        return to

    def product(self, node: ast.expr, line: str, out: str | Window | None) -> Window:
        terms: list[Term] = []
        addends: list[Window] = []
        width = 0
        for part in _summands(node, line):
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult):
                block, transposed = self.block(part.left)
                vector = self.value(part.right, line)
                assert isinstance(vector, Window)
                terms.append(Term(block, transposed, vector))
                width = block.columns if transposed else block.rows
            else:
                addend = self.value(part, line)
                assert isinstance(addend, Window)
                addends.append(addend)
        to = self.home(out, width)
        self.made.append(Product(to, tuple(terms), tuple(addends)))
        return to

    def block(self, node: ast.expr) -> tuple[Block, bool]:
        """A matrix M, M.T, M[a:b, c:d] or M[a:b, c:d].T."""
        transposed = isinstance(node, ast.Attribute) and node.attr == "T"
        if isinstance(node, ast.Attribute) and transposed:
            node = node.value
        name = node.value if isinstance(node, ast.Subscript) else node
        if not isinstance(name, ast.Name) or name.id not in self.matrices:
            raise ValueError(f"expected a matrix, found {ast.unparse(node)!r}")
        matrix = self.matrices[name.id]
        row, column, rows, columns = 0, 0, matrix.rows, matrix.columns
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            down, across = node.slice.elts
            assert isinstance(down, ast.Slice)
            assert isinstance(across, ast.Slice)
            row, column = _whole(down.lower), _whole(across.lower)
            rows, columns = _whole(down.upper) - row, _whole(across.upper) - column
        return Block(matrix.name, row, column, rows, columns), transposed

    def home(self, out: str | Window | None, width: int) -> Window:
        if isinstance(out, Window):
            self.widths[out.vector] = max(self.widths.get(out.vector, 0), out.stop)
            return out
        if out is None:
            self.inner += 1
            out = f"_{self.inner}"
        self.widths[out] = width
        return Window(out, 0, width)


def _number(node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _number(node.operand)
        return None if number is None else -number
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    return None


def _whole(node: ast.expr | None) -> int:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int):
        raise ValueError("expected a whole number in a window")
    return node.value


def _has_product(node: ast.expr) -> bool:
    """Whether an expression is a product with matrices, or a sum with one among its summands."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _has_product(node.left) or _has_product(node.right)
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)


def _summands(node: ast.expr, line: str) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _summands(node.left, line) + _summands(node.right, line)
    return [node]


def write(program: Program) -> str:
    """The canonical text of a program: one instruction a line, windows only where a vector is not whole."""
    widths = program.widths
    whole = {i.out.vector for i in (*program.forward, *program.backward) if i.out.width == widths[i.out.vector]}
    shapes = {m.name: m for m in program.matrices}

    def window(w: Window) -> str:
        return w.vector if w.width == widths[w.vector] else f"{w.vector}[{w.start}:{w.stop}]"

    def target(w: Window) -> str:
        return w.vector if w.vector in whole else f"{w.vector}[{w.start}:{w.stop}]"

    def operand(v: Window | float) -> str:
        return window(v) if isinstance(v, Window) else repr(v)

    def block(b: Block) -> str:
        matrix = shapes[b.matrix]
        if (b.rows, b.columns) == (matrix.rows, matrix.columns):
            return b.matrix
        return f"{b.matrix}[{b.row}:{b.row + b.rows}, {b.column}:{b.column + b.columns}]"

    def instruction(i: Instruction) -> str:
        if isinstance(i, Product):
            terms = [f"{block(t.block)}{'.T' if t.transposed else ''} @ {window(t.vector)}" for t in i.terms]
            return f"{target(i.out)} = " + " + ".join(terms + [window(a) for a in i.addends])
        values = [operand(v) for v in i.operands]
        if i.op in _INFIX:
            return f"{target(i.out)} = {values[0]} {_INFIX[i.op]} {values[1]}"
        return f"{target(i.out)} = {i.op}({', '.join(values)})"

    to = zip((*program.inputs, *program.state), (*program.to_inputs, *program.to_state), strict=True)
    lines = [
        program.name,
        f"inputs {' '.join(map(str, program.inputs))}",
        f"state {' '.join(map(str, program.state))}",
        f"matrices {' '.join(map(str, program.matrices))}",
        f"parameters {' '.join(map(str, program.parameters))}",
        "forward",
        *map(instruction, program.forward),
        f"outputs {' '.join(map(window, program.outputs))}",
        f"next {' '.join(map(window, program.next))}",
        f"upstream {' '.join(map(str, program.upstream))}",
        "backward",
        *map(instruction, program.backward),
        "gradients",
        *(f"{v.name}: {window(w)}" for v, w in to if w is not None),
        *(f"{block(c.block)}: {window(c.delta)} @ {window(c.vector)}.T" for c in program.contractions),
        *(f"{window(s.parameter)}: {window(s.delta)}" for s in program.sums),
    ]
    return "\n".join(line.rstrip() for line in lines)
