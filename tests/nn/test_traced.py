"""What `torch.jit.trace` keeps of a layer, and with it `torch.onnx.export(dynamo=False)`: right at other sizes, or refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import assert_close
from torch import Tensor

import throughtime as tt

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch calls its tracer deprecated, in many words


class Ragged(torch.nn.Module):
    def __init__(self, rnn: Any) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.rnn(x, None, lengths)


@pytest.mark.parametrize("symbols", [False, True], ids=["features", "symbols"])
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_trace_is_saved_and_right_at_other_sizes(nonlinearity: str, ragged: bool, symbols: bool) -> None:
    rnn = tt.nn.RNN(3, 4, 2, nonlinearity, batch_first=True, bidirectional=True).eval()
    model = Ragged(rnn) if ragged else rnn

    def example(B: int, T: int) -> tuple[Tensor, ...]:
        x = torch.randint(3, (B, T)) if symbols else torch.randn(B, T, 3)
        return (x, torch.randint(1, T + 1, (B,))) if ragged else (x,)

    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, example(2, 5)), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    inputs = example(3, 8)
    for i, (found, expected) in enumerate(zip(loaded(*inputs), model(*inputs), strict=True)):
        assert_close(found, expected, 1e-5, f"result {i}")


def test_onnx_by_the_tracer_is_right() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rnn = tt.nn.RNN(3, 4, 2, bidirectional=True).eval()
    file, x = io.BytesIO(), torch.randn(7, 2, 3)
    axes = {"x": {0: "T", 1: "B"}}
    torch.onnx.export(rnn, (torch.randn(5, 2, 3),), file, dynamo=False, input_names=["x"], dynamic_axes=axes)  # type: ignore[arg-type]
    found = onnxruntime.InferenceSession(file.getvalue()).run(None, {"x": x.numpy()})
    for i, (mine, expected) in enumerate(zip(found, rnn(x), strict=True)):
        assert_close(torch.from_numpy(mine), expected, 1e-5, f"result {i}")


@pytest.mark.parametrize("layer", [("RNN", "logistic"), ("LSTM",), ("GRU",)], ids=" ".join)
def test_what_a_tracer_cannot_keep_is_refused_by_name(layer: tuple[str, ...]) -> None:
    name, *nonlinearity = layer
    made = getattr(tt.nn, name)(3, 4, 1, *nonlinearity)
    with pytest.raises(RuntimeError, match="torch.export"):
        torch.jit.trace(made, (torch.randn(5, 2, 3),))


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


LOADS = """
import sys, torch, throughtime.nn  # which registers the operators
for name in ("RNN", "LSTM", "GRU"):
    x, *expected = torch.load(f"{sys.argv[1]}/{name}.pt")
    found = torch.utils._pytree.tree_leaves(torch.export.load(f"{sys.argv[1]}/{name}.pt2").module()(x))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
"""


def test_an_exported_layer_is_loaded_by_another_process(tmp_path: Path) -> None:
    """And gives the same bits at another number of steps and rows."""
    for name in ("RNN", "LSTM", "GRU"):
        layer, x = getattr(tt.nn, name)(3, 4, 2, bidirectional=True), torch.randn(7, 5, 3)
        sizes = {0: torch.export.Dim("T", min=2), 1: torch.export.Dim("B", min=2)}
        torch.export.save(
            torch.export.export(layer, (torch.randn(5, 2, 3),), dynamic_shapes=(sizes,)), tmp_path / f"{name}.pt2"
        )
        torch.save([x, *torch.utils._pytree.tree_leaves(layer(x))], tmp_path / f"{name}.pt")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
