"""`tt.nn.RNN` as a module: parameters, copies, errors, compilation, as with `torch.nn.RNN`."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from beside_torch import compare, pair, tensors
from problems import assert_close
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import throughtime as tt

CONSTRUCTIONS = [
    {},
    {
        "num_layers": 3,
        "nonlinearity": "relu",
        "bias": False,
        "batch_first": True,
        "dropout": 0.25,
        "bidirectional": True,
    },
    {"num_layers": 2, "bidirectional": True, "dtype": torch.float64},
]


@pytest.mark.parametrize("options", CONSTRUCTIONS, ids=str)
def test_same_seed_same_parameters_in_the_same_order(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    ours = tt.nn.RNN(3, 4, **options)
    torch.manual_seed(1)
    theirs = torch.nn.RNN(3, 4, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    theirs.load_state_dict(ours.state_dict())
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, torch.nn.RNNBase)


def test_repr_names_the_nonlinearities_that_torch_lacks() -> None:
    assert (
        repr(tt.nn.RNN(3, 4, 2, "logistic", bias=False)) == "RNN(3, 4, num_layers=2, bias=False, nonlinearity=logistic)"
    )


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda rnn: pickle.loads(pickle.dumps(rnn)),
    "torch.save": lambda rnn: _through_a_file(rnn),
}


def _through_a_file(rnn: torch.nn.Module) -> torch.nn.Module:
    file = io.BytesIO()
    torch.save(rnn, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_whole_and_their_own(how: str) -> None:
    rnn = tt.nn.RNN(3, 4, 2, "logistic", bidirectional=True)
    x = torch.randn(5, 2, 3)
    other = COPIES[how](rnn)
    assert repr(other) == repr(rnn)
    assert torch.equal(other(x)[0], rnn(x)[0])
    with torch.no_grad():
        other.weight_hh_l0.zero_()
    assert not torch.equal(other(x)[0], rnn(x)[0])


def test_to_another_dtype() -> None:
    ours, theirs = pair(3, 4, 2)
    ours, theirs = ours.to(torch.float64), theirs.double()
    compare(ours, theirs, torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True), None, 1e-9)
    half = ours.bfloat16()
    output, h_n = half(torch.randn(5, 2, 3, dtype=torch.bfloat16))
    assert output.dtype == h_n.dtype == torch.bfloat16


def test_flatten_parameters_and_reset_parameters() -> None:
    rnn = tt.nn.RNN(3, 4)
    before = {name: value.clone() for name, value in rnn.state_dict().items()}
    assert rnn.flatten_parameters() is None
    assert all(torch.equal(before[name], value) for name, value in rnn.state_dict().items())
    rnn.reset_parameters()
    assert not any(torch.equal(before[name], value) for name, value in rnn.state_dict().items())


def test_replaced_and_parametrized_weights_are_used() -> None:
    ours, theirs = pair(3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for rnn in (ours, theirs):
        rnn.weight_ih_l0 = torch.nn.Parameter(torch.ones_like(rnn.weight_ih_l0))
    assert_close(ours(x)[0], theirs(x)[0], 1e-12, "replaced")
    for rnn in (ours, theirs):
        torch.nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0")
        with torch.no_grad():
            rnn.parametrizations.weight_hh_l0.original0.mul_(0.5)
    manual = tt.nn.RNN(3, 4, dtype=torch.float64)
    manual.load_state_dict({name: getattr(ours, name) for name in manual.state_dict()})
    assert_close(ours(x)[0], manual(x)[0], 1e-12, "parametrized")
    (g,) = torch.autograd.grad(ours(x)[0].sum(), ours.parametrizations.weight_hh_l0.original0)
    assert g.abs().max() > 0


def test_frozen_parameters_and_no_grad(engine: str) -> None:
    rnn = tt.nn.RNN(3, 4, 2)
    rnn.weight_hh_l0.requires_grad_(False)
    x = torch.randn(5, 2, 3)
    rnn(x)[0].sum().backward()
    assert rnn.weight_hh_l0.grad is None
    assert rnn.weight_hh_l1.grad is not None
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert not rnn(x)[0].requires_grad


# --- errors -------------------------------------------------------------------------------------------------------------

CONSTRUCTOR_ERRORS: list[tuple[tuple, dict[str, Any], str]] = [
    ((3, 4), {"nonlinearity": "sine"}, "nonlinearity.*'sine'"),
    ((0, 4), {}, "input_size"),
    ((3, -1), {}, "hidden_size"),
    ((3.0, 4), {}, "input_size.*int"),
    ((3, "4"), {}, "hidden_size.*int"),
    ((3, 4, 0), {}, "num_layers"),
    ((3, 4), {"bias": 1}, "bias.*bool"),
    ((3, 4), {"batch_first": "yes"}, "batch_first.*bool"),
    ((3, 4), {"dropout": 1.5}, "dropout"),
    ((3, 4), {"dropout": True}, "dropout"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), CONSTRUCTOR_ERRORS, ids=lambda v: str(v))
def test_a_wrong_constructor_argument(args: tuple, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as expected:
        torch.nn.RNN(*args, **kwargs)
    with pytest.raises(expected.type, match=message):
        tt.nn.RNN(*args, **kwargs)


def test_dropout_of_a_single_layer_warns_as_torch_does() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        tt.nn.RNN(3, 4, dropout=0.5)


def zeros(*shape: int, dtype: torch.dtype | None = None) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


CALL_ERRORS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("one axis", lambda rnn: rnn(zeros(3)), "2D or 3D.*1D"),
    ("four axes", lambda rnn: rnn(zeros(2, 2, 2, 3)), "2D or 3D.*4D"),
    ("wrong n", lambda rnn: rnn(zeros(5, 2, 4)), "Expected 3, got 4"),
    ("no steps", lambda rnn: rnn(zeros(0, 2, 3)), "sequence length"),
    ("wrong dtype", lambda rnn: rnn(zeros(5, 2, 3, dtype=torch.float64)), "float64.*float32"),
    ("wrong dtype of h_0", lambda rnn: rnn(zeros(5, 2, 3), zeros(2, 2, 4, dtype=torch.float64)), "dtype|Double"),
    ("h_0 of 2 axes", lambda rnn: rnn(zeros(5, 2, 3), zeros(2, 4)), "hx should.* be 3-D"),
    ("h_0 of 3 axes", lambda rnn: rnn(zeros(5, 3), zeros(2, 1, 4)), "hx should.* be 2-D"),
    (
        "wrong B of h_0",
        lambda rnn: rnn(zeros(5, 2, 3), zeros(2, 3, 4)),
        r"Expected hidden size \(2, 2, 4\), got \[2, 3, 4\]",
    ),
    ("wrong layers of h_0", lambda rnn: rnn(zeros(5, 2, 3), zeros(1, 2, 4)), "Expected hidden size"),
    ("wrong d of h_0", lambda rnn: rnn(zeros(5, 2, 3), zeros(2, 2, 5)), "Expected hidden size"),
    ("wrong h_0 of packed", lambda rnn: rnn(pack_sequence([zeros(4, 3)]), zeros(2, 2, 4)), "Expected hidden size"),
    ("wrong n of packed", lambda rnn: rnn(pack_sequence([zeros(4, 5)])), "Expected 3, got 5"),
    ("not a tensor", lambda rnn: rnn([[1.0]]), "list"),
    ("another device", lambda rnn: rnn(torch.zeros(5, 2, 3, device="meta")), "device|meta"),
]


@pytest.mark.parametrize(("call", "message"), [c[1:] for c in CALL_ERRORS], ids=[c[0] for c in CALL_ERRORS])
def test_a_wrong_call(call: Callable[[Any], Any], message: str, engine: str) -> None:
    ours, theirs = pair(3, 4, 2)
    with pytest.raises((AttributeError, NotImplementedError, RuntimeError, ValueError)) as expected:
        call(theirs)
    with pytest.raises(expected.type, match=message):
        call(ours)


def test_symbols_out_of_range_and_malformed_packs(engine: str) -> None:
    rnn = tt.nn.RNN(3, 4)
    with pytest.raises(ValueError, match="symbol in row 1, step 2: expected 0 to 2, found 3"):
        rnn(torch.tensor([[0, 1], [0, 2], [1, 3]]))
    with pytest.raises(ValueError, match="symbol in row 0, step 1.*found -1"):
        rnn(torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="integer symbols to be 1D or 2D"):
        rnn(torch.zeros(1, 2, 3, dtype=torch.int64))
    for sizes in ([2, 2], [1, 2], [2, 0, 1]):
        with pytest.raises(ValueError, match="batch_sizes"):
            rnn(PackedSequence(torch.zeros(3, 3), torch.tensor(sizes)))


# --- compilation, autocast, torch.func -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["batched", "unbatched", "symbols", "h_0"])
def test_compiles_whole(form: str, engine: str) -> None:
    torch.compiler.reset()
    rnn = tt.nn.RNN(3, 4, 2, bidirectional=True, batch_first=True, dropout=0.5, dtype=torch.float64).eval()
    x: Any = torch.randn(*((7, 3) if form == "unbatched" else (2, 7, 3)), dtype=torch.float64, requires_grad=True)
    x = torch.randint(3, (2, 7)) if form == "symbols" else x
    h_0 = torch.randn(4, 2, 4, dtype=torch.float64) if form == "h_0" else None
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    found, expected = tensors(compiled(x, h_0)), tensors(rnn(x, h_0))
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    grads = [
        torch.autograd.grad(r["output"].square().sum() + r["h_n"].sum(), list(rnn.parameters()))
        for r in (found, expected)
    ]
    for name, ours, theirs in zip(dict(rnn.named_parameters()), *grads, strict=True):
        assert_close(ours, theirs, 1e-11, name)


def test_autocast(engine: str) -> None:
    rnn = tt.nn.RNN(3, 4, 2)
    x = torch.randn(5, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = rnn(x.bfloat16(), torch.zeros(2, 2, 4, dtype=torch.bfloat16))
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, rnn(x.bfloat16().float())[0].bfloat16())  # rounded once, at the end


def test_a_gradient_for_each_row_by_torch_func(engine: str) -> None:
    ours, theirs = pair(3, 4, 2, dtype=torch.float64)
    x = torch.randn(5, 3, 3, dtype=torch.float64)

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(ours, parameters, (row,))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 1))(dict(ours.named_parameters()), x)
    for i in range(3):
        grads = torch.autograd.grad(theirs(x[:, i])[0].square().sum(), list(theirs.parameters()))
        for name, expected in zip(dict(theirs.named_parameters()), grads, strict=True):
            assert_close(found[name][i], expected, 1e-11, name)
