"""The recurrence as `torch.jit.trace` can keep it, and with it `torch.onnx.export(dynamo=False)`: by PyTorch's own operator.

A tracer records operations. A loop over steps would be kept with as many steps as the example had, and the library's operator
cannot be read without the library; torch.nn.RNN's operator serves any number of steps, and becomes ONNX's RNN.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_OPERATORS = {"tanh": torch._VF.rnn_tanh, "relu": torch._VF.rnn_relu}  # type: ignore[attr-defined]


def recurrence(
    x: Tensor,
    U: Tensor,
    W: Tensor,
    b: Tensor | None,
    s0: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
    reverse: bool,
    batch_first: bool,
    b_hh: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`ops.recurrence` while a tracer runs.

    Raises: RuntimeError: a nonlinearity that PyTorch's operator does not have.
    """
    if nonlinearity not in _OPERATORS:
        raise RuntimeError(
            f"nonlinearity {nonlinearity!r}: expected 'tanh' or 'relu' for torch.jit.trace and "
            "torch.onnx.export(dynamo=False), which know no other; throughtime.export and torch.export take all"
        )
    x = x.transpose(0, 1) if batch_first else x
    T, B = x.shape[:2]
    real = rows = None
    if lengths is not None:
        real = torch.arange(T, device=x.device).unsqueeze(1) < lengths.to(x.device)
        x = x.where(real if x.dim() == 2 else real.unsqueeze(-1), 0)  # padding may hold NaN or any integer
        rows = torch.arange(B, device=x.device)
    x = x if x.is_floating_point() else F.one_hot(x.long(), U.shape[1]).to(U.dtype)
    x = _turned(x, lengths) if reverse else x
    s0 = U.new_zeros(1, B, W.shape[0]) if s0 is None else s0.unsqueeze(0)
    weights = [U, W] if b is None else [U, W, b, torch.zeros_like(b) if b_hh is None else b_hh]
    states, final = _OPERATORS[nonlinearity](x, s0, weights, b is not None, 1, 0.0, False, False, False)
    if lengths is not None:
        final = states[lengths.to(x.device) - 1, rows].unsqueeze(0)
    states = _turned(states, lengths) if reverse else states
    if real is not None:
        states = states.where(real.unsqueeze(-1), 0.0)
    return states.transpose(0, 1).contiguous() if batch_first else states, final


def _turned(steps: Tensor, lengths: Tensor | None) -> Tensor:
    """[T, B, …] with the steps of each row in the opposite order; its padding stays behind them, with any content."""
    if lengths is None:
        return steps.flip(0)
    T, B = steps.shape[:2]
    source = (lengths.to(steps.device) - 1 - torch.arange(T, device=steps.device).unsqueeze(1)).clamp_min(0)
    return steps[source, torch.arange(B, device=steps.device)]
