"""The learning step of any program with one output: the loss of its readout and all gradients, in one call of the engine.

    forward     the program at every step; z_t = V h_t + c of its output h_t; L = the sum of the cross-entropies of the steps
                that count, divided by B or by their number (see `loss`)
    backward    ∂L/∂z_t, ∂L/∂V, ∂L/∂c, ∂L/∂h_t, then the program's own way back

Layout (time first): inputs [T, B, width] or symbols [T, B]; y [T, B] int64, −100 ignored; last states [1, B, width] by part.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.core import loss
from throughtime.core.dispatch import AT_ONCE, derivatives, set_aside, untransformed, way
from throughtime.engines import native_program
from throughtime.operators.program_ops import _all_gradients, _aside, _Call, _engine, _needs, _tensors, run_program
from throughtime.programs.calls import Batch, Recurrence


def program_loss(
    recurrence: Recurrence, batch: Batch, V: Tensor, c: Tensor | None, y: Tensor, reduction: str, carry: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss (differentiable scalar) and the last states by part (detached), none without `carry`.

    Args:
        recurrence, batch: what runs (not in reverse), and on what; pieces start from zero. Labels out of range are refused
            where the compiled engine reads them; PyTorch's cross-entropy refuses them elsewhere.
        V, c: [k, width], [k] or None.
        reduction: "sequence" or "token".
    """
    call = _Call(recurrence, batch)
    tensors = _tensors(*call)
    if way((*tensors, V, c)) is not AT_ONCE or _engine(*call) is not native_program:
        value, final = _composed(call, V, c, y, reduction)
        return value, tuple(part.detach() for part in final) if carry else ()
    value, *final = _apply_loss(call, y, reduction, carry, V, c, *tensors)
    return value, tuple(final)


def _composed(call: _Call, V: Any, c: Any, y: Tensor, reduction: str) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same from differentiable parts."""
    (program, weights), batch = call
    options = {"lengths": batch.lengths, "starts": batch.starts, "stacked": True}
    (states,), final = run_program(program, weights, batch.inputs, batch.initial, **options)  # type: ignore[arg-type]
    return loss.cross_entropy(F.linear(states, V, c), y, batch.lengths, reduction), final


def _run(call: _Call, V: Any, c: Any, y: Tensor, reduction: str, carry: bool, needs: Any) -> Any:
    wanted = _needs(call.recurrence.program, needs[2:]) if True in needs else None
    return native_program.learning_step(*call, V, c, y, reduction == "token", carry, wanted, needs[:2])


class _ProgramLoss(torch.autograd.Function):
    """Computes the gradients together with the loss, then scales them by what comes from above."""

    @staticmethod
    def forward(ctx, call, y, reduction, carry, V, c, *tensors):
        (program, _), batch = call
        found = _run(call, V, c, y, reduction, carry, ctx.needs_input_grad[4:])
        first, last = _aside(program)
        ctx.aside = set_aside(*tensors[first:last])
        ctx.save_for_backward(batch.lengths, batch.starts, y, V, c, *tensors[:first], *tensors[last:])
        ctx.program, ctx.reduction, ctx.found = program, reduction, found
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*found.final)
        return found.loss, *found.final

    @staticmethod
    def backward(ctx, dvalue, *_):
        needs = ctx.needs_input_grad[4:]
        if dvalue is None:  # nothing reaches the loss
            return (None,) * (4 + len(needs))
        lengths, starts, y, V, c, *tensors = ctx.saved_tensors
        first, _ = _aside(ctx.program)
        tensors[first:first] = ctx.aside.tensors
        if torch.is_grad_enabled() or way((dvalue,)) is not AT_ONCE:  # from differentiable parts
            ctx.aside.unchanged()

            def again(V, c, *tensors):
                return _composed(_Call.of(ctx.program, lengths, starts, False, tensors), V, c, y, ctx.reduction)[:1]

            return *(None,) * 4, *derivatives(again, (V, c, *tensors), needs, (dvalue,))
        # The gradients are handed over, not copied; a second backward through the same graph computes them anew.
        found, ctx.found = ctx.found, None
        if found is None:
            ctx.aside.unchanged()
            call = _Call.of(ctx.program, lengths, starts, False, tensors)
            found = _run(call, V, c, y, ctx.reduction, False, needs)
        all_found = (found.V, found.c, *_all_gradients(found.gradients))
        scale = dvalue.item()
        if scale != 1:
            torch._foreach_mul_([g for g in all_found if g is not None], scale)  # type: ignore[attr-defined]
        return *(None,) * 4, *all_found


_apply_loss: Any = untransformed(_ProgramLoss)
