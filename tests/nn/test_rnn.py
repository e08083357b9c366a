"""`tt.nn.RNN` beside `torch.nn.RNN`: the same numbers and the same gradients by name."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from beside_torch import compare, draw, pair, tensors
from problems import assert_close
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import throughtime as tt

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}
SIZES = [(1, 3), (3, 17), (17, 1), (5, 4)]
"""(n, d) that the cases take in turn."""


@pytest.mark.parametrize("form", ["unbatched", "batched", "packed", "packed sorted"])
@pytest.mark.parametrize("T", [1, 7, 60])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equals_torch_nn_rnn(nonlinearity: str, num_layers: int, T: int, form: str) -> None:
    options = itertools.product([True, False], repeat=4)
    for i, (bias, batch_first, bidirectional, given) in enumerate(options):
        dtype = torch.float32 if T == 7 and i % 2 == 0 else torch.float64
        n, d = SIZES[(i + i // 4 + num_layers) % len(SIZES)]
        ours, theirs = pair(n, d, num_layers, nonlinearity, bias, batch_first, 0.0, bidirectional, dtype=dtype)
        input, B = draw(form, T, 1 + i % 4, n, batch_first, dtype)
        layers = num_layers * (1 + bidirectional)
        h_0 = torch.randn((layers, B, d) if B else (layers, d), dtype=dtype, requires_grad=True) if given else None
        compare(ours, theirs, input, h_0, TOLERANCE[dtype], f"{ours}, h_0 given: {given}:")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("B", "n", "d"), [(1, 1, 1), (3, 17, 100), (17, 100, 3), (5, 3, 17)])
@pytest.mark.parametrize("form", ["batched", "packed"])
def test_odd_sizes_on_every_engine(form: str, B: int, n: int, d: int, dtype: torch.dtype, engine: str) -> None:
    ours, theirs = pair(n, d, 2, batch_first=True, bidirectional=True, dtype=dtype)
    input, _ = draw(form, 9, B, n, True, dtype)
    compare(ours, theirs, input, torch.randn(4, B, d, dtype=dtype, requires_grad=True), TOLERANCE[dtype])


@pytest.mark.parametrize("nonlinearity", ["logistic", "identity"])
def test_the_other_nonlinearities(nonlinearity: str, engine: str) -> None:
    """Two layers, both directions, ragged: against the definition, one row and step at a time."""
    sigma = {"logistic": torch.sigmoid, "identity": lambda a: a}[nonlinearity]
    rnn = tt.nn.RNN(3, 4, 2, nonlinearity, bidirectional=True, dtype=torch.float64)
    rows = [torch.randn(T, 3, dtype=torch.float64) for T in (5, 2, 4)]
    h_0 = torch.randn(4, 3, 4, dtype=torch.float64)
    p = dict(rnn.named_parameters())
    outputs, finals = [], []
    for i, x in enumerate(rows):
        for layer in range(2):
            halves = []
            for direction, suffix in enumerate(("", "_reverse")):
                s, states = h_0[2 * layer + direction, i], []
                for x_t in x.flip(0) if direction else x:
                    s = sigma(
                        p[f"weight_ih_l{layer}{suffix}"] @ x_t
                        + p[f"bias_ih_l{layer}{suffix}"]
                        + p[f"weight_hh_l{layer}{suffix}"] @ s
                        + p[f"bias_hh_l{layer}{suffix}"]
                    )
                    states.append(s)
                finals.append(s)
                halves.append(torch.stack(states).flip(0) if direction else torch.stack(states))
            x = torch.cat(halves, -1)
        outputs.append(x)
    expected = {
        "output": pack_sequence(outputs, enforce_sorted=False).data,
        "h_n": torch.stack(finals).unflatten(0, (3, 4)).transpose(0, 1),
    }
    found = tensors(rnn(pack_sequence(rows, enforce_sorted=False), h_0))
    upstream = {name: torch.randn_like(t) for name, t in expected.items()}
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    grads = [
        torch.autograd.grad([r[k] for k in r], list(p.values()), list(upstream.values())) for r in (found, expected)
    ]
    for name, ours, theirs in zip(p, *grads, strict=True):
        assert_close(ours, theirs, 1e-11, f"gradient of {name}")


@pytest.mark.parametrize("form", ["batched", "unbatched", "packed"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_integer_symbols_are_one_hot_vectors(form: str, batch_first: bool, engine: str) -> None:
    ours, theirs = pair(5, 4, 2, batch_first=batch_first, bidirectional=True, dtype=torch.float64)
    symbols: Any = torch.randint(5, (7,) if form == "unbatched" else (3, 7) if batch_first else (7, 3))
    one_hot: Any = F.one_hot(symbols, 5).double()
    if form == "packed":
        lengths = torch.tensor([3, 7, 1])
        symbols, one_hot = (
            pack_padded_sequence(t, lengths, batch_first, enforce_sorted=False)
            if batch_first
            else pack_padded_sequence(t, lengths, enforce_sorted=False)
            for t in (symbols, one_hot)
        )
    found, expected = tensors(ours(symbols)), tensors(theirs(one_hot))
    upstream = [torch.randn_like(t) for t in expected.values()]
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    grads = [
        torch.autograd.grad([*r.values()], [*m.parameters()], upstream) for r, m in ((found, ours), (expected, theirs))
    ]
    for ours_g, theirs_g, name in zip(*grads, dict(ours.named_parameters()), strict=True):
        assert_close(ours_g, theirs_g, 1e-11, f"gradient of {name}")


def test_packed_output_is_torchs(engine: str) -> None:
    ours, theirs = pair(3, 4)
    packed, _ = draw("packed", 6, 5, 3, False, torch.float32)
    found, expected = ours(packed)[0], theirs(packed)[0]
    assert isinstance(found, PackedSequence)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_an_empty_batch(engine: str) -> None:
    ours, theirs = pair(3, 4, 2, bidirectional=True)
    for found, expected in zip(ours(torch.zeros(5, 0, 3)), theirs(torch.zeros(5, 0, 3)), strict=True):
        assert found.shape == expected.shape


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_trains_the_same_model_from_the_same_seed(dropout: float, engine: str) -> None:
    losses = []
    for RNN in (tt.nn.RNN, torch.nn.RNN):
        torch.manual_seed(3)
        rnn = RNN(3, 17, 2, dropout=dropout, batch_first=True, dtype=torch.float64)
        readout = torch.nn.Linear(17, 4, dtype=torch.float64)
        parameters = [*rnn.parameters(), *readout.parameters()]
        optimizer = torch.optim.Adam(parameters, 1e-2)
        x, y = torch.randn(5, 11, 3, dtype=torch.float64), torch.randint(4, (5, 11))
        losses.append([])
        for _ in range(12):
            optimizer.zero_grad()
            loss = F.cross_entropy(readout(rnn(x)[0]).flatten(0, 1), y.flatten())
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.detach())
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert_close(torch.stack(losses[0]), torch.stack(losses[1]), 1e-9, "losses")


def test_second_derivatives(engine: str) -> None:
    rnn = tt.nn.RNN(2, 3, 2, bidirectional=True, dtype=torch.float64)
    packed = pack_sequence([torch.randn(T, 2, dtype=torch.float64) for T in (4, 2)])
    names, values = zip(*rnn.named_parameters(), strict=True)

    def run(data: Tensor, h_0: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        input = PackedSequence(data, packed.batch_sizes)
        output, h_n = torch.func.functional_call(rnn, dict(zip(names, parameters, strict=True)), (input, h_0))
        return output.data, h_n

    h_0 = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    inputs = (packed.data.requires_grad_(), h_0, *values)
    torch.autograd.gradcheck(run, inputs, fast_mode=True)
    torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("given", [True, False], ids=["h_0", "no-h_0"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("T", [1, 6])
def test_second_derivatives_equal_torchs(T: int, batch_first: bool, given: bool, engine: str) -> None:
    ours, theirs = pair(3, 5, 2, batch_first=batch_first, bidirectional=True, dtype=torch.float64)
    x = torch.randn(*((2, T) if batch_first else (T, 2)), 3, dtype=torch.float64, requires_grad=True)
    h_0 = torch.randn(4, 2, 5, dtype=torch.float64) if given else None
    found = []
    for model in (ours, theirs):
        first = torch.autograd.grad(model(x, h_0)[0].square().sum(), [x, *model.parameters()], create_graph=True)
        found.append(
            torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), [x, *model.parameters()])
        )
    for name, mine, expected in zip(["x", *dict(ours.named_parameters())], *found, strict=True):
        assert_close(mine, expected, 1e-10, name)
