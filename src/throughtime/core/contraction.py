"""From δ to the gradients: the contraction over steps that training sums and the anatomy keeps apart.

    ∂L/∂W = Σ_t δ_t s_{t-1}ᵀ      ∂L/∂U = Σ_t δ_t x_tᵀ      ∂L/∂b = Σ_t δ_t      ∂L/∂x_t = Uᵀ δ_t
    ∂L/∂V = Σ_t e_t s_tᵀ          ∂L/∂c = Σ_t e_t           (e_t carries the loss's normaliser)

Layout: δ, states [T, B, d]; x [T, B, n] or symbols [T, B]; e [T, B, k]. With `reverse`, "the step before" is the one walked
before: s_{t+1}. Source: Werbos (1990).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.core.notation import real_steps


class Gradients(NamedTuple):
    """The gradient of the loss by each tensor; each has that tensor's shape, None where it was not asked for."""

    U: Tensor
    W: Tensor
    b: Tensor
    V: Tensor
    c: Tensor
    x: Tensor | None = None
    s0: Tensor | None = None

    def __repr__(self) -> str:
        known = ((name, value) for name, value in self._asdict().items() if value is not None)
        shown = (f"{name} {list(value.shape)} of norm {float(value.detach().norm()):.3g}" for name, value in known)
        return f"Gradients({', '.join(shown)})"


def previous_states(states: Tensor, s0: Tensor | None, lengths: Tensor | None, reverse: bool) -> Tensor:
    """The state that each step started from, [T, B, d]: s_{t-1}, with s_0 (zero where None) before a row's first step."""
    first = torch.zeros_like(states[:1]) if s0 is None else s0.to(states.dtype).expand_as(states[0]).unsqueeze(0)
    if not reverse:
        return torch.cat([first, states[:-1]])
    before = torch.cat([states[1:], torch.zeros_like(states[:1])])
    if s0 is None:
        return before
    T, B = states.shape[:2]
    last = torch.full((B,), T - 1, device=states.device) if lengths is None else lengths.to(states.device) - 1
    starts = torch.arange(T, device=states.device).unsqueeze(1) == last
    return first.where(starts.unsqueeze(-1), before)


def contract(delta: Tensor, inputs: Tensor) -> Tensor:
    """Σ δ ⊗ input over the second axis from the end: [..., S, d] and [..., S, n] -> [..., d, n].

    With all steps of all instances on that axis it is the gradient of training. With the steps that are kept together on it and
    those kept apart on the axes before, it is the anatomy's: the paths of one lag, or (S = 1) one path alone.
    """
    return delta.mT @ inputs


def recurrent_gradient(delta: Tensor, previous: Tensor) -> Tensor:
    """∂L/∂W [d, d] = Σ_t δ_t s_{t-1}ᵀ."""
    return contract(delta.flatten(0, 1), previous.flatten(0, 1))


def input_gradient(delta: Tensor, x: Tensor, lengths: Tensor | None, n: int) -> Tensor:
    """∂L/∂U [d, n] = Σ_t δ_t x_tᵀ; for symbols, each δ_t is added to its symbol's column."""
    if lengths is not None:  # padding may hold NaN or any integer, and 0 · NaN is not 0
        real = real_steps(x.shape[0], lengths, x.device).T
        x = x.where(real if x.dim() == 2 else real.unsqueeze(-1), 0)
    flat = delta.flatten(0, 1)
    if x.is_floating_point():
        return contract(flat, x.flatten(0, 1))
    return flat.new_zeros(n, flat.shape[1]).index_add(0, x.flatten().long(), flat).T


def bias_gradient(delta: Tensor) -> Tensor:
    """∂L/∂b [d] = Σ_t δ_t; with e in δ's place, ∂L/∂c [k]."""
    return delta.sum((0, 1))
