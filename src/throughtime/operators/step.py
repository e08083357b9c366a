"""The learning step of an Elman network: the loss and all gradients in one call, fused where the engine can.

    forward     s_t = σ(U x_t + W s_{t-1} + b)      z_t = V s_t + c      L = mean or sum of the cross-entropies L_t
    backward    e_t = ∂L/∂z_t, ∂L/∂V, ∂L/∂c      δ from the sweep, then ∂L/∂U, ∂L/∂W, ∂L/∂b; ∂L/∂x, ∂L/∂s_0 where asked for

Layout (time first): x [T, B, n] or symbols [T, B]; y [T, B] int64; final [B, d]; lengths int64 [B] or None. Public arguments
are checked by the callers (see `notation`), but for the range of the labels, which is checked where they are read.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.core import contraction, loss
from throughtime.core.dispatch import AT_ONCE, derivatives, readable, untransformed, way
from throughtime.core.notation import check_label_range
from throughtime.operators import ops


def elman_loss(
    x: Tensor,
    y: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor,
    V: Tensor,
    c: Tensor,
    s0: Tensor | None = None,
    lengths: Tensor | None = None,
    nonlinearity: str = "tanh",
    reduction: str = "sequence",
    carry: bool = False,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The loss of an Elman network (differentiable scalar) and its final states [B, d] (detached), None without `carry`.

    Args:
        x, U, W, b, s0, lengths, nonlinearity: as in `recurrence`.
        y: [T, B] int64 labels in 0..k−1; −100 is ignored.
        V, c: [k, d], [k].
        reduction: "sequence" or "token" (see `loss`).
        weights: [T, B] of the steps; with them the loss is put together from its parts.
    """
    if weights is not None and readable(y):
        check_label_range(y.T, V.shape[0], lengths)
    if weights is not None or way((U, W, b, V, c, x, s0)) is not AT_ONCE:
        value, final = _composed_loss(x, y, U, W, b, V, c, s0, lengths, nonlinearity, reduction, weights)
        return value, final.squeeze(0).detach() if carry else None
    found = _apply_loss(U, W, b, V, c, x, s0, y, lengths, nonlinearity, reduction, carry)
    return found if carry else (found, None)


def elman_gradients(
    x: Tensor,
    y: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor,
    V: Tensor,
    c: Tensor,
    s0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reduction: str,
    needs: tuple[bool, bool] = (False, False),
    gradients: bool = True,
    carry: bool = True,
) -> tuple[Tensor, Tensor | None, contraction.Gradients | None]:
    """Loss (scalar), final states [B, d] (where `carry` asks for them) and gradients by the hand-derived formulas; `needs` asks
    for those of x and s_0.

    Call it where gradients are not recorded."""
    run = ops.engine_for(W)
    if hasattr(run, "learning_step"):
        value, final, *found = run.learning_step(
            x, y, U, W, b, V, c, s0, lengths, nonlinearity, reduction, needs, gradients, carry
        )
        if not gradients:
            return value, final, None
        return value, final, contraction.Gradients(*found)
    if readable(y):
        check_label_range(y.T, V.shape[0], lengths)
    states, final = run.forward(x, U, W, b, s0, lengths, nonlinearity, False)
    y = loss.counted_labels(y, lengths)
    norm = loss.normalizer(y, reduction)
    z = F.linear(states, V, c)
    value = (loss.step_losses(z, y).sum(dtype=torch.float64) / norm).to(W.dtype)
    if not gradients:
        return value, final, None
    e = loss.errors(z, y) / norm
    needed = [needs[0], True, True, True, needs[1]]
    dx, dU, dW, db, ds0 = ops.gradients(run, e @ V, None, states, x, U, W, s0, lengths, nonlinearity, False, needed)
    dV, dc = contraction.recurrent_gradient(e, states), contraction.bias_gradient(e)
    return value, final, contraction.Gradients(dU, dW, db, dV, dc, dx, ds0)  # type: ignore[arg-type]


def _composed_loss(x, y, U, W, b, V, c, s0, lengths, nonlinearity, reduction, weights=None):
    """The same loss from differentiable parts: what `torch.compile`, `torch.func` and second derivatives see."""
    states, final = ops.recurrence(x, U, W, b, s0, lengths, nonlinearity)
    return loss.cross_entropy(F.linear(states, V, c), y, lengths, reduction, weights), final


class _ElmanLoss(torch.autograd.Function):
    """Computes the gradients together with the loss, then scales them by what comes from above. The tensors come in the order
    of `Gradients`."""

    @staticmethod
    def forward(ctx, U, W, b, V, c, x, s0, y, lengths, nonlinearity, reduction, carry):
        needed = ctx.needs_input_grad
        value, final, ctx.found = elman_gradients(
            x, y, U, W, b, V, c, s0, lengths, nonlinearity, reduction, needed[5:7], True in needed, carry
        )
        ctx.save_for_backward(U, W, b, V, c, x, s0, y, lengths)
        ctx.options = nonlinearity, reduction
        ctx.set_materialize_grads(False)
        if not carry:
            return value
        ctx.mark_non_differentiable(final)
        return value, final

    @staticmethod
    def backward(ctx, dvalue, *_):
        rest = None, None, None, None, None
        if dvalue is None:  # nothing reaches the loss
            return *(None,) * 7, *rest
        if torch.is_grad_enabled():  # the gradients will be differentiated: they come from differentiable parts
            *parts, y, lengths = ctx.saved_tensors

            def loss(U, W, b, V, c, x, s0):
                return _composed_loss(x, y, U, W, b, V, c, s0, lengths, *ctx.options)[:1]

            return *derivatives(loss, parts, ctx.needs_input_grad[:7], (dvalue,)), *rest
        # The gradients are handed over, not copied; a second backward through the same graph computes them anew.
        found, ctx.found = ctx.found, None
        if found is None:
            U, W, b, V, c, x, s0, y, lengths = ctx.saved_tensors
            needs = ctx.needs_input_grad[5:7]
            *_, found = elman_gradients(x, y, U, W, b, V, c, s0, lengths, *ctx.options, needs, carry=False)  # type: ignore[call-arg]
        if way((dvalue,)) is not AT_ONCE or not dvalue.is_cpu:
            return *(None if g is None else g * dvalue for g in found), *rest
        scale = dvalue.item()
        if scale != 1:
            torch._foreach_mul_([g for g in found if g is not None], scale)  # type: ignore[attr-defined]
        return *found, *rest


_apply_loss: Any = untransformed(_ElmanLoss)
