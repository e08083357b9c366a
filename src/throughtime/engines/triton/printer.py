"""A program printed as Triton source: one kernel a direction, a line for each instruction.

A program instance of the grid owns a block of rows and walks all steps; the matrices that the sweep multiplies with are loaded
once, before the first step, and stay on its multiprocessor. So nothing is ever exchanged between instances. What runs before
the sweep and after it, for all steps at once, is PyTorch's (see `engines.values`): series are read and written step by step.

Triton's blocks are powers of two, and its products want at least 16 on each side: every window is padded to that width,
matrices with zeros, and what a product reads is zeroed where it is padding. So that each variable is one window, vectors are
cut wherever some window begins or ends (`Cuts`); an instruction over several pieces becomes a line for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from keyword import iskeyword

from throughtime.programs import Program, levels
from throughtime.programs.program import REDUCTIONS, Elementwise, Instruction, Product, Term, Window, reads

EXPRESSIONS = {
    "copy": "{0}", "neg": "-{0}", "abs": "tl.abs({0})", "sign": "maths.sign({0})", "reciprocal": "1.0 / {0}",
    "sqrt": "tl.sqrt({0})", "rsqrt": "tl.rsqrt({0})", "exp": "tl.exp({0})", "expm1": "maths.expm1({0})",
    "log": "tl.log({0})", "log1p": "maths.log1p({0})",
    "sin": "tl.sin({0})", "cos": "tl.cos({0})", "erf": "tl.erf({0})", "sigmoid": "tl.sigmoid({0})", "tanh": "maths.tanh({0})",
    "relu": "tl.where({0} < 0.0, 0.0, {0})",
    "logical_not": "tl.where({0} == 0.0, 1.0, 0.0)",
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "minimum": "maths.minimum({0}, {1})", "maximum": "maths.maximum({0}, {1})",
    "gt": "tl.where({0} > {1}, 1.0, 0.0)", "lt": "tl.where({0} < {1}, 1.0, 0.0)",
    "ge": "tl.where({0} >= {1}, 1.0, 0.0)", "le": "tl.where({0} <= {1}, 1.0, 0.0)",
    "eq": "tl.where({0} == {1}, 1.0, 0.0)", "ne": "tl.where({0} != {1}, 1.0, 0.0)",
    "logical_and": "tl.where(({0} != 0.0) & ({1} != 0.0), 1.0, 0.0)",
    "logical_or": "tl.where(({0} != 0.0) | ({1} != 0.0), 1.0, 0.0)",
    "sigmoid_backward": "{0} * ({1} * (1.0 - {1}))", "tanh_backward": "{0} * (1.0 - {1} * {1})",
    "relu_backward": "tl.where({1} <= 0.0, 0.0, {0})",
    "where": "tl.where({0} != 0.0, {1}, {2})", "clamp": "maths.minimum(maths.maximum({0}, {1}), {2})",
}  # fmt: skip
"""What an operation is in Triton's language; row_sum and row_max are printed by `_Printer.reduction`, and pow is refused
unless its exponent is a small whole number."""


FLAGS = ("REVERSE", "RAGGED", "PIECES", "BLOCK", "TILE", "ROUND", "PRECISION")
RESERVED = {*FLAGS, "tl", "maths", "row", "rows", "at", "step", "t", "T", "B", "length", "lengths", "fresh", "begins"}
"""The kernel's own names; a vector of such a name gets an underscore."""


class Unfit(Exception):
    """A program, or its size, that has no kernel; the message says what does not fit."""


class Cuts:
    """Where vectors are cut: at both ends of every window, and where a vector that is combined with it unit by unit is cut."""

    def __init__(self, instructions: Sequence[Instruction], windows: Iterable[Window]) -> None:
        self.at: dict[str, set[int]] = {}
        for w in windows:
            self._cut(w, (0, w.width))
        for i in instructions:
            for w in (i.out, *reads(i)):
                self._cut(w, (0, w.width))
        changed = True
        while changed:
            changed = False
            for i in instructions:
                alike = [i.out, *i.addends] if isinstance(i, Product) else self._alike(i)
                inner = sorted({c - w.start for w in alike for c in self.at[w.vector] if w.start < c < w.stop})
                for w in alike:
                    before = len(self.at[w.vector])
                    self._cut(w, inner)
                    changed |= len(self.at[w.vector]) > before

    @staticmethod
    def _alike(i: Elementwise) -> list[Window]:
        if i.op in REDUCTIONS:
            return [i.out]
        return [i.out, *(v for v in i.operands if isinstance(v, Window) and v.width == i.out.width)]

    def _cut(self, window: Window, offsets: Iterable[int]) -> None:
        self.at.setdefault(window.vector, set()).update(window.start + o for o in offsets)

    def pieces(self, window: Window) -> list[Window]:
        """The pieces that a window consists of."""
        ends = sorted(c for c in self.at[window.vector] if window.start <= c <= window.stop)
        return [Window(window.vector, a, b - a) for a, b in pairwise(ends)]


@dataclass
class Kernel:
    """The source of one direction, and the tensors it takes, in order: matrices (`M_matrix` or its transpose, `M_matrix_T`),
    parameters, and spans of series that it reads and writes."""

    text: str
    matrices: list[str]
    parameters: list[str]
    reads: list[Window]
    writes: list[Window]
    tile_numbers: int
    """Of all tiles together: what a multiprocessor must hold."""


@lru_cache(maxsize=512)
def forward_kernel(program: Program) -> Kernel:
    """The sweep from the first step walked to the last. Raises Unfit."""
    forward = levels(program)[0]
    needed = [w for i in forward.tail for w in reads(i)]
    needed += [*program.outputs, *program.kept]
    carried = [Window(v.name, 0, v.width) for v in program.state]
    return _Printer(program, "forward", forward.slots, carried, list(program.next), needed).kernel()


@lru_cache(maxsize=512)
def backward_kernel(program: Program) -> Kernel:
    """The sweep back. Raises Unfit."""
    back = levels(program)[1]
    needed = [w for i in back.tail for w in reads(i)]
    needed += [w for c in program.contractions for w in (c.delta, c.vector)]
    needed += [s.delta for s in program.sums]
    needed += [w for w in program.to_inputs if w is not None]
    carried = [Window(v.name, 0, v.width) for v in program.upstream[len(program.outputs) :]]
    return _Printer(program, "backward", back.slots, carried, list(program.to_state), needed).kernel()


def padded(width: int) -> int:
    """The width of the block that holds a window."""
    return 1 if width == 1 else max(16, 1 << (width - 1).bit_length())


class _Printer:
    def __init__(
        self,
        program: Program,
        name: str,
        slots: Sequence[Instruction],
        carried: list[Window],
        after: list[Window | None],
        needed: list[Window],
    ) -> None:
        self.program, self.name, self.slots, self.carried, self.after = program, name, slots, carried, after
        self.matrix_shapes = {m.name: m for m in program.matrices}
        self.parameters = {p.name: p for p in program.parameters}
        taken_over = [Elementwise("copy", c, (a,)) for c, a in zip(carried, after) if a is not None]
        written = [*(i.out for i in slots), *carried]
        self.cuts = Cuts([*slots, *taken_over], [*needed, *carried])
        self.stored = list(
            dict.fromkeys(p for w in needed for p in self.cuts.pieces(w) if any(p.overlaps(made) for made in written))
        )
        self.made = {p for c in carried for p in self.cuts.pieces(c)}
        self.tiles: dict[str, str] = {}
        self.matrices: set[str] = set()
        self.tile_numbers = 0
        self.loads: list[Window] = []
        self.parameter_loads: list[Window] = []

    # --- names

    def name_of(self, piece: Window) -> str:
        if self.program.widths[piece.vector] != piece.width:
            return f"{piece.vector}_{piece.start}"
        return f"{piece.vector}_" if piece.vector in RESERVED or iskeyword(piece.vector) else piece.vector

    def columns(self, width: int) -> str:
        return f"tl.arange(0, {padded(width)})[None, :]"

    def mask(self, width: int) -> str:
        return "rows" if padded(width) == width else f"rows & ({self.columns(width)} < {width})"

    # --- lines

    def kernel(self) -> Kernel:
        body = [*self.body(), *self.step_end()]
        k = Kernel(
            "",
            sorted(self.matrices),
            sorted({w.vector for w in self.parameter_loads}),
            self.spans(self.loads),
            self.spans(self.stored),
            self.tile_numbers,
        )
        arguments = [*k.matrices] + [f"{p}_parameter" for p in k.parameters]
        arguments += [f"{self.span_name(w)}_series" for w in k.reads] + [f"{self.span_name(w)}_out" for w in k.writes]
        for c in self.carried:
            arguments += [f"{c.vector}_first", f"{c.vector}_last", f"{c.vector}_fresh"]
        arguments += ["lengths", "fresh", "T", "B"]
        arguments += [f"{flag}: tl.constexpr" for flag in FLAGS]
        head = [
            "@triton.jit",
            f"def {self.name}({', '.join(arguments)}):",
            "    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
            "    rows = (row < B)[:, None]",
            "    if RAGGED:",
            "        length = tl.load(lengths + row, mask=row < B, other=0)[:, None]",
            *(f"    {line}" for line in self.before()),
            "    for step in range(T):",
            *(f"        {line}" for line in self.step_start()),
            *(f"        {line}" for line in self.load_lines()),
            *(f"        {line}" for line in body),
            *(f"    {line}" for line in self.end()),
        ]
        k.text = "\n".join(head) + "\n"
        return k

    def spans(self, pieces: Iterable[Window]) -> list[Window]:
        """The pieces of each vector, joined where they touch."""
        joined: list[Window] = []
        for p in sorted(set(pieces)):
            if joined and joined[-1].vector == p.vector and joined[-1].stop >= p.start:
                last = joined.pop()
                p = Window(p.vector, last.start, max(p.stop, last.stop) - last.start)
            joined.append(p)
        return joined

    def span_name(self, span: Window) -> str:
        whole = self.program.widths[span.vector] == span.width
        return span.vector if whole else f"{span.vector}_{span.start}_{span.stop}"

    def address(self, piece: Window, spans: Sequence[Window], kind: str) -> str:
        [span] = [s for s in spans if s.covers(piece)]
        base = f"{self.span_name(span)}_{kind} + at * {span.width}"
        return base + (f" + {piece.start - span.start}" if piece.start != span.start else "")

    def before(self) -> Iterator[str]:
        """What is loaded once: matrices, parameters, the state to start from."""
        yield from (f"{name} = {text}" for text, name in self.tiles.items())
        for p in dict.fromkeys(self.parameter_loads):
            mask = "" if padded(p.width) == p.width else f", mask={self.columns(p.width)} < {p.width}, other=0.0"
            yield (
                f"{self.name_of(p)} = tl.load({p.vector}_parameter + {p.start} + {self.columns(p.width)}{mask})"
                ".to(tl.float32)"
            )
        for c in self.carried:
            for p in self.cuts.pieces(c):
                source = f"{c.vector}_first + row[:, None] * {c.width} + {p.start} + {self.columns(p.width)}"
                yield f"{self.name_of(p)} = tl.load({source}, mask={self.mask(p.width)}, other=0.0).to(tl.float32)"
                if self.name == "backward":
                    yield f"{self.name_of(p)}__sum = tl.zeros([BLOCK, {padded(p.width)}], tl.float32)"

    def step_start(self) -> Iterator[str]:
        forward = self.name == "forward"
        yield f"t = T - 1 - step if {'REVERSE' if forward else 'not REVERSE'} else step"
        yield "at = (row.to(tl.int64) + t * B)[:, None]"
        if forward:
            yield "if PIECES:"
            yield "    begins = tl.load(fresh + at, mask=rows, other=0) != 0"
            for c in self.carried:
                for p in self.cuts.pieces(c):
                    mask = (
                        "" if padded(p.width) == p.width else f", mask={self.columns(p.width)} < {p.width}, other=0.0"
                    )
                    own = f"tl.load({c.vector}_fresh + {p.start} + {self.columns(p.width)}{mask}).to(tl.float32)"
                    yield f"    {self.name_of(p)} = tl.where(begins, {own}, {self.name_of(p)})"

    def load_lines(self) -> Iterator[str]:
        spans = self.spans(self.loads)
        for p in dict.fromkeys(self.loads):
            source = f"{self.address(p, spans, 'series')} + {self.columns(p.width)}"
            yield f"{self.name_of(p)} = tl.load({source}, mask={self.mask(p.width)}, other=0.0).to(tl.float32)"

    def body(self) -> Iterator[str]:
        for i in self.slots:
            yield from self.product(i) if isinstance(i, Product) else self.elementwise(i)
        spans = self.spans(self.stored)
        for p in self.stored:
            target = f"{self.address(p, spans, 'out')} + {self.columns(p.width)}"
            yield f"tl.store({target}, {self.name_of(p)}, mask={self.mask(p.width)})"

    def read(self, piece: Window) -> str:
        """The variable that holds a piece, loaded first where no instruction made it."""
        if piece not in self.made:
            if piece.vector in self.parameters:
                self.parameter_loads.append(piece)
            else:
                self.loads.append(piece)
            self.made.add(piece)
        return self.name_of(piece)

    def product(self, i: Product) -> Iterator[str]:
        for out in self.cuts.pieces(i.out):
            offset = out.start - i.out.start
            name = self.name_of(out)
            total = None
            for addend in i.addends:
                [part] = self.cuts.pieces(Window(addend.vector, addend.start + offset, out.width))
                total = self.read(part) if total is None else f"{total} + {self.read(part)}"
            shape = f"[BLOCK, {padded(out.width)}]"
            if total is None:
                total = f"tl.zeros({shape}, tl.float32)"
            if all(a.vector in self.parameters for a in i.addends) and i.addends:
                total = f"tl.broadcast_to({total}, {shape})"
            if total != name:
                yield f"{name} = {total}"
            for term in i.terms:
                for v in self.cuts.pieces(term.vector):
                    tile = self.tile(term, offset, out.width, v.start - term.vector.start, v.width)
                    value = self.read(v)
                    if padded(v.width) != v.width:
                        value = f"tl.where({self.columns(v.width)} < {v.width}, {value}, 0.0)"
                    if v.width == 1:
                        yield f"{name} += {value} * {tile}"
                    elif out.width == 1:
                        yield f"{name} += tl.sum({value} * {tile}, 1)[:, None]"
                    else:
                        yield f"{name} = maths.product({value}, {tile}, {name}, ROUND, PRECISION)"
            self.made.add(out)

    def tile(self, term: Term, offset: int, width: int, start: int, depth: int) -> str:
        """The variable of the part of a matrix that leads from `depth` units at `start` to `width` units at `offset`: [K, N],
        or one row where one of the two is a single unit. The units it leads to lie side by side in memory."""
        block, matrix = term.block, self.matrix_shapes[term.block.matrix]
        into, out_of = (block.row, block.column) if term.transposed else (block.column, block.row)
        row, column, across = into + start, out_of + offset, matrix.columns if term.transposed else matrix.rows
        operand = f"{matrix.name}_matrix" if term.transposed else f"{matrix.name}_matrix_T"
        self.matrices.add(operand)
        base = f"{operand} + {row * across + column}"
        if depth == 1 or width == 1:
            many, along = (width, 1) if depth == 1 else (depth, across)
            mask = "" if padded(many) == many else f", mask={self.columns(many)} < {many}, other=0.0"
            text = f"tl.load({base} + {self.columns(many)} * {along}{mask}).to(tl.float32)"
        else:
            down = f"tl.arange(0, {padded(depth)})[:, None]"
            limits = [f"({down} < {depth})"] if padded(depth) != depth else []
            limits += [f"({self.columns(width)} < {width})"] if padded(width) != width else []
            mask = f", mask={' & '.join(limits)}, other=0.0" if limits else ""
            text = f"tl.load({base} + {down} * {across} + {self.columns(width)}{mask}).to(TILE)"
        if text not in self.tiles:
            self.tiles[text] = f"{operand}_{row}_{column}"
            self.tile_numbers += padded(depth) * padded(width)
        return self.tiles[text]

    def elementwise(self, i: Elementwise) -> Iterator[str]:
        if i.op in REDUCTIONS:
            yield from self.reduction(i)
            return
        for out in self.cuts.pieces(i.out):
            operands = []
            for v in i.operands:
                if not isinstance(v, Window):
                    operands.append(f"float('{v}')" if v in (float("inf"), -float("inf")) or v != v else repr(v))
                elif v.width == i.out.width:
                    [piece] = self.cuts.pieces(Window(v.vector, v.start + out.start - i.out.start, out.width))
                    operands.append(self.read(piece))
                else:
                    [piece] = self.cuts.pieces(v)
                    operands.append(self.read(piece))
            yield f"{self.name_of(out)} = {self.expression(i.op, operands)}"
            if not any(
                isinstance(v, Window) and v.width == i.out.width and v.vector not in self.parameters for v in i.operands
            ):
                yield f"{self.name_of(out)} = tl.broadcast_to({self.name_of(out)}, [BLOCK, {padded(out.width)}])"
            self.made.add(out)

    def expression(self, op: str, operands: list[str]) -> str:
        if op == "pow":
            exponent = float(operands[1]) if operands[1].replace(".", "").replace("-", "").isdigit() else 0.5
            if exponent != int(exponent) or not 1 <= exponent <= 8:
                raise Unfit(f"pow: expected a whole exponent from 1 to 8, found {operands[1]}")
            return " * ".join([operands[0]] * int(exponent))
        return EXPRESSIONS[op].format(*operands)

    def reduction(self, i: Elementwise) -> Iterator[str]:
        [window] = i.operands
        assert isinstance(window, Window)
        fill, call, join = (
            ("0.0", "tl.sum", "{} + {}") if i.op == "row_sum" else ("float('-inf')", "tl.max", "maths.maximum({}, {})")
        )
        total = ""
        for piece in self.cuts.pieces(window):
            value = self.read(piece)
            if padded(piece.width) != piece.width:
                value = f"tl.where({self.columns(piece.width)} < {piece.width}, {value}, {fill})"
            part = f"{call}({value}, 1)[:, None]" if piece.width > 1 else value
            total = join.format(total, part) if total else part
        yield f"{self.name_of(i.out)} = {total}"
        self.made.add(i.out)

    def step_end(self) -> Iterator[str]:
        """What is carried on: to the next step where a row has this one, else what it was."""
        lines = []
        for c, new in zip(self.carried, self.after):
            for p in self.cuts.pieces(c):
                if new is None:
                    value = f"tl.zeros([BLOCK, {padded(p.width)}], tl.float32)"
                else:
                    [piece] = self.cuts.pieces(Window(new.vector, new.start + p.start, p.width))
                    value = self.read(piece)
                if self.name == "forward":  # the state is what was stored
                    value = f"{value}.to(ROUND).to(tl.float32)"
                lines.append((self.name_of(p), value))
        yield from (f"{name}__next = {value}" for name, value in lines)
        yield "if RAGGED:"
        yield from (f"    {name}__next = tl.where(t < length, {name}__next, {name})" for name, _ in lines)
        if self.name == "backward":
            yield "if PIECES:"
            yield "    begins = tl.load(fresh + at, mask=rows, other=0) != 0"
            for name, _ in lines:
                yield f"    {name}__sum += tl.where(begins, {name}__next, 0.0)"
                yield f"    {name}__next = tl.where(begins, 0.0, {name}__next)"
        yield from (f"{name} = {name}__next" for name, _ in lines)

    def end(self) -> Iterator[str]:
        for c in self.carried:
            for p in self.cuts.pieces(c):
                place = f"row[:, None] * {c.width} + {p.start} + {self.columns(p.width)}"
                yield f"tl.store({c.vector}_last + {place}, {self.name_of(p)}, mask={self.mask(p.width)})"
                if self.name == "backward":
                    yield "if PIECES:"
                    yield f"    tl.store({c.vector}_fresh + {place}, {self.name_of(p)}__sum, mask={self.mask(p.width)})"
