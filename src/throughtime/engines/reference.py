"""The textbook's recurrence, in loops of plain torch operations: any dtype, any device, differentiable, judge of the others.

    forward    a_t = U x_t + W s_{t-1} + b          s_t = σ(a_t)
    backward   ∂L/∂s_t = (what reaches s_t from its own step) + Wᵀ δ_{t+1}        δ_t = ∂L/∂a_t = σ'(a_t) ⊙ ∂L/∂s_t

Time comes first: x [T, B, n] or symbols [T, B]; states and δ [T, B, d]; s0, final and their gradients [B, d]. `lengths` is an
int64 tensor [B] or None when every row has T steps. With `reverse`, a row is walked from its last real step to its first.
Without s_0 the first step has no product with W. Outside a row's length states and δ are zero, and x is never read. σ' is
computed from the state: all four σ allow it.

Source: Elman (1990); Werbos (1990), "Backpropagation through time: what it does and how to do it".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid, "identity": lambda a: a}
"""σ(a) by name."""

SIGMA_PRIME = {
    "tanh": lambda s: 1 - s * s,
    "relu": lambda s: (~(s <= 0)).to(s.dtype),  # a NaN passes the gradient on, as PyTorch's does
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
    """Run the recurrence. Returns the states [T, B, d], contiguous, and each row's final state [B, d]."""
    T, B = x.shape[:2]
    real = _real_steps(T, lengths, U.device)
    inputs = _input_part(x, U, real)
    if b is not None:
        inputs = inputs + b
    s = U.new_zeros(B, W.shape[0]) if s0 is None else s0
    reached = s0 is not None  # by a state; nothing is added where none came before
    states: list[Tensor] = [s] * T
    for t in _order(T, reverse):
        s_t = SIGMA[nonlinearity](inputs[t] + s @ W.T if reached else inputs[t])
        reached = True
        if real is None:
            states[t] = s = s_t
        else:  # a finished (or not yet begun) row keeps its state
            states[t] = s_t.where(real[t], 0.0)
            s = s_t.where(real[t], s)
    return torch.stack(states), s


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

    `dstates` [T, B, d] is what each loss sends to the state of its own step, `dfinal` [B, d] what reaches the final state
    from outside; None stands for zero.
    """
    T = states.shape[0]
    real = _real_steps(T, lengths, W.device)
    slopes = SIGMA_PRIME[nonlinearity](states)
    ds = torch.zeros_like(states[0]) if dfinal is None else dfinal
    delta: list[Tensor] = [ds] * T
    for t in _order(T, not reverse):
        reaching = ds if dstates is None else ds + dstates[t]
        delta_t = slopes[t] * reaching
        if real is None:
            delta[t], ds = delta_t, delta_t @ W
        else:
            delta[t] = delta_t.where(real[t], 0.0)
            ds = (delta_t @ W).where(real[t], ds)
    return torch.stack(delta), ds


def _order(T: int, reverse: bool) -> range:
    return range(T - 1, -1, -1) if reverse else range(T)


def _real_steps(T: int, lengths: Tensor | None, device: torch.device) -> Tensor | None:
    """Which rows have a step t: bool [T, B, 1]; None where every row has all."""
    if lengths is None:
        return None
    return (torch.arange(T, device=device).unsqueeze(1) < lengths.to(device)).unsqueeze(-1)


def _input_part(x: Tensor, U: Tensor, real: Tensor | None) -> Tensor:
    """U x_t of every step [T, B, d]; a symbol is a one-hot vector, so its product is a column of U."""
    if real is not None:  # padding may hold NaN or any integer
        x = x.where(real if x.dim() == 3 else real.squeeze(-1), 0)
    return x @ U.T if x.is_floating_point() else F.embedding(x.long(), U.T)
