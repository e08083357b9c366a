"""Functions in the place of those of torch.nn.functional."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.core.dispatch import AT_ONCE, way
from throughtime.core.notation import IGNORED
from throughtime.engines import native, native_readout
from throughtime.operators import ops


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Cross-entropy of `F.linear(input, linear_weight, linear_bias)`: what torch.nn.functional's function of this name gives,
    without ever storing all logits, and quicker on a CPU.

    Args:
        input: [N, d], for instance the states of all steps, `states.flatten(0, 1)`.
        linear_weight: [k, d].
        target: classes, int64 [N].
        linear_bias: [k].
        weight: a weight for each class, [k].
        reduction: "mean" (over the weights of the targets), "sum", or "none" for each row's loss.
        ignore_index: the target of rows that do not count; −100 where None.
        label_smoothing: from 0 to 1.
        options: PyTorch's; where they are given it computes.

    The compiled engine computes float32 and float64 on the CPU, and the gradients with the loss; second derivatives, whatever
    else PyTorch's function takes (one row, probabilities, other shapes) and other devices are PyTorch's own. Where the engine
    has been chosen by name ("reference"), too.

    Returns: a scalar, or [N] with "none". Raises: ValueError, IndexError, RuntimeError: as PyTorch's function; a target out of
    range is named with its row.
    """
    tensors = (input, linear_weight, linear_bias, target, weight)
    if not (_by_engine(*tensors, reduction) and 0 <= label_smoothing <= 1 and options is None):
        return F.linear_cross_entropy(
            input, linear_weight, target, linear_bias=linear_bias, weight=weight, reduction=reduction,
            ignore_index=ignore_index, label_smoothing=label_smoothing, options=options,
        )  # fmt: skip
    ignored = IGNORED if ignore_index is None else ignore_index
    return _LinearCrossEntropy.apply(*tensors, ignored, label_smoothing, reduction)


def _by_engine(x: Tensor, V: Tensor, c: Tensor | None, target: Tensor, weight: Tensor | None, reduction: str) -> bool:
    fits = x.dim() == 2 and V.dim() == 2 and target.dim() == 1 and (c is None or c.dim() == 1) and x.numel() > 0
    same = all(t is None or (t.dtype is V.dtype and t.is_cpu) for t in (x, c, weight))
    if not (fits and same and target.dtype is torch.int64 and reduction in ("mean", "sum", "none")):
        return False
    if weight is not None and weight.requires_grad:
        return False
    plain = way((x, V, c, target, weight)) is AT_ONCE and not torch._C._is_any_autocast_enabled()
    return plain and ops.engine_for(V) is native


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, V, c, target, weight, ignored, smoothing, reduction):
        of = native_readout.Readout(x, V, c, target, weight, ignored, smoothing)
        none = reduction == "none"
        needs = (False, False, False) if none else ctx.needs_input_grad[:3]
        found = native_readout.linear_cross_entropy(of, needs, mean=reduction == "mean", by_row=none)
        ctx.save_for_backward(x, V, c, target, weight)
        ctx.options, ctx.found = (ignored, smoothing, reduction), found
        return found.losses if none else torch.scalar_tensor(found.loss, dtype=torch.float64).to(V.dtype)  # may be inf

    @staticmethod
    def backward(ctx, upstream):
        x, V, c, target, weight = ctx.saved_tensors
        ignored, smoothing, reduction = ctx.options
        needs = ctx.needs_input_grad[:3]
        rest = (None,) * 5
        if torch.is_grad_enabled() or way((upstream,)) is not AT_ONCE:
            with torch.enable_grad():
                again = x.view_as(x), V.view_as(V), None if c is None else c.view_as(c)
                loss = F.cross_entropy(
                    F.linear(*again),
                    target,
                    weight,
                    ignore_index=ignored,
                    reduction=reduction,
                    label_smoothing=smoothing,
                )
                wanted = [t for t, need in zip(again, needs, strict=True) if need and t is not None]
                found = iter(torch.autograd.grad(loss, wanted, upstream, create_graph=torch.is_grad_enabled()))
            return *(next(found) if need else None for need in needs), *rest
        of = native_readout.Readout(x, V, c, target, weight, ignored, smoothing)
        if reduction == "none":
            found = native_readout.linear_cross_entropy(of, needs, row_scales=upstream)
            return found.states, found.V, found.c, *rest
        # The gradients are handed over, not copied; a second backward through the same graph computes them anew.
        found, ctx.found = ctx.found, None
        if found is None:
            found = native_readout.linear_cross_entropy(of, needs, mean=reduction == "mean")
        gradients = found.states, found.V, found.c
        scale = upstream.item()
        if scale != 1:
            torch._foreach_mul_([g for g in gradients if g is not None], scale)  # type: ignore[attr-defined]
        return *gradients, *rest
