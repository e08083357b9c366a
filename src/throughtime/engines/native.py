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
    outer, inner = x.shape[:2]
    d = W.shape[0]
    states, final = W.new_empty(outer, inner, d), W.new_empty(1, outer if batch_first else inner, d)
    _run(
        _native.forward,
        (x, U, W, b, b_hh, s0, lengths),
        (nonlinearity, reverse, batch_first),
        (),
        None,
        (states, final),
    )
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
    delta, ds0 = W.new_empty(T, B, d), W.new_empty(B, d)
    x, U = states[:, :, :1], W[:, :1].contiguous()  # not read: nothing that depends on them is asked for
    tensors = x, U, W, None, None, None, lengths
    options, found = (nonlinearity, reverse, False), (delta, None, None, None, None, ds0)
    _run(_native.backward, tensors, options, (states, dstates, dfinal), _check_upstream, found)
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
    d, n = U.shape
    dx = new_like(x, W, n) if needs_x else None
    dU = W.new_empty(d, n) if needs_U else None
    dW = W.new_empty(d, d) if needs_W else None
    db = W.new_empty(d) if needs_b else None
    ds0 = W.new_empty(x.shape[0 if batch_first else 1], d) if needs_s0 else None
    tensors = x, U, W, None, None, s0, lengths
    options, found = (nonlinearity, reverse, batch_first), (None, dx, dU, dW, db, ds0)
    _run(_native.backward, tensors, options, (states, dstates, dfinal), _check_upstream, found)
    return found[1:]


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
    (d, n), k, B = U.shape, V.shape[0], x.shape[1]
    final = W.new_empty(B, d) if carry else None
    found: list[Tensor | None] = [None] * 7
    if gradients:
        found = [W.new_empty(*shape) for shape in ((d, n), (d, d), (d,), (k, d), (k,))]
        found += [new_like(x, W, n) if needs[0] else None, W.new_empty(B, d) if needs[1] else None]
    tensors, options = (x, U, W, b, None, s0, lengths), (nonlinearity, False, False)
    given = V, c, y, reduction == "token"
    loss = _run(_native.learning_step, tensors, options, given, _check_readout, (final, *found))
    return torch.scalar_tensor(loss, dtype=W.dtype), final, *found


# Sizes are passed one by one throughout: PyTorch takes half a microsecond longer to read them from a tuple.


# --- from tensors to what the kernel reads -----------------------------------------------------------------------------


def _run(call, net, options, given, check, outputs):
    """Call the kernel, which looks at every shape, type and stride. What it cannot read where it lies is copied, and what does
    not fit is named.

    net: x, U, W, b, b_hh, s0, lengths. options: nonlinearity, reverse, batch_first. given: what else it reads, and `check`, who
    names what is wrong in it. outputs: what it writes, made by the caller."""
    nonlinearity, reverse, batch_first = options
    rest = _CODES[nonlinearity], reverse, batch_first, num_threads or torch.get_num_threads()
    done = call(*net, *rest, *given, *outputs)
    if done is False or done is None:
        net, given = _readable(*net, batch_first), [_whole(t) if isinstance(t, Tensor) else t for t in given]
        if check is not None:
            check(net, batch_first, *given)
        done = call(*net, *rest, *given, *outputs)
        if done is False or done is None:
            raise RuntimeError("the kernel refused tensors that fit")  # its outputs would be what lay there before
    return done


def _check_upstream(net, batch_first, states, dstates, dfinal):
    x, _, W, *_ = net
    outer, inner = x.shape[:2]
    shape = outer, inner, W.shape[0]
    _check("states", states, shape, W.dtype)
    _check("dstates", dstates, shape, W.dtype)
    if dfinal is not None:
        of_rows = 1, outer if batch_first else inner, W.shape[0]
        _check("dfinal", dfinal, of_rows[3 - dfinal.dim() :], W.dtype)


def _check_readout(net, batch_first, V, c, y, per_token):
    x, _, W, *_ = net
    k = V.shape[0]
    _check("V", V, (k, W.shape[0]), W.dtype)
    _check("c", c, (k,), W.dtype)
    _check("y", y, x.shape[:2], torch.int64)


def _readable(x, U, W, b, b_hh, s0, lengths, batch_first):
    """The tensors of a recurrence, in memory that the kernel reads. Raises: TypeError, ValueError: what does not fit."""
    outer, inner = x.shape[:2]
    B = outer if batch_first else inner
    d, n = U.shape
    dtype = W.dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        raise TypeError(f"W: expected float32 or float64, found {dtype}")
    symbols = x.dim() == 2
    x = x.long() if symbols else _rows(x)
    U, W, b, b_hh = (None if t is None else _whole(t) for t in (U, W, b, b_hh))
    s0 = None if s0 is None else _rows(s0)
    lengths = None if lengths is None else lengths.contiguous()
    _check("x", x, (outer, inner) if symbols else (outer, inner, n), torch.int64 if symbols else dtype)
    _check("U", U, (d, n), dtype)
    _check("W", W, (d, d), dtype)
    for name, t, shape in (("b", b, (d,)), ("b_hh", b_hh, (d,)), ("s0", s0, (B, d))):
        _check(name, t, shape, dtype)
    _check("lengths", lengths, (B,), torch.int64)
    return x, U, W, b, b_hh, s0, lengths


def _lazy(t: Tensor) -> bool:
    """Whether the values are not what lies in memory: PyTorch's negative bit, and its zeros without memory.

    Raises: TypeError: a tensor without strides, such as a sparse one."""
    if t.layout is not torch.strided:
        raise TypeError(f"expected dense tensors, found one of shape {list(t.shape)} with layout {t.layout}")
    return t.is_neg() or t._is_zerotensor()


def _whole(t: Tensor) -> Tensor:
    """A contiguous tensor whose memory holds its values."""
    return t.clone(memory_format=torch.contiguous_format) if _lazy(t) else t.contiguous()


def _rows(t: Tensor) -> Tensor:
    """A tensor whose memory holds its values and whose last dimension is contiguous; the others may have any strides."""
    if _lazy(t):
        return t.clone(memory_format=torch.contiguous_format)
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def _check(name: str, t: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Refuse a tensor that is given and does not fit."""
    if t is None:
        return
    lost = "" if t.numel() == 0 or t.data_ptr() else "without memory "
    if t.shape != shape or t.dtype is not dtype or not t.is_cpu or lost:
        found = f"{list(t.shape)} {t.dtype} {lost}on {t.device}"
        raise ValueError(f"{name}: expected {list(shape)} {dtype} on the CPU, found {found}")
