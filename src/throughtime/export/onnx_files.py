"""Models as ONNX files, checked before they are written.

Every recurrence becomes one node of ONNX's own operator RNN, LSTM or GRU (see `onnx_operators`). onnx, onnxscript and
onnxruntime are imported when they are used.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.core.weights import settled
from throughtime.data.encoding import Encoding
from throughtime.data.files import write_atomically
from throughtime.export.onnx_operators import require_onnx, translation_table
from throughtime.learning.run import Run
from throughtime.models.cell_layers import cell_name
from throughtime.models.model import ElmanNetwork
from throughtime.models.sequence_model import SequenceModel
from throughtime.models.states import each, named, parts
from throughtime.models.word_encoder import WordEncoder

TOLERANCE = 1e-5
"""Greatest difference allowed between onnxruntime and throughtime, relative to the largest value where that exceeds 1."""

OPSET = 18
EXPORTED_AT = (2, 5)
CHECKED_AT = ((1, 1), (3, 17), (5, 4))
"""Sizes (B, T) of the example that is traced, and of those that the file is checked with."""

WHOLE = -1
"""The default of the ONNX input `lengths`: every sequence has all T steps."""


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

    and the outputs `z`, what the model returns, and `final_state`, shaped like the initial one, to carry into a next call. An
    LSTM has two parts of each: `initial_state.0` and `final_state.0` are h, `initial_state.1` and `final_state.1` are c. A
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
        TypeError: not such a model, one that reads several symbols a step or has a cell of its own, or parameters of another
            dtype.
        ExportError: onnxruntime does not agree to 1e-5.
        OSError: the file cannot be written.
    """
    if isinstance(model, Run):
        model, encoding = model.model, model.encoding
    if not isinstance(model, ElmanNetwork | SequenceModel):
        raise TypeError(f"model: expected an ElmanNetwork, a SequenceModel or a run, found {type(model).__name__}")
    if isinstance(getattr(model, "embedding", None), WordEncoder):
        raise TypeError("model: expected one symbol for each step, as ONNX files have, found columns or characters")
    if not isinstance(cell := getattr(model, "cell", "elman"), str):
        raise TypeError(f"cell: expected one that ONNX has an operator for, found {cell_name(cell)}")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise TypeError(
                f"model: expected float32 parameters, found {parameter.dtype} in {name}; model.float() converts"
            )
    if symbols is None:
        has_embedding = getattr(model, "embedding", None) is not None
        symbols = has_embedding if encoding is None else encoding.vocabulary is not None
    require_onnx()
    model = copy.deepcopy(settled(model)).to("cpu").eval().requires_grad_(False)
    content = _onnx_bytes(model, symbols, encoding)
    difference = _checked(content, model, symbols)
    write_atomically(path, content)
    return difference


class _Whole(nn.Module):
    """A model with all its inputs given and all its outputs returned."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor | None, *state: Tensor) -> tuple[Tensor, ...]:
        if not state:
            return (self.model(x, lengths),)
        z, final = self.model(x, lengths, state[0] if len(state) == 1 else state, return_state=True)
        return z, *parts(final)


def _example(model: Any, symbols: bool, B: int, T: int, seed: int) -> dict[str, Tensor]:
    """Inputs to run a model with, by name: x, ragged lengths and, in a model of one direction, initial states."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(model.n, (B, T), generator=random) if symbols else torch.randn(B, T, model.n, generator=random)
    lengths = torch.randint(1, T + 1, (B,), generator=random)
    lengths[0] = T
    if getattr(model, "bidirectional", False):
        return {"x": x, "lengths": lengths}
    state = each(lambda part: torch.randn(part.shape, generator=random), model.initial_state(B))
    return {"x": x, "lengths": lengths} | named("initial_state", state)


def _outputs(inputs: Iterable[str]) -> list[str]:
    """The names of the outputs of a model with these inputs."""
    return ["z", *(name.replace("initial", "final") for name in inputs if name.startswith("initial_state"))]


def _onnx_bytes(model: Any, symbols: bool, encoding: Encoding | None) -> bytes:
    """The content of the ONNX file of a model on the CPU in evaluation mode."""
    from onnx import helper

    B, T = torch.export.Dim("B"), torch.export.Dim("T")
    example = _example(model, symbols, *EXPORTED_AT, seed=0)
    _, _, *state = example.values()
    free: list[Any] = [{0: B, 1: T}, {0: B}]
    if state:
        free.append(tuple({part.dim() - 2: B} for part in state))
    with _quiet():
        program = torch.onnx.export(
            _Whole(model),
            tuple(example.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            custom_translation_table=translation_table(),
            dynamic_shapes=tuple(free),
            input_names=[name if name == "x" else f"all_{name}" for name in example],
            output_names=_outputs(example),
        )
    assert program is not None
    proto = program.model_proto
    _let_inputs_be_left_out(proto.graph, named("initial_state", model.initial_state(1) if state else None))
    proto.producer_name = "throughtime"
    proto.producer_version = _version()
    if encoding is not None:
        entries = encoding.to_json()
        helper.set_model_props(proto, {name: json.dumps(entries[name], ensure_ascii=False) for name in entries})
    return proto.SerializeToString()


def _let_inputs_be_left_out(graph: Any, initial: dict[str, Tensor]) -> None:
    """Give the inputs for lengths and the parts of initial states defaults of one row, which are spread over the batch.

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
    if initial:
        nodes.append(helper.make_node("Concat", ["B", "one"], ["rows"], axis=0))
        constants["one"] = np.array([1])
    for name, value in initial.items():
        *layers, _, d = value.shape
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [*layers, f"rows of {name}", d]))
        nodes.append(helper.make_node("Expand", [name, "rows"], [f"all_{name}"]))
        constants[name] = value.detach().numpy()
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
        names = _outputs(inputs)
        for given in (inputs, {"x": inputs["x"]}):
            found: Any = session.run(names, {name: value.numpy() for name, value in given.items()})
            own = named("initial_state", model.initial_state(B) if len(inputs) > 2 else None)
            start = [given.get(name, value) for name, value in own.items()]
            wanted = _Whole(model)(given["x"], given.get("lengths"), *start)
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


def _version() -> str:
    import throughtime

    return throughtime.__version__
