"""Variational dropout: one mask for all steps of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor


def variational_mask(x: Tensor, width: int, p: float, batch_first: bool = False) -> Tensor:
    """A mask for each sequence of x [T, B, …], as a drive of `Recurrent`: zero with probability p, else 1 / (1 − p).

        class Dropped(torch.nn.Module):
            def forward(self, x, h, mask):          # the same mask at every step
                return self.cell(x, h * mask)

        layer(x, drives=(tt.nn.variational_mask(x, d, 0.3),))

    Args:
        width: of the mask.
        p: the probability.
        batch_first: whether x is [B, T, …].

    Returns: [T, B, width] ([B, T, width] with `batch_first`), of stride 0 over T: no copy is made for the steps.

    Source: Gal & Ghahramani (2016), "A theoretically grounded application of dropout in recurrent neural networks".

    Raises: ValueError: no probability below 1.
    """
    if not 0 <= p < 1:
        raise ValueError(f"p: expected a probability below 1, found {p!r}")
    time, rows = (1, 0) if batch_first else (0, 1)
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    mask = torch.empty(x.shape[rows], width, dtype=dtype, device=x.device).bernoulli_(1 - p) / (1 - p)
    return mask.unsqueeze(time).expand(*x.shape[:2], width)
