"""Exported models against throughtime, at sizes other than those exported with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime import export
from throughtime.core.notation import NONLINEARITIES
from throughtime.data import Encoding, Vocabulary
from throughtime.export.onnx_operators import ACTIVATIONS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-5
SIZES = [(1, 1), (3, 17), (17, 100)]


def session(path: Path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path: Path, **inputs: Tensor) -> list[Tensor]:
    found = session(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return [torch.from_numpy(value) for value in found]


def network(nonlinearity: str = "tanh", **options) -> tt.ElmanNetwork:
    net = tt.ElmanNetwork(3, 5, 4, nonlinearity, **options)
    for parameter in net.parameters():  # every one of them matters
        nn.init.uniform_(parameter, -0.4, 0.4)
    return net


def inputs(net: tt.ElmanNetwork | tt.SequenceModel, B: int, T: int, symbols: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x, ragged lengths, initial states; the padding of x would show in the result if it were read."""
    x = torch.randint(net.n, (B, T)) if symbols else torch.randn(B, T, net.n)
    lengths = torch.randint(1, T + 1, (B,))
    x[torch.arange(T) >= lengths.unsqueeze(1)] = -1000 if symbols else 1e6
    return x, lengths, torch.randn(B, net.d)


@torch.no_grad()
def assert_agrees(path: Path, net: tt.ElmanNetwork, symbols: bool) -> None:
    for B, T in SIZES:
        x, lengths, s0 = inputs(net, B, T, symbols)
        for given in ({"x": x, "lengths": lengths, "initial_state": s0}, {"x": x, "lengths": lengths}):
            expected = net(x, lengths, given.get("initial_state"), return_state=True)
            torch.testing.assert_close(run(path, **given), list(expected), rtol=TOLERANCE, atol=TOLERANCE)
        whole = torch.randint(net.n, (B, T)) if symbols else torch.randn_like(x)
        expected = net(whole, return_state=True)
        torch.testing.assert_close(run(path, x=whole), list(expected), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("symbols", [False, True], ids=["features", "symbols"])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_onnx_agrees_at_other_sizes(tmp_path, nonlinearity, symbols):
    net = network(nonlinearity, initial_state="learned" if symbols else "zero")
    difference = export.to_onnx(net, tmp_path / "model.onnx", symbols=symbols)
    assert 0 < difference < TOLERANCE
    assert_agrees(tmp_path / "model.onnx", net, symbols)


STACKS = {
    "tag": {"task": "tag", "layers": 2, "bidirectional": True, "embedding": 6},
    "classify": {"task": "classify", "layers": 2, "bidirectional": True, "nonlinearity": "logistic", "dropout": 0.5},
    "regress": {"task": "regress", "layers": 3, "nonlinearity": "relu"},
    "forecast": {"task": "forecast", "layers": 2, "nonlinearity": "identity"},
    "lm": {"task": "lm"},
}
"""Each on symbols but for regress and forecast."""
stacks = pytest.mark.parametrize(
    ("options", "symbols"), [(STACKS[task], task not in ("regress", "forecast")) for task in STACKS], ids=list(STACKS)
)


@stacks
@torch.no_grad()
def test_onnx_of_stacks_and_both_directions(tmp_path, options, symbols):
    model = tt.SequenceModel(3, 5, 4, **options)
    export.to_onnx(model, tmp_path / "model.onnx", symbols=symbols)
    model.eval()
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert kinds.count("RNN") == model.layers * model.directions
    for B, T in SIZES:
        x, lengths, _ = inputs(model, B, T, symbols)
        given = {"x": x, "lengths": lengths}
        if not model.bidirectional:
            given["initial_state"] = torch.randn(model.layers, B, model.d)
            expected = list(model(x, lengths, given["initial_state"], return_state=True))
        else:
            expected = [model(x, lengths)]
        found = run(tmp_path / "model.onnx", **given)
        torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_onnx_of_an_embedding_takes_symbols_unasked(tmp_path):
    export.to_onnx(tt.SequenceModel(3, 5, 4, embedding=2), tmp_path / "model.onnx")
    assert session(tmp_path / "model.onnx").get_inputs()[0].type == "tensor(int64)"


def test_onnx_has_one_rnn_operator_and_free_sizes(tmp_path):
    export.to_onnx(network(), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node].count("RNN") == 1
    assert not {"Loop", "Scan"} & {node.op_type for node in model.graph.node}
    shapes = {x.name: [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in model.graph.input}
    assert shapes["x"] == ["B", "T", 3]
    assert (model.producer_name, model.metadata_props) == ("throughtime", [])


def test_onnx_carries_state_from_call_to_call(tmp_path):
    net = network()
    export.to_onnx(net, tmp_path / "model.onnx")
    x = torch.randn(2, 9, 3)
    first, state = run(tmp_path / "model.onnx", x=x[:, :4])
    second, _ = run(tmp_path / "model.onnx", x=x[:, 4:], initial_state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), net(x).detach(), rtol=TOLERANCE, atol=TOLERANCE)


def test_onnx_metadata_name_inputs_and_outputs(tmp_path):
    encoding = Encoding("tag", ("café", "b", "c", "d"), vocabulary=Vocabulary(("<unknown>", "x", "é"), "<unknown>"))
    export.to_onnx(network(), tmp_path / "model.onnx", encoding=encoding)
    found = session(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert Encoding.from_json({name: json.loads(value) for name, value in found.items()}) == encoding
    assert json.loads(found["labels"])[0] == "café"


def test_the_model_is_left_as_it_was(tmp_path):
    net = network().train()
    state = torch.random.get_rng_state()
    export.to_onnx(net, tmp_path / "model.onnx")
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_file_that_disagrees_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "tanh", {"activations": ["Softsign"]})
    with pytest.raises(
        export.ExportError, match=r"^ONNX: z at B=1, T=1: expected .* to 1e-05, found a difference of 0\.\d"
    ):
        export.to_onnx(network(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match=r"^model: expected an ElmanNetwork, .* found Linear$"):
        export.to_onnx(nn.Linear(2, 3), path)
    with pytest.raises(
        TypeError, match=r"^model: expected float32 parameters, found torch.float64 in U; model.float\(\)"
    ):
        export.to_onnx(network().double(), path)
    with pytest.raises(FileNotFoundError):
        export.to_onnx(network(), tmp_path / "none" / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"^expected the package onnxscript, .*: pip install 'throughtime\[onnx\]'$"):
        export.to_onnx(network(), path)
    assert list(tmp_path.iterdir()) == []


class Own(nn.Module):
    """A user's module around a stack of layers in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = tt.nn.RNN(
            3, 5, num_layers=2, bidirectional=True, bias=False, batch_first=True, nonlinearity="logistic"
        )
        self.readout = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(x)[0])


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns of itself
def test_modules_of_ones_own_export_with_the_table(tmp_path):
    model, B, T = Own().eval(), torch.export.Dim("B"), torch.export.Dim("T")
    torch.onnx.export(
        model,
        (torch.randn(2, 5, 3),),
        tmp_path / "own.onnx",
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: B, 1: T},),
        custom_translation_table=export.translation_table(),
        input_names=["x"],
    )
    operators = [node.op_type for node in onnx.load(tmp_path / "own.onnx").graph.node]
    assert operators.count("RNN") == 4
    for b, t in SIZES:
        x = torch.randn(b, t, 3)
        (found,) = session(tmp_path / "own.onnx").run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found, model(x).detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("symbols", [False, True], ids=["features", "symbols"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_plain_torch_modules_give_the_same(nonlinearity, symbols, dtype):
    net = network(nonlinearity, initial_state="learned" if symbols else "zero").to(dtype)
    plain = net.to_torch()
    assert type(plain.rnn) is nn.RNN
    assert type(plain.readout) is nn.Linear
    rounding = 50 * torch.finfo(dtype).eps
    for B, T in SIZES:
        x, lengths, _ = inputs(net, B, T, symbols)
        x = x if symbols else x.to(dtype)
        torch.testing.assert_close(plain(x, lengths), net(x, lengths), rtol=rounding, atol=rounding)
        x = x.clamp_min(0) if symbols else torch.randn_like(x)
        torch.testing.assert_close(plain(x), net(x), rtol=rounding, atol=rounding)


@stacks
@torch.no_grad()
def test_plain_torch_modules_of_stacks(options, symbols):
    model = tt.SequenceModel(3, 5, 4, **options).eval()
    if model.nonlinearity not in ("tanh", "relu"):
        with pytest.raises(ValueError, match=r"^nonlinearity: expected 'tanh' or 'relu'"):
            model.to_torch()
        return
    plain = model.to_torch()
    assert not plain.training
    assert plain.state_dict().keys() == model.state_dict().keys()
    for B, T in SIZES:
        x, lengths, _ = inputs(model, B, T, symbols)
        torch.testing.assert_close(plain(x, lengths), model(x, lengths), rtol=1e-5, atol=1e-6)
        x = x.clamp_min(0) if symbols else torch.randn_like(x)
        torch.testing.assert_close(plain(x), model(x), rtol=1e-5, atol=1e-6)


def test_plain_torch_modules_have_weights_of_their_own():
    net = network()
    plain = net.to_torch()
    before = net.V.detach().clone()
    nn.init.zeros_(plain.readout.weight)
    assert torch.equal(net.V, before)


def test_what_torch_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"^nonlinearity: expected 'tanh' or 'relu', .*, found 'logistic'$"):
        network("logistic").to_torch()


def test_weights_of_a_run_load_without_throughtime(tmp_path):
    """By the names in `to_torch`, with safetensors and torch alone."""
    from safetensors.torch import load_file, save_file

    net = network()
    save_file(net.state_dict(), tmp_path / "model.safetensors")

    weights = load_file(tmp_path / "model.safetensors")
    (d, n), k = weights["U"].shape, len(weights["c"])
    rnn, readout = nn.RNN(n, d, batch_first=True), nn.Linear(d, k)
    rnn.load_state_dict(
        {
            "weight_ih_l0": weights["U"],
            "weight_hh_l0": weights["W"],
            "bias_ih_l0": weights["b"],
            "bias_hh_l0": torch.zeros(d),
        }
    )
    readout.load_state_dict({"weight": weights["V"], "bias": weights["c"]})

    x = torch.randn(2, 7, n)
    torch.testing.assert_close(readout(rnn(x)[0]), net(x), rtol=1e-6, atol=1e-6)
