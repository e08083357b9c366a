"""The textbook's recurrence as a program.

    forward    a_t = U x_t + W s_{t-1} + b              s_t = σ(a_t)
    backward   δ_t = ∂L/∂a_t = σ'(a_t) ⊙ ∂L/∂s_t        ∂L/∂s_{t-1} = Wᵀ δ_t        ∂L/∂x_t = Uᵀ δ_t

Source: Elman (1990), "Finding structure in time". The bias comes in torch.nn.RNN's two summands.
"""

from __future__ import annotations

from functools import lru_cache

from throughtime.programs.program import Program
from throughtime.programs.text import parse

SIGMA = {
    "tanh": ("tanh(a)", "tanh_backward(ds, new)"),
    "relu": ("relu(a)", "relu_backward(ds, new)"),
    "logistic": ("sigmoid(a)", "sigmoid_backward(ds, new)"),
    "identity": ("copy(a)", "copy(ds)"),
}
"""σ(a), and σ'(a) ⊙ ∂L/∂s by the state, by name."""


@lru_cache
def elman(n: int, d: int, bias: bool = True, nonlinearity: str = "tanh") -> Program:
    """The program of n inputs and d states."""
    value, back = SIGMA[nonlinearity]
    return parse(f"""
        elman
        inputs x[{n}]
        state s[{d}]
        matrices U[{d}, {n}] W[{d}, {d}]
        parameters {f"b_ih[{d}] b_hh[{d}]" if bias else ""}
        forward
        a = U @ x + W @ s {"+ b_ih + b_hh" if bias else ""}
        new = {value}
        outputs new
        next new
        upstream dy[{d}] dnext[{d}]
        backward
        ds = dy + dnext
        da = {back}
        dx = U.T @ da
        dbefore = W.T @ da
        gradients
        x: dx
        s: dbefore
        U: da @ x.T
        W: da @ s.T
        {"b_ih: da" if bias else ""}
        {"b_hh: da" if bias else ""}
    """)
