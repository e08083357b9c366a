"""The gates of the built-in cells: their names, their rows in the weights, and where their openings are found after a step."""

from __future__ import annotations

from throughtime.programs.program import Program, Window

ROWS = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
}
"""By cell: what the equal parts of the rows of U, W and the biases belong to, in order."""

OPENINGS = {
    "lstm": {"input": ("gate", 0), "forget": ("gate", 1), "output": ("gate", 3)},
    "gru": {"reset": ("rz", 0), "update": ("rz", 1)},
}
"""By cell: the vector that holds a gate's opening, in 0..1, and which of its equal parts it is. The parts have as many units as
the cell."""


def rows(program: Program) -> tuple[tuple[str, slice], ...]:
    """The gates of a program and their rows in U, W and the biases; none where it is not a built-in gated cell."""
    names = ROWS.get(program.name, ())
    d = _units(program)
    return tuple((name, slice(i * d, (i + 1) * d)) for i, name in enumerate(names))


def openings(program: Program) -> dict[str, Window]:
    """Where the opening of each gate stands after a step."""
    d = _units(program)
    found = OPENINGS.get(program.name, {})
    return {name: Window(vector, part * d, d) for name, (vector, part) in found.items()}


def _units(program: Program) -> int:
    return program.state[-1].width
