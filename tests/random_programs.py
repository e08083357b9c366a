"""Programs drawn at random: any instructions over any windows, both ways. They derive nothing; engines must agree on them.

What goes from step to step passes through a bounded function, so that rounding errors do not grow from step to step.
"""

from __future__ import annotations

from random import Random

from throughtime.programs.program import (
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

WIDTHS = (1, 1, 2, 3, 5, 8, 16, 16, 17, 32, 33)
BOUNDED = ("sigmoid", "tanh", "sin", "cos", "erf")
UNARY = (*BOUNDED, "copy", "neg", "abs", "relu", "logical_not")
BINARY = ("add", "sub", "mul", "minimum", "maximum", "gt", "le", "sigmoid_backward", "tanh_backward", "relu_backward")
SAFE = {"exp": "neg", "log1p": "abs", "sqrt": "abs"}  # of a number whose sign or size is known


class _Draw:
    """Writes the instructions of one direction."""

    def __init__(self, random: Random, widths: dict[str, int], matrices: list[Matrix], prefix: str) -> None:
        self.random = random
        self.widths = widths  # of what may be read
        self.matrices = matrices
        self.prefix = prefix
        self.made: list[Instruction] = []

    def new(self, width: int) -> Window:
        return Window(f"{self.prefix}{len(self.made)}", 0, width)

    def window(self, width: int) -> Window | None:
        """Any window of that width of what is there."""
        fitting = sorted(name for name, own in self.widths.items() if own >= width)
        if not fitting:
            return None
        name = self.random.choice(fitting)
        return Window(name, self.random.randint(0, self.widths[name] - width), width)

    def any_width(self) -> int:
        return self.random.choice([*sorted(self.widths.values()), 1])

    def write(self, instruction: Instruction) -> Window:
        self.made.append(instruction)
        out = instruction.out
        self.widths[out.vector] = out.width
        return out

    def operand(self, width: int) -> Window | float:
        found = self.window(self.random.choice((width, width, width, 1)))
        return self.random.choice((0.5, -1.25, 1.0)) if found is None or self.random.random() < 0.1 else found

    def elementwise(self, width: int) -> Window:
        random = self.random
        first = self.window(width)
        assert first is not None
        kind = random.random()
        if kind < 0.4:
            return self.write(Elementwise(random.choice(UNARY), self.new(width), (first,)))
        if kind < 0.8:
            pair = (first, self.operand(width))
            return self.write(Elementwise(random.choice(BINARY), self.new(width), pair[:: random.choice((1, -1))]))
        if kind < 0.85:
            return self.write(Elementwise("where", self.new(width), (first, self.operand(width), self.operand(width))))
        if kind < 0.9:
            return self.write(Elementwise("clamp", self.new(width), (first, -0.75, 0.5)))
        if kind < 0.95:
            return self.write(Elementwise(random.choice(("row_sum", "row_max")), self.new(1), (first,)))
        op = random.choice(sorted(SAFE))
        size = self.write(Elementwise("abs", self.new(width), (first,)))
        inner = self.write(Elementwise(SAFE[op], self.new(width), (size,)))
        return self.write(Elementwise(op, self.new(width), (inner,)))

    def product(self) -> Window | None:
        random, terms = self.random, []
        width = random.choice(WIDTHS)
        for _ in range(random.choice((1, 1, 2))):
            vector = self.window(self.any_width())
            if vector is None:
                return None
            for matrix in random.sample(self.matrices, len(self.matrices)):
                transposed = random.random() < 0.5
                rows, columns = (vector.width, width) if transposed else (width, vector.width)
                if matrix.rows >= rows and matrix.columns >= columns:
                    row, column = random.randint(0, matrix.rows - rows), random.randint(0, matrix.columns - columns)
                    terms.append(Term(Block(matrix.name, row, column, rows, columns), transposed, vector))
                    break
        addends = [w for w in (self.window(width) for _ in range(random.choice((0, 1, 1, 2)))) if w is not None]
        return self.write(Product(self.new(width), tuple(terms), tuple(addends))) if terms else None

    def some(self, count: int) -> None:
        for _ in range(count):
            if self.random.random() < 0.3:
                self.product()
            else:
                self.elementwise(self.any_width())

    def bounded(self, width: int) -> Window:
        """A vector of that width, of numbers between -1 and 1."""
        source = self.window(width)
        while source is None:
            source = self.window(1)
            assert source is not None
            source = (
                self.write(Elementwise("add", self.new(width), (source, 0.25))) if width == 1 else self.joined(width)
            )
        return self.write(Elementwise(self.random.choice(BOUNDED), self.new(width), (source,)))

    def joined(self, width: int) -> Window:
        """A vector written in several windows."""
        name, at = self.new(width).vector, 0
        while at < width:
            part = self.random.choice([w for w in (1, 3, 5, 16) if at + w <= width])
            source = self.window(part) or self.window(1)
            assert source is not None
            self.made.append(Elementwise("mul", Window(name, at, part), (source, 0.5)))
            at += part
        self.widths[name] = width
        return Window(name, 0, width)


def random_program(seed: int) -> Program:
    """The program of a number."""
    random = Random(seed)
    width = lambda: random.choice(WIDTHS)  # noqa: E731
    inputs = [Vector(f"x{i}", width()) for i in range(random.choice((1, 1, 2)))]
    state = [Vector(f"s{i}", width()) for i in range(random.choice((1, 1, 2, 3)))]
    parameters = [Vector(f"p{i}", width()) for i in range(random.choice((0, 1, 2)))]
    matrices = [
        Matrix(f"M{i}", random.choice((3, 17, 40)), random.choice((5, 33, 40))) for i in range(random.choice((1, 2, 3)))
    ]
    given = {v.name: v.width for v in (*inputs, *state, *parameters)}
    forward = _Draw(random, dict(given), matrices, "f")
    forward.some(random.randint(1, 8))
    after = tuple(forward.bounded(v.width) for v in state)
    if len(state) > 1 and state[0].width == state[1].width and random.random() < 0.3:
        after = (after[1], *after[1:])  # one tensor as two parts
    forward.some(random.randint(0, 3))
    made = sorted({i.out for i in forward.made} - set(after))
    outputs = tuple(random.sample([*after, *made], random.choice((1, 1, 2))) if made else after[:1])
    upstream = [Vector(f"g{i}", w.width) for i, w in enumerate((*outputs, *after))]
    back = _Draw(random, forward.widths | {v.name: v.width for v in upstream}, matrices, "b")
    back.some(random.randint(1, 10))
    to_state = tuple(None if random.random() < 0.1 else back.bounded(v.width) for v in state)
    back.some(random.randint(0, 3))
    contractions, sums = [], []
    for matrix in matrices:
        delta, vector = back.window(random.randint(1, matrix.rows)), back.window(random.randint(1, matrix.columns))
        if (
            delta is not None
            and vector is not None
            and not {delta.vector, vector.vector} & {p.name for p in parameters}
        ):
            row, column = random.randint(0, matrix.rows - delta.width), random.randint(0, matrix.columns - vector.width)
            contractions.append(Contraction(Block(matrix.name, row, column, delta.width, vector.width), delta, vector))
    for p in parameters:
        delta = back.window(random.randint(1, p.width))
        if delta is not None and delta.vector not in {q.name for q in parameters}:
            sums.append(Sum(Window(p.name, random.randint(0, p.width - delta.width), delta.width), delta))
    to_inputs = tuple(None if random.random() < 0.2 else back.bounded(v.width) for v in inputs)
    return Program(
        f"random{seed}", tuple(inputs), tuple(state), tuple(matrices), tuple(parameters), tuple(forward.made), outputs,
        after, tuple(upstream), tuple(back.made), to_inputs, to_state, tuple(contractions), tuple(sums),
    )  # fmt: skip
