"""The tables of a direction of a program, as native/program.hpp describes them, and the numbers that stand in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

OPERATIONS = (
    "copy", "neg", "abs", "sign", "reciprocal", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "erf",
    "sigmoid", "tanh", "relu", "logical_not", "row_sum", "row_max", "spread",
    "add", "sub", "mul", "div", "pow", "minimum", "maximum", "gt", "lt", "ge", "le", "eq", "ne", "logical_and", "logical_or",
    "sigmoid_backward", "tanh_backward", "relu_backward",
    "where", "clamp",
)  # fmt: skip
FIXED, SOURCE, CHUNK, STATE, BEFORE, SLOT, STRIP = range(7)
STRIP_UNITS = 512
ONES, SYMBOLS = -1, -2

Row = list[int]


@dataclass
class Tables:
    """The tables of a `Code`, row by row."""

    rows: dict[str, list[Row]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                "places", "runs", "instructions", "packings", "terms", "products", "items", "fillings", "sources", "sinks",
                "parts", "contractions", "sums", "deliveries",
            )
        }
    )  # fmt: skip
    numbers: list[float] = field(default_factory=list)

    def add(self, table: str, *row: int) -> int:
        self.rows[table].append(list(row))
        return len(self.rows[table]) - 1

    def runs(self, runs: Iterable[tuple[int, int, int]]) -> tuple[int, int]:
        """A range of runs (from, to, width)."""
        first = len(self.rows["runs"])
        for run in runs:
            self.add("runs", *run)
        return first, len(self.rows["runs"])
