"""`SequenceModel(cell=)`: its parts, the state it carries, its plain torch form; and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import throughtime as tt
from throughtime.models import states
from throughtime.nn import LAYERS

CELLS = pytest.mark.parametrize("cell", list(LAYERS))


@CELLS
@pytest.mark.parametrize(
    "options", [{}, {"layers": 2, "bidirectional": True, "task": "classify"}], ids=["tag", "classify"]
)
def test_it_is_its_plain_torch_form(cell: str, options: dict[str, Any], engine: str) -> None:
    model = tt.SequenceModel(5, 4, 3, cell=cell, embedding=2, dtype=torch.float64, **options)
    plain = model.to_torch()
    kind = {"elman": "RNN", "lstm": "LSTM", "gru": "GRU"}[cell]
    assert (type(model.rnn).__name__, type(plain.rnn).__name__) == (kind, kind)
    x, lengths = torch.randint(5, (3, 7)), torch.tensor([7, 2, 5])
    z, expected = model(x, lengths), plain(x, lengths)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)
    y = torch.randint(3, (3,) if options else (3, 7))
    loss = model.loss(x, y, lengths)
    if options:
        judged = torch.nn.functional.cross_entropy(expected, y)
    else:
        real = torch.arange(7) < lengths.unsqueeze(1)
        judged = torch.nn.functional.cross_entropy(expected[real], y[real], reduction="sum") / 3
    torch.testing.assert_close(loss, judged, rtol=1e-12, atol=1e-12)
    grads = [torch.autograd.grad(v, list(m.parameters())) for v, m in ((loss, model), (judged, plain))]
    for (name, _), mine, theirs in zip(model.named_parameters(), *grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10, msg=name)


@CELLS
def test_two_halves_with_the_state_carried_on_are_the_whole(cell: str, engine: str) -> None:
    model = tt.SequenceModel(3, 4, 2, cell=cell, layers=2, dtype=torch.float64)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    whole, final = model(x, return_state=True)
    first, state = model(x[:, :4], s0=model.initial_state(2), return_state=True)
    second, last = model(x[:, 4:], s0=state, return_state=True)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-13, atol=1e-13)
    for found, expected, start in zip(*map(states.parts, (last, final, model.initial_state(2))), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
        assert start.shape == found.shape
    _, carried = model.loss(x, torch.zeros(2, 6, dtype=torch.long), return_state=True)
    assert not any(part.requires_grad for part in states.parts(carried))


def test_the_forget_gates_of_an_lstm_start_open() -> None:
    rnn = tt.SequenceModel(3, 4, 2, cell="lstm", layers=2).rnn
    for layer in range(2):
        assert (getattr(rnn, f"bias_ih_l{layer}")[4:8] == 1).all()
        assert (getattr(rnn, f"bias_hh_l{layer}")[4:8] == 0).all()
        assert getattr(rnn, f"bias_ih_l{layer}")[:4].abs().max() <= 0.5
    assert tt.nn.LSTM(3, 4).bias_ih_l0[4:8].abs().max() <= 0.5


def test_the_table_of_parameters_tells_the_gates() -> None:
    model = tt.SequenceModel(3, 4, 2, cell="gru")
    assert "rnn.weight_ih_l0  3d × n" in model.describe()
    assert model.describe().endswith(f"sum = {model.num_parameters}")


@CELLS
def test_an_onnx_file_agrees(cell: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from throughtime.export import to_onnx

    model = tt.SequenceModel(3, 4, 2, cell=cell, layers=2)
    assert to_onnx(model, tmp_path / "model.onnx") < 1e-5
    import onnx

    graph = onnx.load(tmp_path / "model.onnx").graph
    operator = {"elman": "RNN", "lstm": "LSTM", "gru": "GRU"}[cell]
    assert [node.op_type for node in graph.node].count(operator) == 2
    own = [""] if cell != "lstm" else [".0", ".1"]
    assert [i.name for i in graph.input][2:] == [f"initial_state{part}" for part in own]
    assert [o.name for o in graph.output][1:] == [f"final_state{part}" for part in own]


ERRORS: dict[str, tuple[Any, str]] = {
    "cell": (
        lambda: tt.SequenceModel(3, 4, 2, cell="lsmt"),
        "cell: expected one of 'elman', 'lstm', 'gru', found 'lsmt'",
    ),
    "sigma": (
        lambda: tt.SequenceModel(3, 4, 2, cell="gru", nonlinearity="relu"),
        "nonlinearity: expected none with the cell",
    ),
    "h alone": (lambda: _lstm()(_x(), s0=torch.zeros(1, 2, 4)), r"s0: expected 2 parts \(h, c\), found Tensor"),
    "three": (lambda: _lstm()(_x(), s0=(_x(),) * 3), "found 3 of them"),
    "shape of c": (
        lambda: _lstm()(_x(), s0=(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))),
        r"s0.1: expected shape \[layers=1, B=2, d=4\]",
    ),
}


def _lstm() -> tt.SequenceModel:
    return tt.SequenceModel(3, 4, 2, cell="lstm")


def _x() -> Tensor:
    return torch.zeros(2, 5, 3)


@pytest.mark.parametrize("name", ERRORS)
def test_what_does_not_fit(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()
