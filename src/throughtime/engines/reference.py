"""The textbook's recurrence, in loops of plain torch operations: any dtype, any device, differentiable, judge of the others.

    forward    a_t = U x_t + W s_{t-1} + b          s_t = σ(a_t)
    backward   ∂L/∂s_t = (what reaches s_t from its own step) + Wᵀ δ_{t+1}        δ_t = ∂L/∂a_t = σ'(a_t) ⊙ ∂L/∂s_t

Time comes first: x [T, B, n] or symbols [T, B]; states and δ [T, B, d]; s0, final and their gradients [B, d]. `lengths` is an
int64 tensor [B] or None when every row has T steps. With `reverse`, a row is walked from its last real step to its first.
Outside a row's length states and δ are zero, and x is never read. σ' is computed from the state: all four σ allow it.

Source: Elman (1990); Werbos (1990), "Backpropagation through time: what it does and how to do it".
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid, "identity": lambda a: a}
"""σ(a) by name."""

SIGMA_PRIME = {
    "tanh": lambda s: 1 - s * s,
    "relu": lambda s: (s > 0).to(s.dtype),
    "logistic": lambda s: s * (1 - s),
    "identity": torch.ones_like,
}
"""σ'(a) by name, as a function of the state s = σ(a)."""


def forward(
    x: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor | None,
    s0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence. Returns the states [T, B, d] and each row's final state [B, d]."""
    T, B = x.shape[:2]
    s = U.new_zeros(B, W.shape[0]) if s0 is None else s0
    states: list[Tensor] = [s] * T
    for t in _order(T, reverse):
        real = _real(t, lengths, s)
        a = _input_part(x[t], U, real) + s @ W.T
        if b is not None:
            a = a + b
        s_t = SIGMA[nonlinearity](a)
        states[t] = s_t.where(real, 0.0)
        s = s_t.where(real, s)  # a finished (or not yet begun) row keeps its state
    return torch.stack(states), s if T else s.clone()


def backward(
    dstates: Tensor | None,
    dfinal: Tensor | None,
    states: Tensor,
    W: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Walk the steps in the opposite order. Returns δ [T, B, d] and ∂L/∂s_0 [B, d].

    `dstates` [T, B, d] is what each loss sends to the state of its own step, `dfinal` [B, d] what reaches the final state from
    outside; None stands for zero.
    """
    T = states.shape[0]
    ds = torch.zeros_like(states[0]) if dfinal is None else dfinal
    delta: list[Tensor] = [ds] * T
    for t in _order(T, not reverse):
        real = _real(t, lengths, ds)
        reaching = ds if dstates is None else ds + dstates[t].where(real, 0.0)
        delta_t = (SIGMA_PRIME[nonlinearity](states[t]) * reaching).where(real, 0.0)
        delta[t] = delta_t
        ds = (delta_t @ W).where(real, ds)
    return torch.stack(delta), ds


def _order(T: int, reverse: bool) -> range:
    return range(T - 1, -1, -1) if reverse else range(T)


def _real(t: int, lengths: Tensor | None, like: Tensor) -> Tensor:
    """Which rows have a step t: bool [B, 1]."""
    if lengths is None:
        return torch.ones(1, 1, dtype=torch.bool, device=like.device)
    return (t < lengths).to(like.device).unsqueeze(1)


def _input_part(x_t: Tensor, U: Tensor, real: Tensor) -> Tensor:
    """U x_t [B, d]; a symbol is a one-hot vector, so its product is a column of U."""
    if x_t.is_floating_point():
        return x_t.where(real, 0.0) @ U.T
    return U.T[x_t.where(real.squeeze(1), 0).long()]
