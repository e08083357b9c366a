"""What the cells share: sizes, and the state that stands for "none given"."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.core.notation import check_size


class Cell(nn.Module):
    """One step of a recurrence of n inputs and d units, whose state has `parts` parts [B, d].

    Args:
        input_size, hidden_size: n and d.

    Raises: TypeError, ValueError: a size that is no whole number of at least 1.
    """

    parts = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)

    def begin(self, x: Tensor, state: object) -> tuple[Tensor, ...]:
        """The parts of a state: zero where None."""
        if state is None:
            return (torch.zeros(len(x), self.hidden_size, dtype=x.dtype, device=x.device),) * self.parts
        return state if isinstance(state, tuple) else (state,)  # type: ignore[return-value]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


def inputs(n: int, width: int) -> nn.Linear:
    """U x + b: `width` sums over n inputs."""
    return nn.Linear(n, width)


def states(d: int, width: int) -> nn.Linear:
    """W h, drawn within ± 1/√d."""
    layer = nn.Linear(d, width, bias=False)
    nn.init.uniform_(layer.weight, -(d**-0.5), d**-0.5)
    return layer
