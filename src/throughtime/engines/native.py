"""The compiled engine for the CPU: the sweeps of `reference`, and what is faster when fused with them.

    forward          a_t = U x_t + W s_{t-1} + b        s_t = σ(a_t)
    backward         δ_t = σ'(a_t) ⊙ (∂L/∂s_t + Wᵀ δ_{t+1})
    gradients        dU = Σ δ_t x_tᵀ    dW = Σ δ_t s_{t-1}ᵀ    db = Σ δ_t    dx_t = Uᵀ δ_t    ds_0 = Wᵀ δ_1
    learning_step    L = Σ −log softmax(V s_t + c)[y_t] / (B or the counted steps), and the gradients of all parameters

Shapes, time first (with `batch_first`, T and B trade places): x [T, B, n] float or [T, B] int64 symbols; U [d, n]; W [d, d];
b [d]; V [k, d]; c [k]; states, δ [T, B, d]; s0, final [B, d]; y [T, B] int64, −100 ignored; lengths [B] int64 or None. float32
or float64, all tensors of one call alike.

Accuracy and order of sums. A state is summed over b, x_1 … x_n, s_1 … s_d, in this order: its bits depend on its own row alone,
on no other row, padding or number of threads. Gradients are summed over chunks of some 256 rows, the chunks of a thread's rows
in turn, and then over the threads: two calls with the same number of threads give the same bits, another number changes the
last ones. The loss is summed in double. During a call denormal numbers count as zero.

Memory beyond inputs and outputs, in numbers (rows are padded to whole vectors): once per call the weights in the layouts of
their products, at most 2 d (n + d + k); at most two sets of gradients per thread, d (n + d + k) each; per thread the rows of a
chunk, at most 256 (n + 4 d + k), and in learning_step the states of the rows that are walked together, at most 64 (T + 1) d.
Up to 256 MiB of it are kept for the next call; `release_memory` gives them back.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from throughtime.core.layout import new_like

try:
    _native: Any = import_module("throughtime._native")
except ImportError as error:
    load_error: str | None = str(error)
else:
    load_error = None
    _CODES = {name: code for code, name in enumerate(_native.NONLINEARITIES)}


num_threads: int | None = None
"""How many threads a call may use; None: as many as PyTorch."""


def isa() -> str:
    """The instruction set in use: "avx512", "avx2", "baseline" or "neon"; THROUGHTIME_ISA=… forces one that is supported."""
    return _native.isa()


def supported() -> list[str]:
    """The instruction sets that were built and that this processor has, best first."""
    return _native.supported()


def release_memory() -> None:
    """Give the scratch memory kept between calls back to the system."""
    _native.trim()


def forward(
    x: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor | None,
    s0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
    batch_first: bool = False,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence. Returns the states [T, B, d], contiguous, and each row's final state [1, B, d]. `b_hh` [d] is added
    to b."""
    net, _keep = _net(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh)
    _, T, B, _, d = net[:5]
    states = W.new_empty((B, T, d) if batch_first else (T, B, d))
    final = W.new_empty((1, B, d))
    _native.forward(*net, _address(states), *_distances(states, batch_first), _address(final))
    return states, final


def backward(
    dstates: Tensor | None,
    dfinal: Tensor | None,
    states: Tensor,
    W: Tensor,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Walk the steps in the opposite order. Returns δ [T, B, d] and ∂L/∂s_0 [B, d]."""
    T, B, d = states.shape
    delta, ds0 = W.new_empty((T, B, d)), W.new_empty((B, d))
    x, U = states[:, :, :1], W[:, :1]  # not read: nothing that depends on them is asked for
    net, _keep = _net(x, U, W, None, None, lengths, nonlinearity, reverse, False)
    upstream, _also = _upstream(dstates, dfinal, states, False)
    _native.backward(*net, *upstream, _address(delta), 0, 0, 0, 0, 0, 0, _address(ds0))
    return delta, ds0


def gradients(
    dstates: Tensor | None,
    dfinal: Tensor | None,
    states: Tensor,
    x: Tensor,
    U: Tensor,
    W: Tensor,
    s0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
    needs: tuple[bool, bool, bool, bool, bool] | list[bool],
    batch_first: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x (laid out like it), U, W, b and s_0, None where `needs` says no. Upstream as in `backward`."""
    needs_x, needs_U, needs_W, needs_b, needs_s0 = needs
    net, keep = _net(x, U, W, None, s0, lengths, nonlinearity, reverse, batch_first)
    B, n, d = net[2:5]
    _, U, W, *_ = keep  # contiguous, and so what is made like them; empty_like is the quickest way to a new tensor
    dx = new_like(x, W, n) if needs_x else None
    dU = torch.empty_like(U) if needs_U else None
    dW = torch.empty_like(W) if needs_W else None
    db = W.new_empty(d) if needs_b else None
    ds0 = W.new_empty((B, d)) if needs_s0 else None
    upstream, _also = _upstream(dstates, dfinal, states, batch_first)
    steps, rows = (0, 0) if dx is None else _distances(dx, batch_first)
    _native.backward(
        *net, *upstream, 0, _address(dx), steps, rows, _address(dU), _address(dW), _address(db), _address(ds0)
    )
    return dx, dU, dW, db, ds0


def learning_step(
    x: Tensor,
    y: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor | None,
    V: Tensor,
    c: Tensor,
    s0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reduction: str,
    needs: tuple[bool, bool] = (False, False),
    gradients: bool = True,
    carry: bool = True,
) -> tuple[Any, ...]:
    """Loss (scalar, summed in double), final [B, d] (None without `carry`), then dU, dW, db, dV, dc, dx, ds_0 (the last two as
    `needs` says; all None without `gradients`)."""
    net, keep = _net(x, U, W, b, s0, lengths, nonlinearity, reverse=False, batch_first=False)
    T, B, n, d = net[1:5]
    k = V.shape[0]
    V, c = _whole(V), _whole(c)
    _check_shape("V", V, (k, d), W.dtype)
    _check_shape("c", c, (k,), W.dtype)
    _check_shape("y", y, (T, B), torch.int64)
    final = W.new_empty((B, d)) if carry else None
    found: list[Tensor | None] = [None] * 7
    steps = rows = 0
    if gradients:
        _, U, W, b, *_ = keep
        found = [torch.empty_like(t) for t in (U, W, W[0] if b is None else b, V, c)]
        dx = new_like(x, W, n) if needs[0] else None
        if dx is not None:
            steps, rows = dx.stride()[:2]
        found += [dx, W.new_empty((B, d)) if needs[1] else None]
    *to_parameters, to_x, to_s0 = map(_address, found)
    loss = _native.learning_step(
        *net, k, _address(V), _address(c), _address(y), *y.stride(), reduction == "token",
        _address(final), to_x, steps, rows, *to_parameters, to_s0,
    )  # fmt: skip
    return torch.scalar_tensor(loss, dtype=W.dtype), final, *found


# --- from tensors to addresses: every shape, type and stride that the kernel relies on is checked here -----------------


def _net(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh=None):
    """The arguments that all calls share, and the tensors that must live until the call is over."""
    outer, inner = x.shape[:2]
    T, B = (inner, outer) if batch_first else (outer, inner)
    d, n = U.shape
    dtype = W.dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        raise TypeError(f"W: expected float32 or float64, found {dtype}")
    symbols = x.dim() == 2
    x = x.long() if symbols else _rows(x)
    U, W = _whole(U), _whole(W)
    _check_shape("x", x, (outer, inner) if symbols else (outer, inner, n), torch.int64 if symbols else dtype)
    _check_shape("U", U, (d, n), dtype)
    _check_shape("W", W, (d, d), dtype)
    if b is not None:
        b = _whole(b)
        _check_shape("b", b, (d,), dtype)
    if b_hh is not None:
        b_hh = _whole(b_hh)
        _check_shape("b_hh", b_hh, (d,), dtype)
    if s0 is not None:
        s0 = _rows(s0)
        _check_shape("s0", s0, (B, d), dtype)
    if lengths is not None:
        lengths = lengths.contiguous()
        _check_shape("lengths", lengths, (B,), torch.int64)
    arguments = (
        dtype is torch.float64, T, B, n, d, _address(x), *_distances(x, batch_first), symbols, _address(U), _address(W),
        _address(b), _address(b_hh), _address(s0), 0 if s0 is None else s0.stride(0), _address(lengths), reverse,
        _CODES[nonlinearity], num_threads or torch.get_num_threads(),
    )  # fmt: skip
    return arguments, (x, U, W, b, b_hh, s0, lengths)


def _upstream(dstates, dfinal, states, batch_first):
    states = _rows(states)
    steps = rows = final_rows = 0
    if dstates is not None:
        dstates = _rows(dstates)
        _check_shape("dstates", dstates, states.shape, states.dtype)
        steps, rows = _distances(dstates, batch_first)
    if dfinal is not None:
        dfinal = _rows(dfinal)
        B = states.shape[0 if batch_first else 1]
        _check_shape("dfinal", dfinal, (1, B, states.shape[2])[3 - dfinal.dim() :], states.dtype)
        final_rows = dfinal.stride(-2)
    arguments = (
        _address(states), *_distances(states, batch_first), _address(dstates), steps, rows, _address(dfinal), final_rows,
    )  # fmt: skip
    return arguments, (states, dstates, dfinal)


def _address(t: Tensor | None) -> int:
    """Of a tensor's first element; 0 for none, and for none alone."""
    return 0 if t is None else t.data_ptr() or _refuse(t)


def _refuse(t: Tensor) -> int:
    raise ValueError(f"expected a tensor with memory of its own, found {type(t).__name__} of shape {list(t.shape)}")


def _distances(t: Tensor, batch_first: bool) -> tuple[int, int]:
    """From a step to the next, and from an instance to the next."""
    outer, inner = t.stride()[:2]
    return (inner, outer) if batch_first else (outer, inner)


# What is lazy in a tensor, PyTorch's negative bit and its zeros without memory, is resolved in the two functions that follow.


def _whole(t: Tensor) -> Tensor:
    """A contiguous tensor whose memory holds its values."""
    if t.is_neg() or t._is_zerotensor():
        return t.clone(memory_format=torch.contiguous_format)
    return t.contiguous()


def _rows(t: Tensor) -> Tensor:
    """A tensor whose memory holds its values and whose last dimension is contiguous; the others may have any strides."""
    if t.is_neg() or t._is_zerotensor():
        return t.clone(memory_format=torch.contiguous_format)
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def _check_shape(name: str, t: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if t.shape != shape or t.dtype is not dtype or not t.is_cpu:
        raise ValueError(
            f"{name}: expected {list(shape)} {dtype} on the CPU, found {list(t.shape)} {t.dtype} on {t.device}"
        )
