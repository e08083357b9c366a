"""The values that travel from the operator to an engine: what a recurrence is, what it runs on, and what comes out.

T   steps          B   rows          time comes first in every [T, B, width]
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from throughtime.programs.program import Program


class Recurrence(NamedTuple):
    """A program and its numbers: the matrices, then the parameters, in the program's order."""

    program: Program
    weights: tuple[Tensor, ...]


class Batch(NamedTuple):
    """What a recurrence runs on.

    inputs: [T, B, width] each, strides as they come; the first one may be integer symbols [T, B] that only products read.
    initial: the state before the first step walked, [B, width] for each part; zero where None.
    lengths: int64 [B] on the CPU, each in 0..T, or None for T. Later steps are padding and are never read.
    starts: bool [T, B] or None: the first steps, in time, of pieces that know nothing of what lies before them. Marks in the
        padding mean nothing.
    restart: the state from which a piece starts, [width] for each part; zero where None. `initial` belongs to the piece walked
        first, unless `starts` marks its first step where that is the step walked first.
    reverse: walk each row from its last real step to its first.
    """

    inputs: tuple[Tensor, ...]
    initial: tuple[Tensor | None, ...]
    lengths: Tensor | None = None
    starts: Tensor | None = None
    restart: tuple[Tensor | None, ...] = ()
    reverse: bool = False


class Walk(NamedTuple):
    """What a forward call leaves: the outputs [T, B, width] (zero in the padding), each row's last state [B, width] by part,
    and the series of `Program.kept` (anything in the padding; empty where nothing was to be kept)."""

    outputs: tuple[Tensor, ...]
    final: tuple[Tensor, ...]
    kept: tuple[Tensor, ...]


class Upstream(NamedTuple):
    """∂L/∂ what a forward call returned: the outputs [T, B, width] and the last states [B, width]; None stands for zero."""

    outputs: tuple[Tensor | None, ...]
    final: tuple[Tensor | None, ...]


class Needs(NamedTuple):
    """Which gradients are wanted, tensor by tensor of a `Recurrence` and a `Batch`."""

    inputs: tuple[bool, ...]
    weights: tuple[bool, ...]
    initial: tuple[bool, ...]
    restart: tuple[bool, ...] = ()


class Gradients(NamedTuple):
    """The gradients that were wanted, shaped like their tensors; None for the others."""

    inputs: tuple[Tensor | None, ...]
    weights: tuple[Tensor | None, ...]
    initial: tuple[Tensor | None, ...]
    restart: tuple[Tensor | None, ...]
