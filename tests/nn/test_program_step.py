"""The learning step of a gated model in one call of the engine, beside the same from its parts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import throughtime as tt
from throughtime.engines import native, native_program
from throughtime.models.sequence_model import SequenceModel

pytestmark = pytest.mark.skipif(native.load_error is not None, reason="the compiled engine is absent")

B, T, N, D, K = 5, 9, 3, 17, 7
CASES = list(itertools.product(("floats", "symbols", "embedding"), (False, True), (False, True), (False, True)))


@pytest.fixture(params=native.supported())
def isa(request):
    native._native.set_isa(request.param)
    native._native.poison(True)
    yield request.param
    native._native.poison(False)
    native._native.set_isa("")


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Grows with every learning step that is one call."""
    found = []
    whole = native_program.learning_step

    def counted(recurrence, *args):
        found.append(recurrence.program.name)
        return whole(recurrence, *args)

    monkeypatch.setattr(native_program, "learning_step", counted)
    return found


def problem(cell: str, dtype: torch.dtype, inputs: str, ragged: bool, pieces: bool, carried: bool) -> Any:
    """A model, and the arguments of its loss."""
    g = torch.Generator().manual_seed(len(cell) + 2 * len(inputs) + 4 * ragged + 8 * pieces + 16 * carried)
    model = SequenceModel(N, D, K, cell=cell, dtype=dtype, embedding=4 if inputs == "embedding" else None)
    model.reset_parameters(g)
    x = torch.randn(B, T, N, generator=g, dtype=dtype) if inputs == "floats" else torch.randint(N, (B, T), generator=g)
    y = torch.randint(K, (B, T), generator=g)
    y[torch.rand(B, T, generator=g) < 0.2] = -100
    given: dict[str, Any] = {"x": x, "y": y}
    if ragged:
        given["lengths"] = torch.randint(1, T + 1, (B,), generator=g)
    if pieces:
        given["starts"] = torch.rand(B, T, generator=g) < 0.2
    if carried:
        state = model.initial_state(B)
        given["s0"] = tuple(map(torch.randn_like, state)) if isinstance(state, tuple) else torch.randn_like(state)
    return model, given


def learnt(model: SequenceModel, given: dict[str, Any]) -> list[Tensor]:
    """The loss, the last states, and 1.5 times the gradients."""
    value, final = model.loss(**given, return_state=True)
    found = torch.autograd.grad(1.5 * value, list(model.parameters()))
    return [value.detach(), *(final if isinstance(final, tuple) else (final,)), *found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_equals_the_parts(cell: str, dtype: torch.dtype, isa: str, calls: list[str], monkeypatch) -> None:
    for reduction, case in zip(itertools.cycle(("token", "sequence", "token")), CASES):
        model, given = problem(cell, dtype, *case)
        given["reduction"] = reduction
        before = len(calls)
        found = learnt(model, given)
        assert len(calls) == before + 1
        with monkeypatch.context() as apart:
            apart.setattr(SequenceModel, "_is_at_once", lambda *_: False)
            expected = learnt(model, given)
        assert len(calls) == before + 1
        rtol, atol = (1e-4, 2e-6) if dtype == torch.float32 else (1e-10, 1e-13)
        for own, other in zip(found, expected, strict=True):
            torch.testing.assert_close(own, other, rtol=rtol, atol=atol)
        states = slice(1, 1 + (2 if cell == "lstm" else 1))
        assert all(map(torch.equal, found[states], expected[states]))  # bit by bit
        with torch.no_grad():
            assert torch.equal(model.loss(**given), found[0])  # nothing is kept for a way back, and nothing changes


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_derivatives_of_every_order(cell: str, calls: list[str]) -> None:
    model, given = problem(cell, torch.float64, "floats", True, True, True)
    x, state = given.pop("x").requires_grad_(), given.pop("s0")
    state = tuple(p.requires_grad_() for p in state) if isinstance(state, tuple) else state.requires_grad_()
    wanted = [x, *(state if isinstance(state, tuple) else [state]), *model.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: model.loss(x, s0=state, **given), wanted, fast_mode=True)
    value = model.loss(x, s0=state, **given)
    first = torch.autograd.grad(value, wanted, retain_graph=True)
    again = torch.autograd.grad(value, wanted, retain_graph=True)  # computed anew, as the first were handed over
    assert all(map(torch.equal, first, again))
    assert set(calls) == {model.rnn.recurrences()[0][0].name}
    kept = torch.autograd.grad(value, wanted, create_graph=True)
    for own, other in zip(kept, first, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-13)
    second = torch.autograd.grad(torch.stack([g.square().sum() for g in kept]).sum(), x)[0]
    step = 1e-6 * second.sign()

    def norm(x: Tensor) -> Tensor:
        return sum(g.square().sum() for g in torch.autograd.grad(model.loss(x, s0=state, **given), wanted[1:])) + (
            torch.autograd.grad(model.loss(x, s0=state, **given), x)[0].square().sum()
        )

    moved = (norm((x + step).detach().requires_grad_()) - norm((x - step).detach().requires_grad_())) / 2e-6
    torch.testing.assert_close(moved, second.abs().sum(), rtol=1e-5, atol=0)


def test_frozen_weights_have_no_gradient_and_biases_may_change(calls: list[str]) -> None:
    model, given = problem("lstm", torch.float32, "floats", False, False, False)
    model.rnn.weight_hh_l0.requires_grad_(False)
    model.readout.bias.requires_grad_(False)
    value = model.loss(**given)
    with torch.no_grad():
        model.rnn.bias_ih_l0.zero_()
    value.backward()
    assert len(calls) == 1
    assert model.rnn.weight_hh_l0.grad is None
    assert model.readout.bias.grad is None
    assert model.rnn.weight_ih_l0.grad.abs().sum() > 0


def test_a_label_out_of_range_and_labels_that_never_count() -> None:
    model, given = problem("gru", torch.float32, "floats", False, False, False)
    given["y"][:] = -100
    value = model.loss(**given, reduction="token")
    value.backward()
    assert value == 0
    assert all(not p.grad.any() for p in model.parameters())
    given["y"][2, 3] = K
    with pytest.raises(ValueError, match=rf"row 2, step 3: expected 0 to {K - 1} \(or -100, ignored\), found {K}"):
        model.loss(**given)


def test_another_engine_takes_the_parts(calls: list[str]) -> None:
    model, given = problem("lstm", torch.float64, "floats", True, False, False)
    found = learnt(model, given)
    tt.set_engine("reference")
    try:
        expected = learnt(model, given)
    finally:
        tt.set_engine("auto")
    assert len(calls) == 1
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-13)
