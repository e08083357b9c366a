"""`tt.nn.LSTM` and `tt.nn.GRU` beside torch.nn's: the same numbers and the same gradients by name; pieces, symbols, errors."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from beside_torch import compare, draw, initial, pair, tensors
from problems import assert_close
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

import throughtime as tt

KINDS = pytest.mark.parametrize("kind", ["LSTM", "GRU"])
LAYERS = pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
SIZES = [(1, 3), (3, 17), (17, 1), (5, 4)]
"""(n, d) that the cases take in turn."""


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's, of its own layer
@pytest.mark.parametrize("form", ["unbatched", "batched", "packed", "packed sorted"])
@pytest.mark.parametrize("T", [1, 7])
@KINDS
def test_equals_torchs(kind: str, T: int, form: str) -> None:
    options = itertools.product([True, False], repeat=4)
    for i, (bias, batch_first, bidirectional, given) in enumerate(options):
        n, d = SIZES[(i + i // 4) % len(SIZES)]
        projected = {"proj_size": d // 2 + 1} if kind == "LSTM" and d > 2 and i % 3 == 0 else {}
        dtype = torch.float32 if T == 7 and i % 2 == 0 else torch.float64
        ours, theirs = pair(n, d, 1 + i % 3, bias, batch_first, 0.0, bidirectional, kind=kind, dtype=dtype, **projected)
        input, B = draw(form, T, 1 + i % 4, n, batch_first, dtype)
        state = initial(ours, B) if given else None
        compare(ours, theirs, input, state, 2e-4 if dtype == torch.float32 else 1e-10, f"{ours}, h_0 given: {given}:")


@pytest.mark.parametrize(("B", "n", "d", "T"), [(1, 1, 1, 60), (3, 17, 100, 9), (17, 100, 3, 9), (5, 3, 17, 60)])
@pytest.mark.parametrize("form", ["batched", "packed"])
@KINDS
def test_odd_sizes_on_every_engine(kind: str, form: str, B: int, n: int, d: int, T: int, engine: str) -> None:
    ours, theirs = pair(n, d, 2, batch_first=True, bidirectional=True, kind=kind, dtype=torch.float64)
    input, _ = draw(form, T, B, n, True, torch.float64)
    compare(ours, theirs, input, initial(ours, B), 1e-10)


@pytest.mark.parametrize("given", [False, True], ids=["zero", "given"])
@LAYERS
def test_pieces_are_run_as_if_apart(kind: str, given: bool, engine: str) -> None:
    """One row after another and piece after piece by torch's layer, in both directions, ragged; with every gradient."""
    T, B, n, d = 9, 3, 3, 17
    ours, theirs = pair(n, d, bidirectional=True, kind=kind, dtype=torch.float64)
    x = torch.randn(T, B, n, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([9, 4, 1])
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[[3, 4, 8], 0] = True
    starts[[0, 2, 5], 1] = True  # the last of these lies in the padding
    state = initial(ours, B) if given else None
    parts = () if state is None else state if isinstance(state, tuple) else (state,)
    found = tensors(ours(x, state, lengths, starts))
    outputs, finals = torch.zeros(T, B, 2 * d, dtype=torch.float64), []
    for row in range(B):
        end = int(lengths[row])
        cuts = sorted({0, end, *(t for t in range(1, end) if starts[t, row])})
        final: list[Any] = [None, None]
        for first, last in itertools.pairwise(cuts):
            # Walked forwards, h_0 belongs to the piece under way at step 0; from the end, to the one under way at the last.
            own = [part[:, row].clone() for part in parts] or [torch.zeros(2, d, dtype=torch.float64)] * 2
            begins = (first == 0 and not starts[0, row], last == end)
            start = [torch.stack([p[i] * begins[i] for i in range(2)]) for p in own]
            y, h = theirs(x[first:last, row], tuple(start[:2]) if kind == "LSTM" else start[0])
            outputs = torch.index_put(outputs, (torch.arange(first, last), torch.tensor(row)), y)
            ends = h if isinstance(h, tuple) else (h,)
            final = [
                [e[0] for e in ends] if last == end else final[0],
                [e[1] for e in ends] if first == 0 else final[1],
            ]
        finals.append(final)
    expected = {"output": outputs}
    for i, name in enumerate(list(found)[1:]):
        expected[name] = torch.stack([torch.stack([final[way][i] for final in finals]) for way in range(2)])
    upstream = [torch.randn_like(t) for t in expected.values()]
    grads = []
    for layer, results in ((ours, found), (theirs, expected)):
        leaves = [*layer.parameters(), x, *parts]
        grads.append(torch.autograd.grad([*results.values()], leaves, upstream))
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    names = [*dict(ours.named_parameters()), "x", "h_0", "c_0"]
    for name, mine, theirs_g in zip(names, *grads, strict=False):
        assert_close(mine, theirs_g, 1e-10, f"gradient of {name}")


@pytest.mark.parametrize("engine", ["native"], indirect=True)
@LAYERS
def test_pieces_of_rows_in_turn_that_begin_at_different_steps(kind: str, engine: str) -> None:
    """Of the 64 longest pieces one belongs to each row, so that a block of the engine holds the rows in turn."""
    layer, x = getattr(tt.nn, kind)(16, 16, dtype=torch.float64), torch.randn(10, 64, 16, dtype=torch.float64)
    starts = torch.zeros(10, 64, dtype=torch.bool)
    starts[4, ::2] = starts[6, 1::2] = True
    found = []
    for name in (engine, "reference"):
        with tt.engine(name):
            output, _ = layer(x, None, None, starts)
            found.append([output, *torch.autograd.grad(output.square().sum(), list(layer.parameters()))])
    for i, (mine, expected) in enumerate(zip(*found, strict=True)):
        assert_close(mine, expected, 1e-12, f"result {i}")


@pytest.mark.parametrize("batch_first", [False, True])
@LAYERS
def test_starts_of_one_sequence_and_of_a_stack(kind: str, batch_first: bool, engine: str) -> None:
    layer = getattr(tt.nn, kind)(2, 3, 2, bidirectional=True, batch_first=batch_first, dtype=torch.float64)
    x = torch.randn(6, 2, dtype=torch.float64)
    starts = torch.tensor([False, False, True, False, True, False])
    whole = layer(x, starts=starts)[0]
    apart = torch.cat([layer(piece)[0] for piece in (x[:2], x[2:4], x[4:])])
    assert_close(whole, apart, 1e-13, "states")
    over = (0,) if batch_first else (1,)
    batched = layer(x.unsqueeze(*over), starts=starts.unsqueeze(*over))[0]
    assert_close(batched.squeeze(*over), whole, 1e-13, "batched")


@pytest.mark.parametrize("bidirectional", [False, True])
@KINDS
def test_lengths_are_packing(kind: str, bidirectional: bool, engine: str) -> None:
    ours, _ = pair(3, 4, 2, bidirectional=bidirectional, kind=kind, dtype=torch.float64)
    rows = [torch.randn(T, 3, dtype=torch.float64) for T in (2, 6, 4)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, padding_value=torch.nan)
    state = initial(ours, 3)
    found, expected = (
        ours(padded, state, torch.tensor([2, 9, 6, 9, 4, 9])[::2]),  # every second, as they lie
        ours(pack_sequence(rows, enforce_sorted=False), state),
    )
    assert_close(found[0], torch.nn.utils.rnn.pad_packed_sequence(expected[0])[0], 1e-14, "output")
    for name in list(tensors(found))[1:]:
        assert_close(tensors(found)[name], tensors(expected)[name], 1e-14, name)


@pytest.mark.parametrize("form", ["unbatched", "batched"])
@KINDS
def test_integer_symbols_are_one_hot_vectors(kind: str, form: str, engine: str) -> None:
    ours, theirs = pair(5, 4, 2, bidirectional=True, kind=kind, dtype=torch.float64)
    symbols = torch.randint(5, (7,) if form == "unbatched" else (7, 3))
    found, expected = tensors(ours(symbols)), tensors(theirs(F.one_hot(symbols, 5).double()))
    upstream = [torch.randn_like(t) for t in expected.values()]
    grads = [
        torch.autograd.grad([*r.values()], [*m.parameters()], upstream) for r, m in ((found, ours), (expected, theirs))
    ]
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    for name, mine, theirs_g in zip(dict(ours.named_parameters()), *grads, strict=True):
        assert_close(mine, theirs_g, 1e-11, f"gradient of {name}")


def test_the_reset_gate_before_the_product(engine: str) -> None:
    """As the cell of one step has it, which is written in PyTorch's operations."""
    layer = tt.nn.GRU(3, 5, reset_after=False, dtype=torch.float64)
    cell = tt.nn.GRUCell(3, 5, reset_after=False, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, h_0 = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(1, 2, 5, dtype=torch.float64)
    states, h = [], h_0[0]
    for x_t in x:
        h = cell(x_t, h)
        states.append(h)
    found, final = layer(x, h_0)
    assert_close(found, torch.stack(states), 1e-13, "states")
    assert_close(final[0], h, 1e-13, "final")
    up = torch.randn_like(found)
    grads = [torch.autograd.grad(r, [*m.parameters()], up) for r, m in ((found, layer), (torch.stack(states), cell))]
    for name, mine, theirs in zip(dict(cell.named_parameters()), *grads, strict=True):
        assert_close(mine, theirs, 1e-12, name)
    after = tt.nn.GRU(3, 5, dtype=torch.float64)
    after.load_state_dict(layer.state_dict())
    assert not torch.allclose(found, after(x, h_0)[0])
    assert repr(layer) == "GRU(3, 5, reset_after=False)"


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_cells_are_torchs(kind: str) -> None:
    theirs, ours = getattr(torch.nn, kind)(3, 4), getattr(tt.nn, kind)(3, 4)
    ours.load_state_dict(theirs.state_dict())
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    state = (h, torch.randn(2, 4)) if kind == "LSTMCell" else h
    assert repr(ours) == repr(theirs)
    for given in (None, state):
        found, expected = ours(x, given), theirs(x, given)
        for a, b in zip(found, expected) if kind == "LSTMCell" else [(found, expected)]:
            assert torch.equal(a, b)


# --- as modules ---------------------------------------------------------------------------------------------------------


@KINDS
def test_same_seed_same_parameters_in_the_same_order(kind: str) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}
    options |= {"proj_size": 3} if kind == "LSTM" else {}
    layers = []
    for module in (tt.nn, torch.nn):
        torch.manual_seed(1)
        layers.append(getattr(module, kind)(3, 4, **options))
    ours, theirs = layers
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert repr(ours) == repr(theirs)
    x = torch.randn(2, 5, 3)
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(copied.eval()(x)[0], ours.eval()(x)[0])


@KINDS
def test_dropout_falls_as_torchs(kind: str, engine: str) -> None:
    ours, theirs = pair(3, 4, 3, dropout=0.5, batch_first=True, kind=kind, dtype=torch.float64)
    x, found = torch.randn(2, 5, 3, dtype=torch.float64), []
    for layer in (ours, theirs):
        torch.manual_seed(5)
        found.append(layer(x)[0])
    assert_close(*found, 1e-12, "output")


@KINDS
def test_second_derivatives_equal_torchs(kind: str, engine: str) -> None:
    ours, theirs = pair(3, 5, 2, batch_first=True, bidirectional=True, kind=kind, dtype=torch.float64)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for layer in (ours, theirs):
        leaves = [x, *layer.parameters()]
        first = torch.autograd.grad(layer(x)[0].square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), leaves))
    for name, mine, expected in zip(["x", *dict(ours.named_parameters())], *found, strict=True):
        assert_close(mine, expected, 1e-10, name)


@LAYERS
def test_compiles_whole(kind: str, engine: str) -> None:
    torch.compiler.reset()
    layer = getattr(tt.nn, kind)(3, 4, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    x, starts = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True), torch.zeros(2, 7, dtype=torch.bool)
    starts[0, 3] = True
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    state = initial(layer, 2)
    found, expected = tensors(compiled(x, state, starts=starts)), tensors(layer(x, state, starts=starts))
    for name in expected:
        assert_close(found[name], expected[name], 1e-12, name)
    grads = [
        torch.autograd.grad(r["output"].square().sum() + r["h_n"].sum(), [x, *layer.parameters()])
        for r in (found, expected)
    ]
    for name, mine, theirs in zip(["x", *dict(layer.named_parameters())], *grads, strict=True):
        assert_close(mine, theirs, 1e-11, name)


@KINDS
def test_a_gradient_for_each_row_by_torch_func(kind: str, engine: str) -> None:
    ours, theirs = pair(3, 4, kind=kind, dtype=torch.float64)
    x = torch.randn(5, 3, 3, dtype=torch.float64)

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(ours, parameters, (row,))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 1))(dict(ours.named_parameters()), x)
    for i in range(3):
        grads = torch.autograd.grad(theirs(x[:, i])[0].square().sum(), list(theirs.parameters()))
        for name, expected in zip(dict(theirs.named_parameters()), grads, strict=True):
            assert_close(found[name][i], expected, 1e-11, name)


@KINDS
def test_other_dtypes_run_on_the_reference(kind: str) -> None:
    ours, theirs = pair(3, 4, kind=kind, dtype=torch.bfloat16)
    x = torch.randn(5, 2, 3, dtype=torch.bfloat16)
    found, expected = ours(x)[0], theirs(x)[0]
    assert found.dtype == torch.bfloat16
    assert_close(found.float(), expected.float(), 0.03, "output")


# --- errors -------------------------------------------------------------------------------------------------------------

STEPS, H = torch.zeros(5, 2, 3), torch.zeros(1, 2, 4)
ERRORS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "h_0 without c_0": ("LSTM", lambda m: m(STEPS, H), r"hx: expected two tensors \(h_0, c_0\), found Tensor"),
    "c_0 is None": ("LSTM", lambda m: m(STEPS, (H, None)), "found Tensor and NoneType"),
    "three parts": ("LSTM", lambda m: m(STEPS, (H, H, H)), "found 3 of them"),
    "wrong c_0": ("LSTM", lambda m: m(STEPS, (H, torch.zeros(1, 2, 5))), r"Expected hidden\[1\] size"),
    "axes": ("GRU", lambda m: m(torch.zeros(2, 2, 2, 3)), "GRU: Expected input to be 2D or 3D, got 4D"),
    "shape of starts": ("GRU", lambda m: m(STEPS, starts=STEPS[0] > 0), r"starts: expected shape \[T=5, B=2\]"),
    "starts of numbers": ("LSTM", lambda m: m(STEPS, starts=STEPS[..., 0]), "starts: expected torch.bool, found"),
    "starts of a pack": (
        "RNN",
        lambda m: m(pack_sequence([STEPS[:, 0]]), starts=STEPS),
        "starts: expected None with a PackedSequence",
    ),
    "weights of an LSTM": (
        "GRU",
        lambda m: m.load_state_dict(torch.nn.LSTM(3, 4).state_dict()),
        "size mismatch for weight_ih_l0",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input_gets_one_clear_line(name: str) -> None:
    kind, call, message = ERRORS[name]
    with pytest.raises((RuntimeError, TypeError, ValueError), match=message):
        call(getattr(tt.nn, kind)(3, 4))


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_an_unknown_argument(kind: str) -> None:
    with pytest.raises(ValueError, match="proj_size argument is only supported for LSTM"):
        getattr(tt.nn, kind)(3, 4, proj_size=2)
    with pytest.raises(TypeError, match=f"{kind}: unknown argument 'size'"):
        getattr(tt.nn, kind)(3, 4, size=2)
