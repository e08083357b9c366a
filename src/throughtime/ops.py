"""The one operator of the library: the recurrence over time, dispatched to an engine and known to PyTorch.

    throughtime::recurrence            x, U, W, b, s_0 -> all states and the final ones
    throughtime::recurrence_backward   ∂L/∂states, ∂L/∂final -> ∂L/∂x, ∂L/∂U, ∂L/∂W, ∂L/∂b, ∂L/∂s_0

Both have a schema, shape functions, derivatives and an autocast rule (float32). The derivative of the second is taken through
the reference engine, so that second and higher derivatives are exact under every engine.

Layout (time first): x [T, B, n] or symbols [T, B]; states, δ [T, B, d]; s0, final [B, d]; lengths int64 [B] or None.
Public arguments are checked by the callers (see `notation`), not here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime import contraction
from throughtime.engines import native, reference
from throughtime.layout import laid_out_like, new_like
from throughtime.notation import check_choice, check_positive

# --- the choice of engine ------------------------------------------------------------------------------------------

ENGINES = ("auto", "native", "reference")
_chosen = "auto"
_told_missing = False


def set_engine(name: str) -> None:
    """Choose who runs the recurrence: "native" (CPU, float32 and float64), "reference" (anything), or "auto".

    "auto" is native for float32 and float64 tensors on the CPU, and the reference for the rest.

    Raises: ValueError for another name; RuntimeError for "native" where the compiled module is missing.
    """
    global _chosen
    check_choice("engine", name, ENGINES)
    if name == "native" and native.load_error is not None:
        raise RuntimeError(_missing())
    _chosen = name


def get_engine() -> str:
    """The engine chosen with `set_engine`: "auto", "native" or "reference"."""
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
    if _chosen == "reference":
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
    "recurrence(Tensor x, Tensor U, Tensor W, Tensor? b, Tensor? s0, Tensor? lengths, str nonlinearity, bool reverse)"
    " -> (Tensor, Tensor)"
)
_library.define(
    "recurrence_backward(Tensor? dstates, Tensor? dfinal, Tensor states, Tensor x, Tensor U, Tensor W, Tensor? s0,"
    " Tensor? lengths, str nonlinearity, bool reverse, bool[] needs) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_recurrence = torch.ops.throughtime.recurrence.default
_recurrence_backward = torch.ops.throughtime.recurrence_backward.default
_below_autograd = torch._C._AutoDispatchBelowAutograd


def recurrence(
    x: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor | tuple[Tensor, Tensor] | None = None,
    s0: Tensor | None = None,
    lengths: Tensor | None = None,
    nonlinearity: str = "tanh",
    reverse: bool = False,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """s_t = σ(U x_t + W s_{t-1} + b) over all steps; differentiable any number of times.

    Args:
        x: [T, B, n] float, or integer symbols [T, B] in 0..n−1 (each a one-hot vector).
        U, W: [d, n], [d, d].
        b: [d], or the two summands of it that torch.nn.RNN has, or None.
        s0: [B, d], or None for zero: then the first step has no product with W, which only a W that is not finite can tell.
        lengths: int64 [B] in 1..T, or None. Later steps are padding: their states are zero and x is not read there.
        nonlinearity: "tanh", "relu", "logistic" or "identity".
        reverse: walk each row from its last step to its first.
        batch_first: whether T and B trade places in x and in the states.

    Returns:
        states [T, B, d], which lie in memory like x, and the final state of each row [B, d].

    Within a transform of `torch.func` the reference engine runs, whatever the choice: its operations are PyTorch's own, which
    every transform knows. A single step from a given state is made of PyTorch's own operations too: there is nothing to save.
    """
    eager = unwatched() and not torch._C._is_any_autocast_enabled()
    one_step = x.shape[1 if batch_first else 0] == 1 and s0 is not None and x.dim() == 3
    b, b_hh = b if isinstance(b, tuple) else (b, None)
    if eager and not one_step:
        return _apply_recurrence(x, U, W, b, b_hh, s0, lengths, nonlinearity, reverse, batch_first)
    if batch_first:
        x = x.transpose(0, 1)
    if b_hh is not None:
        b = b + b_hh  # type: ignore[operator]
    if torch._C._are_functorch_transforms_active():
        states, final = reference.forward(x, U, W, b, s0, lengths, nonlinearity, reverse)
    elif eager:
        s = sigma(torch.addmm(F.linear(x[0], U, b), s0, W.T), nonlinearity)  # type: ignore[arg-type]
        states, final = s.unsqueeze(0), s.clone()
    else:
        states, final = _recurrence(x, U, W, b, s0, lengths, nonlinearity, reverse)
    return states.transpose(0, 1) if batch_first else states, final


def unwatched() -> bool:
    """Whether no tracer, transform or mode has to see the operator, so that its two trips through PyTorch's dispatcher (half of
    what a small call costs) can be saved: the same functions are then called at once."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
    )


def untransformed(function: type[torch.autograd.Function]) -> Any:
    """`function.apply` for where no transform of `torch.func` is active. Function.apply itself prepares for them, at a tenth of
    the cost of a small call."""
    return super(torch.autograd.Function, function).apply  # type: ignore[misc]


def _engine(x: Tensor, W: Tensor) -> ModuleType:
    """The engine for a batch; the reference for an empty one, which leaves nothing to be fast at."""
    return engine_for(W) if x.numel() else reference


def _forward(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first=False, b_hh=None):
    run = _engine(x, W)
    if run is native:
        return native.forward(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh)
    x = x.transpose(0, 1) if batch_first else x
    b = b if b_hh is None else b + b_hh
    states, final = run.forward(x, U, W, b, s0, lengths, nonlinearity, reverse)
    return states.transpose(0, 1) if batch_first else states, final


def _backward(dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs):
    found = gradients(_engine(x, W), dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs)
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
    def forward(ctx, x, U, W, b, b_hh, s0, lengths, nonlinearity, reverse, batch_first):
        if unwatched():
            states, final = _forward(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first, b_hh)
        else:  # called by the operator: no second summand, T first
            with _below_autograd():
                states, final = _recurrence(x, U, W, b, s0, lengths, nonlinearity, reverse)
        ctx.save_for_backward(x, U, W, s0, lengths, states)
        ctx.options = nonlinearity, reverse, batch_first
        ctx.set_materialize_grads(False)
        return states, final

    @staticmethod
    def backward(ctx, dstates, dfinal):
        x, U, W, s0, lengths, states = ctx.saved_tensors
        needs_x, needs_U, needs_W, needs_b, needs_b_hh, needs_s0 = ctx.needs_input_grad[:6]
        needs = needs_x, needs_U, needs_W, needs_b or needs_b_hh, needs_s0
        nonlinearity, reverse, batch_first = ctx.options
        rest = U, W, s0, lengths, nonlinearity, reverse, needs
        if unwatched() and not torch.is_grad_enabled():
            dx, dU, dW, db, ds0 = gradients(_engine(x, W), dstates, dfinal, states, x, *rest, batch_first)
        else:
            if batch_first:
                dstates, states, x = map(_exchanged, (dstates, states, x))
            found = _recurrence_backward(dstates, dfinal, states, x, *rest)
            dx, dU, dW, db, ds0 = (g if need else None for g, need in zip(found, needs, strict=True))
            if batch_first:
                dx = _exchanged(dx)
        return dx, dU, dW, db if needs_b else None, db if needs_b_hh else None, ds0, None, None, None, None


_apply_recurrence: Any = untransformed(_Recurrence)


class _RecurrenceBackward(torch.autograd.Function):
    """The derivative of the backward sweep: autograd through the reference's formulas for it."""

    @staticmethod
    def forward(ctx, dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs):
        with _below_autograd():
            found = _recurrence_backward(dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs)
        ctx.save_for_backward(dstates, dfinal, states, x, U, W, s0, lengths)
        ctx.options = nonlinearity, reverse, needs
        return found

    @staticmethod
    def backward(ctx, *upstream):
        *inputs, lengths = ctx.saved_tensors
        needed = [i for i, need in enumerate(ctx.needs_input_grad[:7]) if need]
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # A node of its own for each input, so that a path from one to another (states depend on W) is not followed here:
            # autograd will follow it. With create_graph the history stays attached behind those nodes.
            inputs = [
                None if t is None else t.view_as(t) if create_graph else t.detach().requires_grad_(i in needed)
                for i, t in enumerate(inputs)
            ]
            found = gradients(reference, *inputs, lengths, *ctx.options)  # type: ignore[call-arg]
            pairs = [(g, up) for g, up in zip(found, upstream, strict=True) if g is not None and g.requires_grad]
            by_input = torch.autograd.grad(
                [g for g, _ in pairs],
                [inputs[i] for i in needed],  # type: ignore[arg-type]
                [up for _, up in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
        grads: list[Tensor | None] = [None] * 11
        for i, g in zip(needed, by_input, strict=True):
            grads[i] = g
        return tuple(grads)


def _shapes(x, U, W, b, s0, lengths, nonlinearity, reverse):
    B = x.shape[1]
    return new_like(x, U, W.shape[0]), U.new_empty(B, W.shape[0])


def _backward_shapes(dstates, dfinal, states, x, U, W, s0, lengths, nonlinearity, reverse, needs):
    B, d = states.shape[1:]
    dx = new_like(x, W, U.shape[1]) if needs[0] else W.new_empty((0,))
    shapes = (U.shape, W.shape, (d,), (B, d))
    return dx, *(W.new_empty(shape if need else (0,)) for shape, need in zip(shapes, needs[1:], strict=True))


_library.impl("recurrence", _forward, "CompositeExplicitAutograd")
_library.impl("recurrence_backward", _backward, "CompositeExplicitAutograd")
_library.impl(
    "recurrence",
    lambda x, U, W, b, s0, *options: _Recurrence.apply(x, U, W, b, None, s0, *options, False),
    "Autograd",
)
_library.impl("recurrence_backward", lambda *args: _RecurrenceBackward.apply(*args), "Autograd")
torch.library.register_fake("throughtime::recurrence", _shapes, lib=_library)
torch.library.register_fake("throughtime::recurrence_backward", _backward_shapes, lib=_library)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("throughtime::recurrence", _device, torch.float32, lib=_library)
