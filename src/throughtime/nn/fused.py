"""The engine "torch": whole stacks by PyTorch's own fused operators, such as cuDNN's on CUDA.

`torch.jit.trace`, and `torch.onnx.export(dynamo=False)` which builds on it, keep these operators, for any sizes, on any device.

It serves a layer whose recurrence those operators have: RNN with tanh or relu, LSTM, and GRU with the reset gate after the
product. Ragged rows are packed. Pieces become sequences of their own in a pack, which start from zero or from what the call
gives. Not every fused operator has second derivatives, so higher orders are taken layer by layer, from the inputs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.core.dispatch import AT_ONCE, TRACED, derivatives, tracing, untransformed, way
from throughtime.core.notation import is_symbols
from throughtime.core.pieces import pieces_of
from throughtime.operators import ops

DEVICES = ("cuda", "mps", "xpu")
"""Where "auto" hands over."""

_OPERATORS: dict[str, Any] = {
    "RNN_TANH": torch._VF.rnn_tanh,  # type: ignore[attr-defined]
    "RNN_RELU": torch._VF.rnn_relu,  # type: ignore[attr-defined]
    "LSTM": torch._VF.lstm,  # type: ignore[attr-defined]
    "GRU": torch._VF.gru,  # type: ignore[attr-defined]
}


def serves(layer: Any, weight: Tensor, *tensors: Tensor) -> bool:
    """Whether this engine is chosen, and runs a call of `layer` with these tensors."""
    chosen = ops.get_engine()
    if chosen != "torch" and (chosen != "auto" or weight.device.type not in DEVICES) and not tracing():
        return False
    return (
        layer.mode in _OPERATORS
        and getattr(layer, "reset_after", True)
        and way((weight, *tensors, *layer.parameters())) in (AT_ONCE, TRACED)
    )


def run(layer: Any, weights: Sequence[Sequence[Tensor]], over: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The stack of a layer, as its `_stack` has it: the states of the last layer, and the final state by part."""
    x, state, lengths, starts, _, batch_first = over
    if starts is not None and tracing():
        raise RuntimeError("starts: torch.jit.trace would keep the pieces of its example; expected torch.export")
    each, like = len(weights[0]), weights[0][1]
    if is_symbols(x):
        if lengths is not None:  # padding may hold any number
            real = torch.arange(x.shape[batch_first], device=x.device) < lengths.to(x.device).unsqueeze(1)
            x = x.where(real if batch_first else real.T, 0)
        x = F.one_hot(x.long(), layer.input_size).to(like.dtype)
    if state is None:
        B, layers = x.shape[1 - batch_first], len(weights)
        state = tuple(like.new_zeros(layers, B, width) for width in layer.state_widths)

    def fused(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        state, flat = others[: len(layer.state_widths)], list(others[len(layer.state_widths) :])
        if starts is not None:
            states, final = _in_pieces(layer, flat, over._replace(x=x, initial=state))
        elif lengths is not None:
            states, final = _ragged(layer, flat, x, state, lengths, batch_first)
        else:
            states, final = _call(layer, flat, state, x, order=batch_first)
        return states, *final

    def again(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        state, flat = others[: len(layer.state_widths)], others[len(layer.state_widths) :]
        own = [flat[i : i + each] for i in range(0, len(flat), each)]
        states, final = layer._stack(own, over._replace(x=x, initial=state))
        return states, *final

    tensors = (x, *state, *(weight for own in weights for weight in own))
    drops = layer.training and layer.dropout and layer.num_layers > 1  # which draws anew whenever it is computed
    if drops or tracing() or torch._C._is_any_autocast_enabled() or not torch.is_grad_enabled():
        states, *final = fused(*tensors)
    else:
        states, *final = _apply_fused(fused, again, *tensors)
    return states, tuple(final)


def run_packed(
    layer: Any, weights: Sequence[Sequence[Tensor]], data: Tensor, sizes: Tensor, state: Sequence[Tensor] | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same over packed data, as a tracer keeps it."""
    if is_symbols(data):
        data = F.one_hot(data.long(), layer.input_size).to(weights[0][1].dtype)
    if state is None:
        state = tuple(data.new_zeros(len(weights), sizes[0], width) for width in layer.state_widths)  # type: ignore[call-overload]
    return _call(layer, [weight for own in weights for weight in own], state, data, sizes)


class _Fused(torch.autograd.Function):
    """A call whose first derivative is the fused operator's and whose higher ones are those of the other engines."""

    @staticmethod
    def forward(ctx, fused, again, *tensors):
        with torch.enable_grad():
            leaves = [
                t.detach().requires_grad_(need) for t, need in zip(tensors, ctx.needs_input_grad[2:], strict=True)
            ]
            results = fused(*leaves)
        ctx.save_for_backward(*tensors)
        ctx.graph, ctx.again = (leaves, results), again
        ctx.set_materialize_grads(False)
        return tuple(r.detach() for r in results)

    @staticmethod
    def backward(ctx, *upstream):
        needs = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled() or way(upstream) is not AT_ONCE:
            return None, None, *derivatives(ctx.again, ctx.saved_tensors, needs, upstream)
        leaves, results = ctx.graph
        reached = [(r, up) for r, up in zip(results, upstream, strict=True) if up is not None]
        wanted = [leaf for leaf, need in zip(leaves, needs, strict=True) if need]
        found = iter(
            torch.autograd.grad(
                [r for r, _ in reached], wanted, [up for _, up in reached], retain_graph=True, allow_unused=True
            )
        )
        return None, None, *(next(found) if need else None for need in needs)


_apply_fused: Any = untransformed(_Fused)


def _call(
    layer: Any, weights: list[Tensor], state: Sequence[Tensor], *data: Tensor, order: bool | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """torch's operator over x, with the order of its T and B, or over packed data and their batch sizes."""
    hx = tuple(part.contiguous() for part in state)
    options = (layer.bias, layer.num_layers, layer.dropout, layer.training, layer.bidirectional)
    states, *final = _OPERATORS[layer.mode](
        *data, hx[0] if len(hx) == 1 else hx, weights, *options, *(() if order is None else (order,))
    )
    return states, tuple(final)


def _ragged(
    layer: Any, weights: list[Tensor], x: Tensor, state: Sequence[Tensor], lengths: Tensor, batch_first: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """By packing: padding is not read, and its states are zero."""
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    data, sizes, order, back = packed
    assert order is not None
    assert back is not None
    data, final = _call(layer, weights, [part.index_select(1, order) for part in state], data, sizes)
    T = x.shape[1 if batch_first else 0]
    states, _ = pad_packed_sequence(packed._replace(data=data), batch_first, total_length=T)
    return states, tuple(part.index_select(1, back) for part in final)


def _in_pieces(layer: Any, weights: list[Tensor], over: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Every piece as a row of its own."""
    x, state, lengths, starts, _, batch_first = over
    pieces = pieces_of(starts if batch_first else starts.T, lengths)
    row, _, length, opens, closes, marked = pieces
    B, T = x.shape[:2] if batch_first else x.shape[1::-1]
    # Forwards, the given state belongs to a row's first piece, unless its first step is marked; from the end, to its last.
    own = torch.stack([opens & ~marked, closes][: layer._directions]).repeat(layer.num_layers, 1)
    last = torch.stack([closes, opens][: layer._directions]).nonzero()[:, 1].view(-1, B).repeat(layer.num_layers, 1)
    row, at, real, own, last = (t.to(x.device) for t in (*pieces.steps(T), own, last))
    place = (row, at) if batch_first else (at, row)
    initial = [part.index_select(1, row.squeeze(1)).where(own.unsqueeze(-1), 0.0) for part in state]
    found, final = _ragged(layer, weights, x[place], initial, length, True)
    index = tuple(t.expand_as(real)[real] for t in place)
    states = found.new_zeros(*x.shape[:2], found.shape[-1]).index_put(index, found[real])
    return states, tuple(part.gather(1, last.unsqueeze(-1).expand(-1, -1, part.shape[-1])) for part in final)
