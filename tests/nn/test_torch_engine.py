"""The engine "torch", on the CPU as anywhere: the reference's numbers for every gradient, ragged, in pieces, twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from beside_torch import initial, tensors
from problems import assert_close

import throughtime as tt
from throughtime.nn import fused

LAYERS = pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
T, B, N, D = 7, 3, 5, 4


def layer_of(kind: str, **options: Any) -> Any:
    return getattr(tt.nn, kind)(N, D, 2, bidirectional=True, dtype=torch.float64, **options)


def marks(*shape: int) -> torch.Tensor:
    found = torch.zeros(shape, dtype=torch.bool)
    found[2, 0] = found[0, 1] = found[3, 1] = found[5, 1] = found[6, 2] = True
    return found


@pytest.mark.parametrize("form", ["whole", "lengths", "starts", "both", "symbols"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given", [False, True], ids=["zero", "given"])
@LAYERS
def test_equals_the_reference(kind: str, given: bool, batch_first: bool, form: str, monkeypatch) -> None:
    layer = layer_of(kind, batch_first=batch_first)
    x: Any = torch.randn(T, B, N, dtype=torch.float64)
    lengths = torch.tensor([7, 4, 1]) if form in ("lengths", "both", "symbols") else None
    starts = marks(T, B) if form in ("starts", "both") else None
    if form == "symbols":
        x = torch.randint(N, (T, B))
        x[5, 1] = -7  # padding
    elif lengths is not None:
        x[5, 1] = torch.nan
    if batch_first:
        x, starts = x.transpose(0, 1).contiguous(), None if starts is None else starts.T
    state = initial(layer, B) if given else None
    parts = () if state is None else state if isinstance(state, tuple) else (state,)
    leaves = [*([x.requires_grad_()] if x.is_floating_point() else []), *parts, *layer.parameters()]
    calls: list[int] = []
    own = fused.run
    monkeypatch.setattr(fused, "run", lambda *a: calls.append(1) or own(*a))
    results = []
    for engine in ("torch", "reference"):
        with tt.engine(engine):
            found = tensors(layer(x, state, lengths, starts))
            torch.manual_seed(1)
            upstream = [torch.randn(t.shape, dtype=t.dtype) for t in found.values()]
            results.append((found, torch.autograd.grad(list(found.values()), leaves, upstream)))
    assert calls == [1]
    (found, grads), (expected, expected_grads) = results
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    for i, (mine, judged) in enumerate(zip(grads, expected_grads, strict=True)):
        assert_close(mine, judged, 1e-10, f"gradient {i}")


@LAYERS
def test_second_derivatives_and_a_second_look(kind: str) -> None:
    layer = layer_of(kind)
    x = torch.randn(T, B, N, dtype=torch.float64, requires_grad=True)
    leaves, results = [x, *layer.parameters()], []
    for engine in ("torch", "reference"):
        with tt.engine(engine):
            loss = layer(x, starts=marks(T, B))[0].square().sum()
            first = torch.autograd.grad(loss, leaves, create_graph=True)
            again = torch.autograd.grad(loss, leaves, retain_graph=True)
            for a, b in zip(first, again, strict=True):
                assert_close(a.detach(), b, 1e-12, "the same gradient twice")
            results.append(torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), leaves))
    for mine, judged in zip(*results, strict=True):
        assert_close(mine, judged, 1e-10, "second derivative")


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_projection_dropout_and_no_gradients() -> None:
    layer = tt.nn.LSTM(N, D, 2, proj_size=2, dropout=0.5)
    theirs = torch.nn.LSTM(N, D, 2, proj_size=2, dropout=0.5)
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(T, B, N)
    with tt.engine("torch"):
        for context in (torch.no_grad, torch.enable_grad):
            outputs = []
            for model in (layer, theirs):
                torch.manual_seed(4)
                with context():
                    outputs.append(model(x)[0])
            assert torch.equal(*outputs)


def test_what_torch_has_no_operator_for_runs_on_the_reference() -> None:
    x = torch.randn(T, B, N)
    for layer in (tt.nn.RNN(N, D, nonlinearity="logistic"), tt.nn.GRU(N, D, reset_after=False)):
        results = []
        for engine in ("torch", "reference"):
            with tt.engine(engine):
                results.append(layer(x)[0])
        assert torch.equal(*results)


def test_torch_func_goes_by_the_reference() -> None:
    layer = layer_of("GRU")
    x = torch.randn(T, B, N, dtype=torch.float64)
    with tt.engine("torch"):
        found = torch.func.grad(lambda x: layer(x)[0].square().sum())(x)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(layer(leaf)[0].square().sum(), leaf)
    assert_close(found, expected, 1e-12, "gradient")
