"""Long short-term memory as a program; gates in torch's order: input, forget, candidate, output.

    forward    a = U x_t + W h_{t-1} + b
               i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)        g = tanh(a_g)
               c_t = f ⊙ c_{t-1} + i ⊙ g                                 h_t = o ⊙ tanh(c_t), or P (o ⊙ tanh c_t)
    backward   ∂c_t = (what comes back to c_t) + ∂h_t ⊙ o ⊙ (1 − tanh² c_t)
               δ_i, δ_f, δ_g, δ_o = ∂L/∂a by gate                        ∂c_{t-1} = f ⊙ ∂c_t      ∂h_{t-1} = Wᵀ δ

The forget gate's path c_{t-1} → c_t crosses no matrix: the carousel. Sources: Hochreiter & Schmidhuber (1997), "Long short-term
memory"; Gers, Schmidhuber & Cummins (2000) for the forget gate; Sak, Senior & Beaufays (2014) for the projection.
"""

from __future__ import annotations

from functools import lru_cache

from throughtime.programs.program import Program
from throughtime.programs.text import parse


@lru_cache
def lstm(n: int, d: int, bias: bool = True, proj_size: int = 0) -> Program:
    """The program of n inputs and d units; with `proj_size`, h has that many, made by the matrix P."""
    r = proj_size or d
    i, f, g, o = (f"[{k * d}:{(k + 1) * d}]" for k in range(4))
    projection, dhidden = (f"P[{r}, {d}]", "dhidden") if proj_size else ("", "dh")
    return parse(f"""
        lstm
        inputs x[{n}]
        state h[{r}] c[{d}]
        matrices U[{4 * d}, {n}] W[{4 * d}, {r}] {projection}
        parameters {f"b_ih[{4 * d}] b_hh[{4 * d}]" if bias else ""}
        forward
        a = U @ x + W @ h {"+ b_ih + b_hh" if bias else ""}
        gate{i} = sigmoid(a{i})
        gate{f} = sigmoid(a{f})
        gate{g} = tanh(a{g})
        gate{o} = sigmoid(a{o})
        new_c = gate{f} * c + gate{i} * gate{g}
        q = tanh(new_c)
        {"hidden" if proj_size else "new_h"} = gate{o} * q
        {"new_h = P @ hidden" if proj_size else ""}
        outputs new_h
        next new_h new_c
        upstream dy[{r}] dnext_h[{r}] dnext_c[{d}]
        backward
        dh = dy + dnext_h
        {"dhidden = P.T @ dh" if proj_size else ""}
        dc = dnext_c + tanh_backward({dhidden} * gate{o}, q)
        da{i} = sigmoid_backward(dc * gate{g}, gate{i})
        da{f} = sigmoid_backward(dc * c, gate{f})
        da{g} = tanh_backward(dc * gate{i}, gate{g})
        da{o} = sigmoid_backward({dhidden} * q, gate{o})
        dc_before = dc * gate{f}
        dh_before = W.T @ da
        dx = U.T @ da
        gradients
        x: dx
        h: dh_before
        c: dc_before
        U: da @ x.T
        W: da @ h.T
        {"P: dh @ hidden.T" if proj_size else ""}
        {"b_ih: da" if bias else ""}
        {"b_hh: da" if bias else ""}
    """)
