"""Zoneout: units that keep their state, at random, while training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Zoneout(nn.Module):
    """A cell of which each unit keeps the state that it had with probability p; afterwards, the mean of both.

        training     h_t = mask ⊙ h_{t-1} + (1 − mask) ⊙ cell(x_t, h_{t-1})        mask drawn for every step (`masks`), a drive
        evaluation   h_t = p h_{t-1} + (1 − p) cell(x_t, h_{t-1})

    Args:
        cell: whose state is a tensor, or a tuple of them, all of one width.
        p: the probability.

    Source: Krueger et al. (2017), "Zoneout: regularizing RNNs by randomly preserving hidden activations".

    Example: `layer(x, drives=zoneout.masks(x, d))` with `layer = Recurrent(zoneout)`.
    """

    def __init__(self, cell: nn.Module, p: float = 0.1) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p: expected a probability below 1, found {p!r}")
        self.cell, self.p = cell, p

    def masks(self, x: Tensor, width: int) -> tuple[Tensor, ...]:
        """The drive of a call over x [T, B, …], drawn anew: [T, B, width] while training, none afterwards."""
        if not self.training:
            return ()
        return (torch.rand(*x.shape[:2], width, device=x.device) < self.p,)

    def forward(self, x: Tensor, state: Any = None, mask: Tensor | None = None) -> Any:
        after = self.cell(x, state)
        if state is None:
            state = torch.zeros_like(after) if isinstance(after, Tensor) else tuple(torch.zeros_like(a) for a in after)
        keep = self.p if mask is None else mask.to(x.dtype)
        if isinstance(after, Tensor):
            return keep * state + (1 - keep) * after
        return tuple(keep * s + (1 - keep) * a for s, a in zip(state, after, strict=True))
