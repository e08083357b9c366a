"""The gated recurrent unit as a program; gates in torch's order: reset, update, candidate.

    forward    r = sigmoid(U_r x_t + W_r h_{t-1} + b_r)        z = sigmoid(U_z x_t + W_z h_{t-1} + b_z)
               n = tanh(U_n x_t + b_in + r ⊙ (W_n h_{t-1} + b_hn))                  reset after the product (torch, cuDNN)
               n = tanh(U_n x_t + b_in + W_n (r ⊙ h_{t-1}) + b_hn)                  reset before it (the paper's first version)
               h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}
    backward   ∂n = ∂h ⊙ (1 − z)        ∂z = ∂h ⊙ (h_{t-1} − n)        δ = ∂L/∂(pre-activation) by gate
               ∂h_{t-1} = z ⊙ ∂h + Wᵀ δ, where the reset gate stands between W_n and its δ, or between W_n and h

Sources: Cho et al. (2014), "Learning phrase representations using RNN encoder–decoder"; the form with the reset after the
product is cuDNN's and torch.nn.GRU's.
"""

from __future__ import annotations

from functools import lru_cache

from throughtime.programs.program import Program
from throughtime.programs.text import parse


@lru_cache
def gru(n: int, d: int, bias: bool = True, reset_after: bool = True) -> Program:
    """The program of n inputs and d units."""
    r, z, c, rz = f"[0:{d}]", f"[{d}:{2 * d}]", f"[{2 * d}:{3 * d}]", f"[0:{2 * d}]"
    U_rz, U_n = f"U[0:{2 * d}, 0:{n}]", f"U[{2 * d}:{3 * d}, 0:{n}]"
    W_rz, W_n = f"W[0:{2 * d}, 0:{d}]", f"W[{2 * d}:{3 * d}, 0:{d}]"
    if reset_after:
        candidate = f"""
        hn = {W_n} @ h {f"+ b_hh{c}" if bias else ""}
        xn = {U_n} @ x {f"+ b_ih{c}" if bias else ""}
        new = tanh(xn + rz{r} * hn)
        """
        back = f"""
        dx_a{c} = tanh_backward(dh * (1 - rz{z}), new)
        dx_a{r} = sigmoid_backward(dx_a{c} * hn, rz{r})
        dx_a{z} = sigmoid_backward(dh * (h - new), rz{z})
        dh_a{rz} = copy(dx_a{rz})
        dh_a{c} = dx_a{c} * rz{r}
        product = W.T @ dh_a
        dh_before = product + dh * rz{z}
        """
        gradients = "W: dh_a @ h.T\n" + ("b_hh: dh_a" if bias else "")
    else:
        candidate = f"""
        rh = rz{r} * h
        an = {U_n} @ x + {W_n} @ rh {f"+ b_ih{c} + b_hh{c}" if bias else ""}
        new = tanh(an)
        """
        back = f"""
        dx_a{c} = tanh_backward(dh * (1 - rz{z}), new)
        drh = {W_n}.T @ dx_a{c}
        dx_a{r} = sigmoid_backward(drh * h, rz{r})
        dx_a{z} = sigmoid_backward(dh * (h - new), rz{z})
        product = {W_rz}.T @ dx_a{rz}
        dh_before = product + (dh * rz{z} + drh * rz{r})
        """
        gradients = f"{W_rz}: dx_a{rz} @ h.T\n{W_n}: dx_a{c} @ rh.T\n" + ("b_hh: dx_a" if bias else "")
    return parse(f"""
        gru
        inputs x[{n}]
        state h[{d}]
        matrices U[{3 * d}, {n}] W[{3 * d}, {d}]
        parameters {f"b_ih[{3 * d}] b_hh[{3 * d}]" if bias else ""}
        forward
        a = {U_rz} @ x + {W_rz} @ h {f"+ b_ih{rz} + b_hh{rz}" if bias else ""}
        rz = sigmoid(a)
        {candidate}
        new_h = new + rz{z} * (h - new)
        outputs new_h
        next new_h
        upstream dy[{d}] dnext[{d}]
        backward
        dh = dy + dnext
        {back}
        dx = U.T @ dx_a
        gradients
        x: dx
        h: dh_before
        U: dx_a @ x.T
        {"b_ih: dx_a" if bias else ""}
        {gradients}
    """)
