"""`tt.nn.RNNCell` beside `torch.nn.RNNCell`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from problems import assert_close

import throughtime as tt
from throughtime.core.notation import NONLINEARITIES


def pair(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Our cell and torch's, drawn from one seed."""
    cells = []
    for RNNCell in (tt.nn.RNNCell, torch.nn.RNNCell):
        torch.manual_seed(2)
        cells.append(RNNCell(*args, **kwargs))
    return cells[0], cells[1]


@pytest.mark.parametrize("B", [None, 1, 3])
@pytest.mark.parametrize("given", [True, False], ids=["hx", "no-hx"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equals_torch_nn_rnncell(nonlinearity: str, bias: bool, given: bool, B: int | None) -> None:
    ours, theirs = pair(3, 17, bias, nonlinearity, dtype=torch.float64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    x, hx = (torch.randn(*([B] if B else []), size, dtype=torch.float64, requires_grad=True) for size in (3, 17))
    upstream = torch.randn_like(hx)
    results = []
    for cell in (ours, theirs):
        state = cell(x, hx) if given else cell(x)
        leaves = [*cell.parameters(), x, *([hx] if given else [])]
        results.append([state, *torch.autograd.grad(state, leaves, upstream, allow_unused=True)])
    for found, expected, name in zip(*results, ["state", *dict(ours.named_parameters()), "x", "hx"], strict=False):
        if found is None:  # torch multiplies weight_hh by a zero state
            assert (name, given) == ("weight_hh", False)
            assert not expected.any()
        else:
            assert_close(found, expected, 1e-12, name)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_steps_of_the_cell_are_the_layer(nonlinearity: str, engine: str) -> None:
    rnn = tt.nn.RNN(3, 4, 1, nonlinearity, dtype=torch.float64)
    cell = tt.nn.RNNCell(3, 4, nonlinearity=nonlinearity, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in rnn.state_dict().items()})
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    states, s = [], None
    for x_t in x:
        s = cell(x_t, s)
        states.append(s)
    assert_close(torch.stack(states), rnn(x)[0], 1e-13, "states")
    twin = copy.deepcopy(cell).bfloat16()
    assert twin(x[0].bfloat16()).dtype == torch.bfloat16


CALL_ERRORS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("three axes", lambda cell: cell(torch.zeros(2, 2, 3)), "1D or 2D, got 3D"),
    ("three axes of hx", lambda cell: cell(torch.zeros(2, 3), torch.zeros(1, 2, 4)), "hidden to be.*2D.*got 3D"),
    ("wrong n", lambda cell: cell(torch.zeros(2, 5)), "input_size: got 5,? expected 3"),
    ("wrong d", lambda cell: cell(torch.zeros(2, 3), torch.zeros(2, 5)), "hidden_size: got 5, expected 4"),
    (
        "wrong B",
        lambda cell: cell(torch.zeros(2, 3), torch.zeros(1, 4)),
        "batch size 2 doesn't match hidden0 batch size 1",
    ),
    ("wrong dtype", lambda cell: cell(torch.zeros(2, 3, dtype=torch.float64)), "dtype"),
    ("wrong dtype of hx", lambda cell: cell(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.float64)), "dtype"),
]


@pytest.mark.parametrize(("call", "message"), [c[1:] for c in CALL_ERRORS], ids=[c[0] for c in CALL_ERRORS])
def test_a_wrong_call(call: Callable[[Any], Any], message: str) -> None:
    ours, theirs = pair(3, 4)
    with pytest.raises((RuntimeError, ValueError)) as expected:
        call(theirs)
    with pytest.raises(expected.type, match=message):
        call(ours)


def test_an_unbatched_input_wants_an_unbatched_state() -> None:
    with pytest.raises(ValueError, match="hidden to be 1D like the input, got 2D"):
        tt.nn.RNNCell(3, 4)(torch.zeros(3), torch.zeros(1, 4))


def test_an_unknown_nonlinearity_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="nonlinearity.*'sine'"):
        tt.nn.RNNCell(3, 4, nonlinearity="sine")
