"""What goes into a trace, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.programs.program import Program


class Shape(NamedTuple):
    """What a tensor of the step is: its shape behind the batch, and its dtype."""

    size: tuple[int, ...]
    dtype: torch.dtype


class Signature(NamedTuple):
    """What a step takes besides parameters and buffers: x, then the drives; and the parts of the state."""

    inputs: tuple[Shape, ...]
    state: tuple[Shape, ...]


Step = Callable[
    [Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], tuple[list[Tensor], list[Tensor]]
]
"""step(parameters, buffers, inputs, state) -> (outputs, parts of the new state)."""


class Traced(NamedTuple):
    """A step as a program; `weights(parameters, buffers)`: its matrices and parameters, under autograd; the shapes of the
    outputs and of the state's parts; whether a derivative is the user's own (then the program's second derivatives are not the
    step's)."""

    program: Program
    weights: Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]]
    outputs: list[Shape]
    state: list[Shape]
    surrogate: bool


class Naming(NamedTuple):
    """What a program and its vectors are called."""

    program: str
    inputs: tuple[str, ...]
    state: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
