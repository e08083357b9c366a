"""What `torch.jit.trace` keeps of a layer, and with it `torch.onnx.export(dynamo=False)`: right at other sizes, or refused."""

from __future__ import annotations

import io
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
