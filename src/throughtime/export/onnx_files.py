"""Models as ONNX files, checked before they are written.

Every recurrence becomes one node of ONNX's own operator RNN. That operator has one bias for the input and one for the state: b
is the first, the second is zero. A symbol is a column of U there too, by a Gather, which the operator then takes through an
identity matrix. onnx, onnxscript and onnxruntime are imported when they are used.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data.encoding import Encoding
from throughtime.data.files import write_atomically
from throughtime.learning.run import Run
from throughtime.model import ElmanNetwork
from throughtime.sequence_model import SequenceModel
from throughtime.weights import settled
from throughtime.word_encoder import WordEncoder

TOLERANCE = 1e-5
"""Greatest difference allowed between onnxruntime and throughtime, relative to the largest value where that exceeds 1."""

OPSET = 18
EXPORTED_AT = (2, 5)
CHECKED_AT = ((1, 1), (3, 17), (5, 4))
"""Sizes (B, T) of the example that is traced, and of those that the file is checked with."""

OUTPUTS = ("z", "final_state")
WHOLE = -1
"""The default of the ONNX input `lengths`: every sequence has all T steps."""

ACTIVATIONS: dict[str, dict[str, Any]] = {
    "tanh": {"activations": ["Tanh"]},
    "relu": {"activations": ["Relu"]},
    "logistic": {"activations": ["Sigmoid"]},
    "identity": {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
}
"""σ by name, as attributes of the ONNX operator RNN."""


class ExportError(RuntimeError):
    """The exported model does not do what the model does; no file was written."""


def to_onnx(
    model: nn.Module | Run,
    path: str | os.PathLike[str],
    *,
    symbols: bool | None = None,
    encoding: Encoding | None = None,
) -> float:
    """Write a model as an ONNX file, once onnxruntime has been seen to agree with it.

    The file has the inputs

    - `x`: float [B, T, n], or int64 symbols [B, T];
    - `lengths`: int64 [B], may be left out: later steps are padding, which is never read (−1: all T steps, the default);
    - `initial_state`: float [B, d] ([layers, B, d] of a `SequenceModel`), may be left out: the model's own;

    and the outputs `z`, what the model returns, and `final_state`, shaped like the initial one, to carry into a next call. A
    bidirectional model has no states to carry, neither as input nor as output. B and T are free. onnxruntime remarks on the
    inputs with defaults when it loads the file.

    The metadata hold each entry of the encoding as a JSON string: labels, vocabulary, features, scaling. The features that
    `x` takes are those that the model takes: already scaled.

    Args:
        model: an `ElmanNetwork` or `SequenceModel` with float32 parameters, or the run folder that `throughtime.load` reads.
        path: the file to write; it appears whole, or not at all.
        symbols: whether x holds integer symbols; None: as the encoding has it, or the model's embedding; features otherwise.
        encoding: the names behind the numbers; a run has its own.

    Returns: the largest difference found between onnxruntime and the model, at sizes B and T other than those exported with.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        TypeError: not such a model, one that reads several symbols a step, or parameters of another dtype.
        ExportError: onnxruntime does not agree to 1e-5.
        OSError: the file cannot be written.
    """
    if isinstance(model, Run):
        model, encoding = model.model, model.encoding
    if not isinstance(model, ElmanNetwork | SequenceModel):
        raise TypeError(f"model: expected an ElmanNetwork, a SequenceModel or a run, found {type(model).__name__}")
    if isinstance(getattr(model, "embedding", None), WordEncoder):
        raise TypeError("model: expected one symbol for each step, as ONNX files have, found columns or characters")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise TypeError(
                f"model: expected float32 parameters, found {parameter.dtype} in {name}; model.float() converts"
            )
    if symbols is None:
        has_embedding = getattr(model, "embedding", None) is not None
        symbols = has_embedding if encoding is None else encoding.vocabulary is not None
    _require_onnx()
    model = copy.deepcopy(settled(model)).to("cpu").eval().requires_grad_(False)
    content = _onnx_bytes(model, symbols, encoding)
    difference = _checked(content, model, symbols)
    write_atomically(path, content)
    return difference


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export(…, dynamo=True, custom_translation_table=translation_table())` needs to know of the recurrence.

    With it, any module built on `throughtime.nn.RNN` is exported with one ONNX operator RNN per layer and direction.

    Raises: ImportError: onnx, onnxscript or onnxruntime is not installed.
    """
    _require_onnx()
    op: Any = import_module("onnxscript").opset18

    def recurrence(x, U, W, b, s0, lengths, nonlinearity, reverse, batch_first=False, b_hh=None):
        symbols = x.dtype.is_integer()
        if batch_first:
            x = op.Transpose(x, perm=[1, 0] if symbols else [1, 0, 2])
        if symbols:
            if lengths is not None:  # padding may hold any number
                steps = op.Range(0, op.Squeeze(op.Shape(x, start=0, end=1)), 1)
                x = op.Where(op.Less(op.Unsqueeze(steps, [1]), op.Unsqueeze(lengths, [0])), x, 0)
            x = op.Gather(op.Transpose(U, perm=[1, 0]), x)
            U = op.EyeLike(W)
        if b is not None:
            b = op.Unsqueeze(op.Concat(b, op.Mul(b, 0.0) if b_hh is None else b_hh, axis=0), [0])
        states, final = op.RNN(
            x,
            op.Unsqueeze(U, [0]),
            op.Unsqueeze(W, [0]),
            b,
            None if lengths is None else op.Cast(lengths, to=6),  # int32
            None if s0 is None else op.Unsqueeze(s0, [0]),
            direction="reverse" if reverse else "forward",
            hidden_size=W.shape[0],
            **ACTIVATIONS[nonlinearity],
        )
        states = op.Squeeze(states, [1])
        return op.Transpose(states, perm=[1, 0, 2]) if batch_first else states, final

    return {torch.ops.throughtime.recurrence.default: recurrence}


class _Whole(nn.Module):
    """A model with all its inputs given and all its outputs returned."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor | None, initial_state: Tensor | None = None) -> tuple[Tensor, ...]:
        if initial_state is None:
            return (self.model(x, lengths),)
        return self.model(x, lengths, initial_state, return_state=True)


def _example(model: Any, symbols: bool, B: int, T: int, seed: int) -> dict[str, Tensor]:
    """Inputs to run a model with, by name: x, ragged lengths and, in a model of one direction, initial states."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(model.n, (B, T), generator=random) if symbols else torch.randn(B, T, model.n, generator=random)
    lengths = torch.randint(1, T + 1, (B,), generator=random)
    lengths[0] = T
    if getattr(model, "bidirectional", False):
        return {"x": x, "lengths": lengths}
    return {"x": x, "lengths": lengths, "initial_state": torch.randn(model.initial_state(B).shape, generator=random)}


def _onnx_bytes(model: Any, symbols: bool, encoding: Encoding | None) -> bytes:
    """The content of the ONNX file of a model on the CPU in evaluation mode."""
    from onnx import helper

    B, T = torch.export.Dim("B"), torch.export.Dim("T")
    free = {"x": {0: B, 1: T}, "lengths": {0: B}, "initial_state": {model.initial_state(1).dim() - 2: B}}
    example = _example(model, symbols, *EXPORTED_AT, seed=0)
    with _quiet():
        program = torch.onnx.export(
            _Whole(model),
            tuple(example.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            custom_translation_table=translation_table(),
            dynamic_shapes={name: free[name] for name in example},
            input_names=[name if name == "x" else f"all_{name}" for name in example],
            output_names=OUTPUTS[: len(example) - 1],
        )
    assert program is not None
    proto = program.model_proto
    _let_inputs_be_left_out(proto.graph, model.initial_state(1) if "initial_state" in example else None)
    proto.producer_name = "throughtime"
    proto.producer_version = _version()
    if encoding is not None:
        entries = encoding.to_json()
        helper.set_model_props(proto, {name: json.dumps(entries[name], ensure_ascii=False) for name in entries})
    return proto.SerializeToString()


def _let_inputs_be_left_out(graph: Any, initial_state: Tensor | None) -> None:
    """Give the inputs for lengths and initial states defaults of one row, which are spread over the batch.

    An ONNX input that is also an initializer may be left out; but an initializer has a fixed shape.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Shape", ["x"], ["B"], start=0, end=1),
        helper.make_node("Shape", ["x"], ["T"], start=1, end=2),
        helper.make_node("Equal", ["lengths", "whole"], ["is_whole"]),
        helper.make_node("Where", ["is_whole", "T", "lengths"], ["given_lengths"]),
        helper.make_node("Expand", ["given_lengths", "B"], ["all_lengths"]),
    ]
    inputs = [graph.input[0], helper.make_tensor_value_info("lengths", TensorProto.INT64, ["rows of lengths"])]
    constants = {"whole": np.array([WHOLE]), "lengths": np.array([WHOLE])}
    if initial_state is not None:
        *layers, _, d = initial_state.shape
        shape = [*layers, "rows of initial_state", d]
        inputs.append(helper.make_tensor_value_info("initial_state", TensorProto.FLOAT, shape))
        nodes.append(helper.make_node("Concat", ["B", "one"], ["rows"], axis=0))
        nodes.append(helper.make_node("Expand", ["initial_state", "rows"], ["all_initial_state"]))
        constants |= {"one": np.array([1]), "initial_state": initial_state.detach().numpy()}
    for field, values in ((graph.node, [*nodes, *graph.node]), (graph.input, inputs)):
        values = [copy.deepcopy(value) for value in values]
        del field[:]
        field.extend(values)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def _checked(content: bytes, model: Any, symbols: bool) -> float:
    """The largest difference between onnxruntime and the model at `CHECKED_AT`.

    Raises: ExportError: it is above `TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of inputs that may be left out
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for seed, (B, T) in enumerate(CHECKED_AT, start=1):
        inputs = _example(model, symbols, B, T, seed)
        names = OUTPUTS[: len(inputs) - 1]
        for given in (inputs, {"x": inputs["x"]}):
            found: Any = session.run(names, {name: value.numpy() for name, value in given.items()})
            start = given.get("initial_state", model.initial_state(B)) if "initial_state" in inputs else None
            wanted = _Whole(model)(given["x"], given.get("lengths"), start)
            for name, one, other in zip(names, found, wanted, strict=True):
                expected = other.numpy()
                difference = float(np.abs(one - expected).max()) if one.shape == expected.shape else np.nan
                largest = max(largest, difference)
                if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
                    raise ExportError(
                        f"ONNX: {name} at B={B}, T={T}: expected what the model gives, to {TOLERANCE:g}, found a "
                        f"difference of {difference:g}; no file was written"
                    )
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporter says about itself and packages that do not matter here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _require_onnx() -> None:
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"expected the package {error.name}, which is not installed: pip install 'throughtime[onnx]'"
        ) from error


def _version() -> str:
    import throughtime

    return throughtime.__version__
