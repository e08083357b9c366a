"""The minimal gated unit as a program: how little a further cell takes. Source: Zhou et al. (2016), "Minimal gated unit".

f = sigmoid(U_f x + W_f h + b_f)        n = tanh(U_n x + W_n (f ⊙ h) + b_n)        h_t = (1 − f) ⊙ h + f ⊙ n
"""

from throughtime.programs import Program, parse


def mgu(n: int, d: int) -> Program:
    """The program of n inputs and d units."""
    f, c = f"[0:{d}]", f"[{d}:{2 * d}]"
    W_f, W_n = f"W[0:{d}, 0:{d}]", f"W[{d}:{2 * d}, 0:{d}]"
    return parse(f"""
        mgu
        inputs x[{n}]
        state h[{d}]
        matrices U[{2 * d}, {n}] W[{2 * d}, {d}]
        parameters b[{2 * d}]
        forward
        forget = sigmoid(U[0:{d}, 0:{n}] @ x + {W_f} @ h + b{f})
        kept = forget * h
        new = tanh(U[{d}:{2 * d}, 0:{n}] @ x + {W_n} @ kept + b{c})
        new_h = h + forget * (new - h)
        outputs new_h
        next new_h
        upstream dy[{d}] dnext[{d}]
        backward
        dh = dy + dnext
        da{c} = tanh_backward(dh * forget, new)
        dkept = {W_n}.T @ da{c}
        da{f} = sigmoid_backward(dh * (new - h) + dkept * h, forget)
        product = {W_f}.T @ da{f}
        dh_before = product + (dh * (1 - forget) + dkept * forget)
        dx = U.T @ da
        gradients
        x: dx
        h: dh_before
        U: da @ x.T
        {W_f}: da{f} @ h.T
        {W_n}: da{c} @ kept.T
        b: da
    """)
