"""A `SequenceModel` whose parts were exchanged or are watched: the loss is always that of what `forward` gives."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as hooks
from torch.nn.utils import parametrizations, prune

import throughtime as tt
from throughtime.operators import step


@pytest.fixture(autouse=True)
def _engine(engine: str) -> None:
    """Every test here runs on every engine."""


def wrap_forward(part: nn.Module) -> None:
    before = part.forward
    part.forward = lambda *given: _scaled(before(*given))


def _scaled(found):
    return (found[0] * 1.5, *found[1:]) if isinstance(found, tuple) else found * 1.5


def quantized(m: tt.SequenceModel) -> tt.SequenceModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(m, {nn.Linear})


def other_rnn(*sizes, **options):
    def exchange(m: tt.SequenceModel) -> None:
        m.rnn = tt.nn.RNN(*sizes, **{"batch_first": True, **options})

    return exchange


def other_readout(make):
    def exchange(m: tt.SequenceModel) -> None:
        m.readout = make()

    return exchange


CHANGES = {
    "nothing": lambda m: None,
    "relu": other_rnn(3, 7, nonlinearity="relu"),
    "time first": other_rnn(3, 7, batch_first=False),
    "no biases": other_rnn(3, 7, bias=False),
    "two layers": other_rnn(3, 7, 2),
    "both directions": other_rnn(3, 7, bidirectional=True),
    "readout without bias": other_readout(lambda: nn.Linear(7, 5, bias=False)),
    "readout in two": other_readout(lambda: nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 5))),
    "readout.forward": lambda m: wrap_forward(m.readout),
    "rnn.forward": lambda m: wrap_forward(m.rnn),
    "hook of the readout": lambda m: m.readout.register_forward_hook(lambda _, args, out: out * 1.5),
    "hook before the rnn": lambda m: m.rnn.register_forward_pre_hook(lambda _, args: (args[0] * 1.5, *args[1:])),
    "pruned readout": lambda m: prune.l1_unstructured(m.readout, "weight", 0.5),
    "pruned rnn": lambda m: prune.l1_unstructured(m.rnn, "weight_hh_l0", 0.5),
    "orthogonal rnn": lambda m: parametrizations.orthogonal(m.rnn, "weight_hh_l0"),
    "weight norm of the readout": lambda m: parametrizations.weight_norm(m.readout),
    "quantised": quantized,
}


def cross_entropy(m: tt.SequenceModel, x, y) -> torch.Tensor:
    return F.cross_entropy(m(x).flatten(0, 1), y.flatten(), reduction="sum") / len(x)


def example(m: tt.SequenceModel, change):
    torch.manual_seed(4)
    m = change(m) if change is quantized else (change(m), m)[1]
    if m.rnn.bidirectional:
        m.readout = nn.Linear(14, 5)
    return m, torch.randn(4, 6, 3), torch.randint(5, (4, 6))


@pytest.mark.parametrize("name", CHANGES)
def test_the_loss_is_that_of_what_forward_gives(name: str) -> None:
    m, x, y = example(tt.SequenceModel(3, 7, 5), CHANGES[name])
    loss = m.loss(x, y)
    assert loss.item() == pytest.approx(cross_entropy(m, x, y).item(), rel=1e-6)
    if name == "quantised":
        return
    found = torch.autograd.grad(loss, list(m.parameters()))
    expected = torch.autograd.grad(cross_entropy(m, x, y), list(m.parameters()))
    for (parameter, _), ours, theirs in zip(m.named_parameters(), found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max() + 1e-7, parameter


GLOBAL_HOOKS = {
    "forward": lambda: hooks.register_module_forward_hook(lambda m, args, out: doubled(m, out)),
    "before": lambda: hooks.register_module_forward_pre_hook(
        lambda m, args: (args[0] * 2,) if isinstance(m, nn.Linear) else None
    ),
}


def doubled(m: nn.Module, out):
    return out * 2 if isinstance(m, nn.Linear) else None


@pytest.mark.parametrize("name", GLOBAL_HOOKS)
def test_global_hooks_see_every_part(name: str) -> None:
    m, x, y = example(tt.SequenceModel(3, 7, 5), CHANGES["nothing"])
    before = m.loss(x, y)
    handle = GLOBAL_HOOKS[name]()
    try:
        assert m.loss(x, y).item() == pytest.approx(cross_entropy(m, x, y).item(), rel=1e-6)
        assert m.loss(x, y).item() != pytest.approx(before.item(), rel=1e-3)
    finally:
        handle.remove()


def test_global_hooks_of_gradients_are_called() -> None:
    m, x, y = example(tt.SequenceModel(3, 7, 5), CHANGES["nothing"])
    seen = []
    handle = hooks.register_module_full_backward_hook(lambda m, *gradients: seen.append(type(m)))
    try:
        m.loss(x.requires_grad_(), y).backward()
    finally:
        handle.remove()
    assert {tt.nn.RNN, nn.Linear} <= set(seen)


def test_a_class_that_was_changed_is_called(monkeypatch) -> None:
    m, x, y = example(tt.SequenceModel(3, 7, 5), CHANGES["nothing"])
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: forward(self, x) * 2)
    assert m.loss(x, y).item() == pytest.approx(cross_entropy(m, x, y).item(), rel=1e-6)


def test_an_untouched_model_is_fused(monkeypatch) -> None:
    """Else the tests above compare a thing with itself."""
    m, x, y = example(tt.SequenceModel(3, 7, 5), CHANGES["nothing"])
    monkeypatch.setattr(step, "elman_loss", lambda *args, **options: (torch.tensor(math.pi), None))
    assert m.loss(x, y).item() == pytest.approx(math.pi)


def test_values_of_a_model_with_another_readout() -> None:
    m = tt.SequenceModel(3, 7, 2, task="forecast", dtype=torch.float64)
    m.readout = nn.Sequential(nn.Linear(7, 2, dtype=torch.float64))
    x, y = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 2, dtype=torch.float64)
    assert m.loss(x, y).item() == pytest.approx((m(x) - y).square().mean(-1).sum().item() / 4)
    assert m.initial_state(4).dtype == torch.float64
    with pytest.raises(TypeError, match=r"y: expected torch\.float64 like the parameters, found torch\.float32"):
        m.loss(x, y.float())


def test_to_torch_takes_what_is_there_and_refuses_what_it_cannot_be() -> None:
    m, x, _ = example(tt.SequenceModel(3, 7, 5), CHANGES["two layers"])
    assert torch.allclose(m.to_torch()(x), m(x), atol=1e-6)
    m, x, _ = example(tt.SequenceModel(3, 7, 5), CHANGES["no biases"])
    assert torch.allclose(m.to_torch()(x), m(x), atol=1e-6)
    m, x, _ = example(tt.SequenceModel(3, 7, 5), CHANGES["readout in two"])
    with pytest.raises(TypeError, match="readout: expected a plain Linear, found Sequential"):
        m.to_torch()
    m, x, _ = example(tt.SequenceModel(3, 7, 5), CHANGES["time first"])
    with pytest.raises(TypeError, match="rnn: expected batch_first, found time first"):
        m.to_torch()


@pytest.mark.parametrize("options", [{}, {"embedding": 4, "layers": 2}, {"bidirectional": True, "task": "classify"}])
def test_parameters_are_drawn_as_pytorch_draws_them(options) -> None:
    torch.manual_seed(7)
    m = tt.SequenceModel(6, 7, 5, **options)
    with torch.device("meta"):
        other = tt.SequenceModel(6, 7, 5, **options)
    other.to_empty(device="cpu").reset_parameters(torch.Generator().manual_seed(7))
    for (name, ours), theirs in zip(other.named_parameters(), m.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
