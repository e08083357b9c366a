"""How the library's operators are written in ONNX: each recurrence as one node of ONNX's own operator RNN, LSTM or GRU.

The operators have a bias for the input and one for the state. torch's order of gates is i f g o and r z n, ONNX's is i o f g
and z r n. A symbol is a column of U there too, by a Gather, which the operator then takes through an identity matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from throughtime.programs import Program, gru, lstm, parse

ACTIVATIONS: dict[str, dict[str, Any]] = {
    "tanh": {"activations": ["Tanh"]},
    "relu": {"activations": ["Relu"]},
    "logistic": {"activations": ["Sigmoid"]},
    "identity": {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
}
"""σ by name, as attributes of the ONNX operator RNN."""

INT32 = 6
"""ONNX's number for the type that it wants lengths in."""


def require_onnx() -> None:
    """Raises: ImportError: onnx, onnxscript or onnxruntime is not installed."""
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"expected the package {error.name}, which is not installed: pip install 'throughtime[onnx]'"
        ) from error


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export(…, dynamo=True, custom_translation_table=translation_table())` needs to know of the recurrences.

    With it, any module built on `throughtime.nn.RNN`, `LSTM` or `GRU` is exported with one ONNX operator for each layer and
    direction.

    Raises: ImportError: onnx, onnxscript or onnxruntime is not installed.
    """
    require_onnx()
    op: Any = import_module("onnxscript").opset18

    def columns(x, U, width, lengths):
        """Inputs and their matrix for symbols x [T, B]: columns of U [width, n], and the identity."""
        if lengths is not None:  # padding may hold any number
            steps = op.Range(0, op.Squeeze(op.Shape(x, start=0, end=1)), 1)
            x = op.Where(op.Less(op.Unsqueeze(steps, [1]), op.Unsqueeze(lengths, [0])), x, 0)
        identity = op.EyeLike(op.ConstantOfShape(op.Constant(value_ints=[width, width])), dtype=1)
        return op.Gather(op.Transpose(U, perm=[1, 0]), x), identity

    def recurrence(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first=False, b_hh=None):
        symbols = x.dtype.is_integer()
        if batch_first:
            x = op.Transpose(x, perm=[1, 0] if symbols else [1, 0, 2])
        if symbols:
            x, U = columns(x, U, W.shape[0], lengths)
        if b is not None:
            b = op.Unsqueeze(op.Concat(b, op.Mul(b, 0.0) if b_hh is None else b_hh, axis=0), [0])
        states, final = op.RNN(
            x,
            op.Unsqueeze(U, [0]),
            op.Unsqueeze(W, [0]),
            b,
            None if lengths is None else op.Cast(lengths, to=INT32),
            None if s0 is None else op.Unsqueeze(s0, [0]),
            direction="reverse" if reverse else "forward",
            hidden_size=W.shape[0],
            **ACTIVATIONS[nonlinearity],
        )
        states = op.Squeeze(states, [1])
        return op.Transpose(states, perm=[1, 0, 2]) if batch_first else states, final

    def program(text, inputs, weights, initial, restart, lengths, starts, reverse, keep):
        cell = parse(text)
        order, attributes = _operator(cell, starts is not None)
        d, (x,) = cell.state[-1].width, inputs
        rows = op.Constant(value_ints=[gate * d + i for gate in order for i in range(d)])
        U, W, *biases = (op.Gather(weight, rows, axis=0) for weight in weights)
        if x.dtype.is_integer():
            x, U = columns(x, U, len(order) * d, lengths)
        found = getattr(op, cell.name.upper())(
            x,
            op.Unsqueeze(U, [0]),
            op.Unsqueeze(W, [0]),
            op.Unsqueeze(op.Concat(*biases, axis=0), [0]) if biases else None,
            None if lengths is None else op.Cast(lengths, to=INT32),
            *(None if part is None else op.Unsqueeze(part, [0]) for part in initial),
            direction="reverse" if reverse else "forward",
            hidden_size=d,
            **attributes,
        )
        states, *final = found
        return op.Squeeze(states, [1]), *(op.Squeeze(part, [0]) for part in final)

    operators: Any = torch.ops.throughtime
    return {operators.recurrence.default: recurrence, operators.program.default: program}


def _operator(cell: Program, in_pieces: bool) -> tuple[list[int], dict[str, Any]]:
    """Where ONNX's gates stand in torch's order, and the attributes of its operator.

    Raises: NotImplementedError: ONNX has none.
    """
    if in_pieces:
        raise NotImplementedError("starts: expected none for ONNX, whose operators do not know of pieces")
    sizes = cell.inputs[0].width, cell.state[-1].width, bool(cell.parameters)
    if cell == lstm(*sizes):
        return [0, 3, 1, 2], {}
    for reset_after in (True, False):
        if cell == gru(*sizes, reset_after=reset_after):
            return [1, 0, 2], {"linear_before_reset": int(reset_after)}
    raise NotImplementedError(f"program {cell.name}: expected an LSTM without projection or a GRU for ONNX's operators")
