"""A model that follows a sequence as it comes, one step at a time, without gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime.models.states import State, each


class Stream:
    """What a `SequenceModel` says after each step of B sequences: see `SequenceModel.stream`.

    Attributes:
        state: what is known of the steps so far, shaped as the model's initial state; None before the first step.
    """

    def __init__(self, model: Any, state: State | None) -> None:
        self.model = model
        self.state = None if state is None else each(Tensor.detach, state)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """What the model says at the next step, [B, k].

        Args: x: integer symbols [B], or (without an embedding) floats [B, n]; for a `WordEncoder` integers [B, …].

        Raises: TypeError, ValueError: x is no such step, or has another B than the state.
        """
        z, self.state = self.model(x.unsqueeze(1), s0=self.state, return_state=True)
        return z if z.dim() == 2 else z.squeeze(1)

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget what has been: everything, or of the rows that a bool [B] marks."""
        if rows is None:
            self.state = None
        elif self.state is not None:
            self.state = each(lambda part: part.masked_fill(rows.unsqueeze(-1), 0), self.state)
