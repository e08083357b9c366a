"""The one operator of the library: the recurrence over time, dispatched to an engine and known to PyTorch.

    throughtime::recurrence            x, U, W, b, s_0 -> all states and the final ones
    throughtime::recurrence_backward   ∂L/∂states, ∂L/∂final -> ∂L/∂x, ∂L/∂U, ∂L/∂W, ∂L/∂b, ∂L/∂s_0

Both have a schema, shape functions and a count of FLOPs, the first a derivative and an autocast rule (float32). Second and
higher derivatives are taken through the reference, from the inputs, so that they are exact under every engine. Which way a call
takes is told in `dispatch`.

Layout: x [T, B, n] or symbols [T, B]; states [T, B, d], contiguous; with `batch_first`, T and B trade places in all of these.
s0 [B, d]; final [1, B, d], as a layer's h_n; lengths int64 [B] or None. The gradient of x lies in memory like x.
Public arguments are checked by the callers (see `notation`), not here.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from throughtime.core import contraction
from throughtime.core.dispatch import (
    AT_ONCE,
    COMPOSITE,
    TRACED,
    derivatives,
    has_changed,
    one_by_one,
    saved_apart,
    set_aside,
    untransformed,
    way,
)
from throughtime.core.layout import laid_out_like, new_like
from throughtime.core.notation import check_choice, check_positive
from throughtime.engines import native, reference
from throughtime.operators import traced

# --- the choice of engine ------------------------------------------------------------------------------------------

ENGINES = ("auto", "native", "torch", "triton", "reference")
_chosen = "auto"
_told_missing = False


def set_engine(name: str) -> None:
    """Choose who runs the recurrence: "native" (CPU, float32 and float64), "torch" (PyTorch's own fused operators, for those
    layers of `throughtime.nn` that these know), "triton" (kernels made of programs, on NVIDIA GPUs: the layers of
    `throughtime.nn`), "reference" (anything), or "auto".

    "auto" is native for float32 and float64 tensors on the CPU; on CUDA, MPS and XPU it is "torch" for those layers; for all
    the rest it is the reference, which also stands in where "torch" has no such operator. What "triton" cannot run is an
    error.

    Raises: ValueError for another name; RuntimeError for "native" where the compiled module is missing, for "triton" where
        Triton is.
    """
    global _chosen
    check_choice("engine", name, ENGINES)
    if name == "native" and native.load_error is not None:
        raise RuntimeError(_missing())
    if name == "triton" and find_spec("triton") is None:
        raise RuntimeError('engine "triton": expected Triton to be installed: pip install "throughtime[gpu]"')
    _chosen = name


def get_engine() -> str:
    """The engine chosen with `set_engine`: "auto", "native", "torch", "triton" or "reference"."""
    return _chosen


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Use an engine within a `with` block: `with tt.engine("reference"): …`."""
    before = get_engine()
    set_engine(name)
    try:
        yield
    finally:
        set_engine(before)


def set_num_threads(threads: int | None) -> None:
    """Let the native engine use so many threads; None: as many as PyTorch, `torch.get_num_threads()`, which is the default.

    Raises: TypeError, ValueError: not a whole number of at least 1.
    """
    native.num_threads = None if threads is None else check_positive("threads", threads)


def _missing() -> str:
    return (
        f"the compiled engine is missing ({native.load_error}); "
        "install a C++ compiler and reinstall throughtime to get it: pip install --force-reinstall --no-deps throughtime"
    )


def engine_for(W: Tensor) -> ModuleType:
    """The engine module that runs a recurrence with these weights. Warns once where "auto" has to do without native."""
    global _told_missing
    if _chosen == "triton":
        raise RuntimeError('engine "triton": expected a layer of throughtime.nn, found an ElmanNetwork or its operator')
    if _chosen in ("reference", "torch"):  # torch's operators are whole layers', see `nn.fused`
        return reference
    suits = W.is_cpu and W.dtype in (torch.float32, torch.float64)
    if suits and native.load_error is None:
        return native
    if _chosen == "native":
        raise RuntimeError(f'engine "native": expected float32 or float64 on the CPU, found {W.dtype} on {W.device}')
    if suits:
        if os.environ.get("THROUGHTIME_REQUIRE_NATIVE") == "1":
            raise RuntimeError(_missing())
        if not _told_missing:
            _told_missing = True
            warnings.warn(f"using the slow reference engine: {_missing()}", RuntimeWarning, stacklevel=3)
    return reference


# --- the operator --------------------------------------------------------------------------------------------------

_library = torch.library.Library("throughtime", "DEF")
_library.define(
    "recurrence(Tensor x, Tensor U, Tensor W, Tensor? b, Tensor? s0, Tensor? lengths, str nonlinearity, bool reverse,"
    " bool batch_first=False, Tensor? b_hh=None) -> (Tensor, Tensor)"
)
_library.define(
    "recurrence_backward(Tensor? dstates, Tensor? dfinal, Tensor states, Tensor x, Tensor U, Tensor W, Tensor? s0,"
    " Tensor? lengths, str nonlinearity, bool reverse, bool[] needs, bool batch_first=False)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_recurrence = torch.ops.throughtime.recurrence.default
_recurrence_backward = torch.ops.throughtime.recurrence_backward.default
_below_autograd = torch._C._AutoDispatchBelowAutograd


def recurrence(
    x: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor | None = None,
    s0: Tensor | None = None,
    lengths: Tensor | None = None,
    nonlinearity: str = "tanh",
    reverse: bool = False,
    batch_first: bool = False,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """s_t = σ(U x_t + W s_{t-1} + b) over all steps; differentiable any number of times, in both modes.

    Args:
        x: [T, B, n] float, or integer symbols [T, B] in 0..n−1 (each a one-hot vector).
        U, W: [d, n], [d, d].
        b: [d], or None.
        s0: [B, d], or None for zero: then the first step has no product with W, which only a W that is not finite can tell.
        lengths: int64 [B] in 1..T, or None. Later steps are padding: their states are zero and x is not read there.
        nonlinearity: "tanh", "relu", "logistic" or "identity".
        reverse: walk each row from its last step to its first.
        batch_first: whether T and B trade places in x and in the states.
        b_hh: [d], to be added to b, as torch.nn.RNN has its bias in two summands; or None.

    Returns:
        states [T, B, d], contiguous, and the final state of each row [1, B, d].

    A single step from a given state is made of PyTorch's own operations: there is nothing to save.
    """
    call = x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh
    chosen = way((x, U, W, b, s0, b_hh))
    if chosen is AT_ONCE and not torch._C._is_any_autocast_enabled():
        if s0 is not None and x.shape[1 if batch_first else 0] == 1 and x.dim() == 3:
            return _one_step(x, U, W, b, s0, nonlinearity, batch_first, b_hh)
        return _apply_recurrence(*call) if torch.is_grad_enabled() else _forward(*call)
    if chosen is COMPOSITE:
        return _composite(*call)
    if chosen is TRACED:
        return traced.recurrence(*call)
    return _recurrence(*call)


def _one_step(x, U, W, b, s0, nonlinearity, batch_first, b_hh):
    b = b if b_hh is None else b + b_hh
    s = sigma(torch.addmm(F.linear(x[:, 0] if batch_first else x[0], U, b), s0, W.T), nonlinearity)
    return torch.stack((s,), int(batch_first)), torch.stack((s,))  # two of their own, to be changed in place at will


def _composite(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh):
    """The recurrence of PyTorch's own differentiable operations; float32 under autocast, as the operator."""
    device = W.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        x, U, W, b, s0, b_hh = map(_float32, (x, U, W, b, s0, b_hh))
        with torch.autocast(device, enabled=False):
            return _composite(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh)
    x = x.transpose(0, 1) if batch_first else x
    b = b if b_hh is None else b + b_hh
    if s0 is None and len(x) == 1 and torch.is_grad_enabled():
        s0 = W.new_zeros(x.shape[1], W.shape[0])  # for W to have a gradient, zero, as in torch.nn.RNN
    states, final = reference.forward(x, U, W, b, s0, lengths, nonlinearity, reverse)
    if batch_first:
        states = states.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    return states, final.unsqueeze(0).clone()


def _float32(t: Tensor | None) -> Tensor | None:
    return t if t is None or not t.is_floating_point() or t.dtype == torch.float64 else t.float()


def _engine(x: Tensor, W: Tensor) -> ModuleType:
    """The engine for a batch; the reference for an empty one, which leaves nothing to be fast at."""
    return engine_for(W) if x.numel() else reference


def _forward(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first=False, b_hh=None):
    run = native.forward if _engine(x, W) is native else _composite
    return run(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh)


def _backward(dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs, batch_first=False):
    engine = _engine(x, W)
    found = gradients(engine, dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs, batch_first)
    # A schema has no optional outputs, and the shape functions promise how they lie.
    dx, *others = (W.new_empty(0) if g is None else g for g in found)
    return laid_out_like(x, dx) if needs[0] else dx, *(g.contiguous() for g in others)


def gradients(engine, dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs, batch_first=False):
    """(∂x, ∂U, ∂W, ∂b, ∂s_0), None where `needs` says no: δ from the engine, then its contraction."""
    if engine is native:  # which fuses the two, so that δ stays in the cache
        return native.gradients(
            dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs, batch_first
        )
    if batch_first:
        dstates, states, x = map(_exchanged, (dstates, states, x))
    dfinal = None if dfinal is None else dfinal[0]
    delta, ds0 = engine.backward(dstates, dfinal, states, W, lengths, nonlinearity, reverse)
    needs_x, needs_U, needs_W, needs_b, needs_s0 = needs
    dx = delta @ U if needs_x else None
    return (
        _exchanged(dx) if batch_first else dx,
        contraction.input_gradient(delta, x, lengths, U.shape[1]) if needs_U else None,
        contraction.recurrent_gradient(delta, contraction.previous_states(states, s0, lengths, reverse))
        if needs_W
        else None,
        contraction.bias_gradient(delta) if needs_b else None,
        ds0 if needs_s0 else None,
    )


def _exchanged(t: Any) -> Any:
    """With T and B in each other's place; None stays None."""
    return None if t is None else t.transpose(0, 1)


def backward_sweep(
    dstates: Tensor,
    states: Tensor,
    W: Tensor,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> Tensor:
    """δ [T, B, d] of given states by the engine that trains: the backward sweep alone, before any sum over steps.

    Args:
        dstates: [T, B, d], what reaches each state from outside the recurrence.
        states: [T, B, d]; rows that share their states may have stride 0 over B.
        W, nonlinearity, reverse: as in `recurrence`.
    """
    with torch.no_grad():
        return engine_for(W).backward(dstates, None, states, W, None, nonlinearity, reverse)[0]


def sigma(a: Tensor, nonlinearity: str) -> Tensor:
    """σ(a) of pre-activations of any shape."""
    return reference.SIGMA[nonlinearity](a)


def slopes(states: Tensor, nonlinearity: str) -> Tensor:
    """σ'(a) as a function of the states σ(a), of any shape."""
    return reference.SIGMA_PRIME[nonlinearity](states)


class _Recurrence(torch.autograd.Function):
    """The recurrence as autograd sees it. It takes the bias in two summands and either order of T and B, as a layer has them:
    each operation that autograd need not see saves a small call a percent or two."""

    @staticmethod
    def forward(ctx, *call):
        return _saved(ctx, call, *_forward(*call))

    @staticmethod
    def backward(ctx, dstates, dfinal):
        x, U, W, s0, lengths, states = ctx.saved_tensors
        needs_x, needs_U, needs_W, needs_b, needs_s0 = ctx.needs_input_grad[:5]
        needs_b_hh = ctx.needs_input_grad[9]
        nonlinearity, reverse, batch_first = ctx.options
        chosen = way((dstates, dfinal, x, U, W, s0, states))
        if chosen is COMPOSITE:
            found = one_by_one(partial(_Recurrence.backward, ctx), (dstates, dfinal), ctx.saved_tensors)
            if found is not None:
                return found
        if torch.is_grad_enabled() or chosen in (COMPOSITE, TRACED):
            b, b_hh = ctx.biases.unchanged()
            call = x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh
            return tuple(derivatives(_composite, call, ctx.needs_input_grad, (dstates, dfinal)))
        if has_changed(ctx.counts):
            b, b_hh = ctx.biases.unchanged()
            states, _ = _forward(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh)
        needs = needs_x, needs_U, needs_W, needs_b or needs_b_hh, needs_s0
        rest = states, x, U, W, s0, lengths, nonlinearity, reverse, needs, batch_first
        if chosen is AT_ONCE:
            dx, dU, dW, db, ds0 = gradients(_engine(x, W), dstates, dfinal, *rest)
        else:
            found = _recurrence_backward(dstates, dfinal, *rest)
            dx, dU, dW, db, ds0 = (g if need else None for g, need in zip(found, needs, strict=True))
        db_hh = db if needs_b_hh else None
        if needs_b and needs_b_hh:
            db_hh = db.clone()  # type: ignore[union-attr]
        return dx, dU, dW, db if needs_b else None, ds0, None, None, None, None, db_hh


_apply_recurrence: Any = untransformed(_Recurrence)


class _OperatorRecurrence(_Recurrence):
    """The same behind the operator, whose kernel a mode may want to see."""

    @staticmethod
    def forward(ctx, *call):
        with _below_autograd():
            return _saved(ctx, call, *_recurrence(*call))


def _saved(ctx, call, states, final):
    """The results, once what the way back needs is saved. The states are saved apart from the output, which may be changed in
    place: then they are computed anew."""
    x, U, W, b, s0, lengths, *ctx.options, b_hh = call
    ctx.counts, kept = saved_apart((states,))
    ctx.biases = set_aside(b, b_hh)
    ctx.save_for_backward(x, U, W, s0, lengths, *kept)
    ctx.set_materialize_grads(False)
    return states, final


def _shapes(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first=False, b_hh=None):
    outer, inner = x.shape[:2]
    d = W.shape[0]
    return W.new_empty(outer, inner, d), W.new_empty(1, outer if batch_first else inner, d)


def _backward_shapes(dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs, batch_first=False):
    d = W.shape[0]
    dx = new_like(x, W, U.shape[1]) if needs[0] else W.new_empty((0,))
    shapes = (U.shape, W.shape, (d,), (x.shape[0 if batch_first else 1], d))
    return dx, *(W.new_empty(shape if need else (0,)) for shape, need in zip(shapes, needs[1:], strict=True))


def _flops(x_shape, U_shape, W_shape, *_args, **_kwargs) -> int:
    """2 for each weight and step, as for PyTorch's products; a symbol's column of U costs none."""
    steps, products = x_shape[0] * x_shape[1], math.prod(W_shape) + (math.prod(U_shape) if len(x_shape) == 3 else 0)
    return 2 * steps * products


def _backward_flops(
    dstates,
    dfinal,
    states,
    x_shape,
    U_shape,
    W_shape,
    s0,
    lengths,
    nonlinearity,
    reverse,
    needs,
    batch_first=False,
    **_kwargs,
) -> int:
    needs_x, needs_U, needs_W, _, needs_s0 = needs
    of_U = (needs_x + (needs_U and len(x_shape) == 3)) * math.prod(U_shape)
    steps, B = x_shape[0] * x_shape[1], x_shape[0 if batch_first else 1]
    return 2 * (steps * (of_U + (1 + needs_W) * math.prod(W_shape)) - (not needs_s0) * B * math.prod(W_shape))


_library.impl("recurrence", _forward, "CompositeExplicitAutograd")
_library.impl("recurrence_backward", _backward, "CompositeExplicitAutograd")
_library.impl("recurrence", lambda *call: _OperatorRecurrence.apply(*call, *(False, None)[len(call) - 8 :]), "Autograd")
torch.library.register_fake("throughtime::recurrence", _shapes, lib=_library)
torch.library.register_fake("throughtime::recurrence_backward", _backward_shapes, lib=_library)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("throughtime::recurrence", _device, torch.float32, lib=_library)
register_flop_formula(torch.ops.throughtime.recurrence)(_flops)
register_flop_formula(torch.ops.throughtime.recurrence_backward)(_backward_flops)
