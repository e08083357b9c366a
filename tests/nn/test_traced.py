"""What `torch.jit.trace` keeps of a layer, and with it `torch.onnx.export(dynamo=False)`: right at other sizes, or refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import assert_close
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_leaves

import throughtime as tt

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch calls its tracer deprecated, in many words


LAYERS = {
    "tanh": lambda **o: tt.nn.RNN(3, 4, 2, **o),
    "relu": lambda **o: tt.nn.RNN(3, 4, 2, "relu", **o),
    "LSTM": lambda **o: tt.nn.LSTM(3, 4, 2, **o),
    "LSTM projected": lambda **o: tt.nn.LSTM(3, 4, 2, proj_size=2, **o),
    "GRU": lambda **o: tt.nn.GRU(3, 4, 2, **o),
}


class Ragged(torch.nn.Module):
    """A layer of padded sequences: given their lengths, or packed and unpacked."""

    def __init__(self, rnn: Any, packed: bool) -> None:
        super().__init__()
        self.rnn, self.packed = rnn, packed

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        if not self.packed:
            return self.rnn(x, None, lengths)
        output, final = self.rnn(pack_padded_sequence(x, lengths, self.rnn.batch_first, enforce_sorted=False))
        return pad_packed_sequence(output, self.rnn.batch_first)[0], final


def case(name: str, form: str, batch_first: bool, symbols: bool = False) -> tuple[Any, Callable[[int, int], Any]]:
    """A model, and what draws inputs of it of any size."""
    rnn = LAYERS[name](batch_first=batch_first, bidirectional=True).eval()

    def example(B: int, T: int) -> tuple[Tensor, ...]:
        x = torch.randint(3, (B, T)) if symbols else torch.randn(B, T, 3)
        lengths = torch.randint(1, T + 1, (B,))
        lengths[1] = T
        x = x if batch_first else x.transpose(0, 1).contiguous()
        return (x,) if form == "whole" else (x, lengths)

    return rnn if form == "whole" else Ragged(rnn, form == "packed"), example


@pytest.mark.parametrize(
    ("form", "symbols"), [("whole", False), ("whole", True), ("lengths", False), ("lengths", True), ("packed", False)]
)
@pytest.mark.parametrize("name", LAYERS)
def test_a_trace_is_saved_and_right_at_other_sizes(name: str, form: str, symbols: bool) -> None:
    model, example = case(name, form, True, symbols)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, example(2, 5)), file)
    file.seek(0)
    loaded, inputs = torch.jit.load(file), example(3, 8)
    for i, (found, expected) in enumerate(zip(*map(tree_leaves, (loaded(*inputs), model(*inputs))), strict=True)):
        assert_close(found, expected, 1e-5, f"result {i}")


@pytest.mark.parametrize("form", ["whole", "lengths", "packed"])
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "LSTM projected"])  # ONNX has none
def test_onnx_by_the_tracer_is_right_at_other_sizes(name: str, form: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, example = case(name, form, form == "lengths")
    file, inputs = io.BytesIO(), example(3, 8)
    names = ["x", "lengths"][: len(inputs)]
    axes = {"x": {0: "first", 1: "second"}, "lengths": {0: "B"}}
    torch.onnx.export(model, example(2, 5), file, dynamo=False, input_names=names, dynamic_axes=axes)  # type: ignore[arg-type]
    found = onnxruntime.InferenceSession(file.getvalue()).run(
        None, {name: t.numpy() for name, t in zip(names, inputs, strict=True)}
    )
    for i, (mine, expected) in enumerate(zip(found, tree_leaves(model(*inputs)), strict=True)):
        assert_close(torch.from_numpy(mine), expected, 1e-5, f"result {i}")


def test_gradients_of_a_trace() -> None:
    for name in LAYERS:
        model, example = case(name, "whole", True)
        x, *_ = example(3, 8)
        found, expected = (
            torch.autograd.grad(m(x)[0].square().sum(), list(model.parameters()))
            for m in (torch.jit.trace(model, example(2, 5)), model)
        )
        for i, (mine, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(mine, other, 1e-5, f"{name}, gradient {i}")


REFUSED = {
    "logistic": lambda: tt.nn.RNN(3, 4, nonlinearity="logistic"),
    "reset before": lambda: tt.nn.GRU(3, 4, reset_after=False),
    "a cell": lambda: tt.nn.Recurrent(torch.nn.GRUCell(3, 4)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_tracer_cannot_keep_is_refused_by_name(name: str) -> None:
    layer, x = REFUSED[name](), torch.randn(5, 2, 3)
    layer(x)
    with pytest.raises(RuntimeError, match=r"^[^\n]*torch.export[^\n]*$"):
        torch.jit.trace(layer, (x,))


@pytest.mark.parametrize("name", LAYERS)
def test_the_pieces_of_an_example_are_not_kept(name: str) -> None:
    starts = torch.rand(5, 2) < 0.5
    with pytest.raises(RuntimeError, match=r"^starts: [^\n]*torch.export$"):
        torch.jit.trace(lambda x: LAYERS[name]()(x, None, None, starts)[0], (torch.randn(5, 2, 3),))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("of_state", [False, True])
def test_flops_are_counted_as_torchs(of_state: bool, batch_first: bool) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x, h_0 = torch.randn(5, 2, 3), torch.randn(1, 5 if batch_first else 2, 4, requires_grad=of_state)
    counts = []
    for RNN in (tt.nn.RNN, torch.nn.RNN):
        with FlopCounterMode(display=False) as counter:
            RNN(3, 4, batch_first=batch_first)(x, h_0)[0].sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("symbols", [False, True], ids=["features", "symbols"])
def test_flops_of_programs_are_counted_as_torchs(name: str, symbols: bool) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    # In float64, as what torch runs in float32 is not counted by it.
    layer, torchs = (getattr(nn, name)(3, 4, dtype=torch.float64) for nn in (tt.nn, torch.nn))
    x = torch.randint(3, (5, 2)) if symbols else torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    parts = [torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(1 + (name == "LSTM"))]
    h_0 = tuple(parts) if name == "LSTM" else parts[0]
    counts = []
    for run, data in ((layer, x), (torchs, torch.nn.functional.one_hot(x, 3).double() if symbols else x)):
        with FlopCounterMode(display=False) as counter:
            run(data, h_0)[0].sum().backward()
        counts.append(counter.get_total_flops())
    of_one_hot = 2 * (2 * 5 * 2 * 3 * layer.weight_ih_l0.shape[0])  # torch multiplies by it, there and back
    assert counts[0] == counts[1] - symbols * of_one_hot > 0


WHOLE_GRID = int(os.environ.get("THROUGHTIME_FUZZ", "1")) > 1

LOADS = """
import sys, torch, throughtime.nn  # which registers the operators
load = {"pt2": lambda path: torch.export.load(path).module(), "aoti": torch._inductor.aoti_load_package}
for name in ("RNN", "LSTM", "GRU"):
    x, *expected = torch.load(f"{sys.argv[1]}/{name}.pt")
    found = torch.utils._pytree.tree_leaves(load[sys.argv[2]](f"{sys.argv[1]}/{name}.pt2")(x))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
"""


@pytest.mark.parametrize(
    "kind",
    ["pt2", pytest.param("aoti", marks=pytest.mark.skipif(not WHOLE_GRID, reason="half a minute of a C++ compiler"))],
)
def test_an_exported_layer_is_loaded_by_another_process(tmp_path: Path, kind: str) -> None:
    """And gives the same bits at another number of steps and rows: as a graph, and compiled by AOTInductor."""
    for name in ("RNN", "LSTM", "GRU"):
        layer, x = getattr(tt.nn, name)(3, 4, 2, bidirectional=True), torch.randn(7, 5, 3)
        sizes = {0: torch.export.Dim("T", min=2), 1: torch.export.Dim("B", min=2)}
        exported = torch.export.export(layer, (torch.randn(5, 2, 3),), dynamic_shapes=(sizes,))
        for node in exported.graph.nodes:  # of which AOTInductor makes None
            assert not any(isinstance(a, list | tuple) and not a for a in node.args), (name, node.format_node())
        path = tmp_path / f"{name}.pt2"
        if kind == "pt2":
            torch.export.save(exported, path)
        else:
            torch._inductor.aoti_compile_and_package(exported, package_path=str(path))
        torch.save([x, *tree_leaves(layer(x))], tmp_path / f"{name}.pt")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADS, str(tmp_path), kind], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
