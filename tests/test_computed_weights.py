"""Networks whose weights are computed from others: by a parametrization, a mask or a norm. Every way to a number sees them."""

from __future__ import annotations

import warnings

import pytest
import torch
from problems import assert_close
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import throughtime as tt
from throughtime.data import Encoding
from throughtime.learning import History, NonFiniteError, run


class Skew(nn.Module):
    """W = A − Aᵀ − γ I."""

    def forward(self, a):
        return a - a.T - 0.1 * torch.eye(len(a), dtype=a.dtype)


def old(norm):
    def apply(module, name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            getattr(nn.utils, norm)(module, name)

    return apply


def pruned_twice(module, name):
    prune.l1_unstructured(module, name, 0.3)
    prune.random_unstructured(module, name, 0.3)


MAKERS = {
    "orthogonal": parametrizations.orthogonal,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "own": lambda module, name: parametrize.register_parametrization(module, name, Skew()),
    "old weight_norm": old("weight_norm"),
    "old spectral_norm": old("spectral_norm"),
    "pruned": lambda module, name: prune.l1_unstructured(module, name, 0.5),
    "pruned twice": pruned_twice,
}


def elman(maker: str, **options) -> tt.ElmanNetwork:
    torch.manual_seed(1)
    net = tt.ElmanNetwork(3, 6, 4, dtype=torch.float64, **options)
    MAKERS[maker](net, "W")
    return net


def sequence_model(maker: str, **options) -> tt.SequenceModel:
    torch.manual_seed(1)
    model = tt.SequenceModel(3, 6, 4, **{"dtype": torch.float64, **options})
    MAKERS[maker](model.rnn, "weight_hh_l0")
    return model


def ragged(dtype=torch.float64):
    torch.manual_seed(2)
    return torch.randn(5, 7, 3, dtype=dtype), torch.randint(4, (5, 7)), torch.tensor([7, 1, 4, 7, 3])


def by_hand(net: nn.Module, x, y, lengths) -> torch.Tensor:
    """The loss from what the module's call gives."""
    y = y.where(torch.arange(7) < lengths.unsqueeze(1), -100)
    return nn.functional.cross_entropy(net(x, lengths).flatten(0, 1), y.flatten(), reduction="sum") / len(x)


def move(net: nn.Module) -> None:
    """Change all parameters, so that what was computed before is no longer right."""
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.sin(torch.arange(p.numel(), dtype=p.dtype)).view_as(p)


@pytest.mark.parametrize("make", [elman, sequence_model])
@pytest.mark.parametrize("maker", MAKERS)
def test_loss_and_its_gradients(make, maker: str, engine: str) -> None:
    net, twin, data = make(maker), make(maker), ragged()
    for _ in range(2):  # the second time with what the first leaves behind
        loss, expected = net.loss(*data), by_hand(twin, *data)
        assert_close(loss, expected, 1e-13, "loss")
        loss.backward()
        expected.backward()
        for (name, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
            assert_close(p.grad, q.grad, 1e-11, name)
        for part in (net, twin):
            part.zero_grad()
            move(part)


@pytest.mark.parametrize("maker", MAKERS)
def test_bptt_and_anatomy_are_of_the_weights_themselves(maker: str, engine: str) -> None:
    net, (x, y, lengths) = elman(maker, initial_state="learned").eval(), ragged()
    MAKERS["pruned"](net, "s0")
    net.loss(x, y, lengths).backward()
    move(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plain = tt.ElmanNetwork(3, 6, 4, initial_state="learned", dtype=torch.float64)
    net(x)  # now the attributes are what the parameters make them
    plain.load_state_dict({name: getattr(net, name) for name in plain.state_dict()})
    move(net)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            value.copy_(before[name])
    value, gradients = tt.bptt(net, x, y, lengths)
    expected, wanted = tt.bptt(plain, x, y, lengths)
    assert_close(value, expected, 1e-13, "loss")
    for name in ("U", "W", "b", "V", "c", "s0", "x"):
        assert_close(getattr(gradients, name), getattr(wanted, name), 1e-13, name)
    found, whole = tt.anatomy(net, x, y, lengths), tt.anatomy(plain, x, y, lengths)
    assert_close(found.W.total, whole.W.total, 1e-13, "W")
    assert found.residual < 1e-12
    assert torch.allclose(net.to_torch()(x, lengths), plain(x, lengths), atol=1e-12)
    assert net.describe() == plain.describe()


@pytest.mark.parametrize("maker", MAKERS)
def test_looking_changes_nothing(maker: str) -> None:
    """No power iteration goes on, no attribute is made anew, no hook or parametrization gets lost."""
    net, data = elman(maker), ragged()
    net.loss(*data)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    attributes = dict(vars(net))
    tt.bptt(net, *data)
    tt.anatomy(net, *data)
    net.to_torch()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(vars(net)[name] is value for name, value in attributes.items())


@pytest.mark.parametrize("make", [elman, sequence_model])
@pytest.mark.parametrize("maker", MAKERS)
def test_fit(make, maker: str) -> None:
    """As by hand, with the loss from the module's call; masks and constraints hold to the end."""
    net, by_call, (x, y, lengths) = make(maker), make(maker), ragged()
    update = torch.optim.SGD(by_call.parameters(), lr=0.1)
    for _ in range(3):
        update.zero_grad()
        by_hand(by_call, x, y, lengths).backward()
        update.step()
    history = tt.fit(net, (x, y, lengths), (x, y, lengths), optimizer="gd", lr=0.1, epochs=3)
    for (name, p), q in zip(net.named_parameters(), by_call.parameters(), strict=True):
        assert_close(p, q, 1e-10, name)
    truncated = tt.fit(net, (x, y, lengths), truncate=3, epochs=1)
    assert history["valid_loss"][-1] > 0
    assert truncated["train_loss"][0] > 0


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("make", [elman, sequence_model])
def test_a_run_folder_keeps_what_the_weights_are(make, maker: str, tmp_path) -> None:
    net, (x, y, lengths) = make(maker), ragged()
    net.loss(x, y, lengths)
    move(net)
    encoding = Encoding("tag", ("a", "b", "c", "d"), features=("i", "j", "k"))
    run.save(tmp_path / "run", net, encoding, config={}, history=History([]), metrics={})
    found = tt.load(tmp_path / "run").model
    assert torch.equal(found(x, lengths), net.eval()(x, lengths))
    assert torch.equal(net.to_torch()(x), found.to_torch()(x))


@pytest.mark.parametrize("maker", ["weight_norm", "pruned"])
def test_what_is_not_finite_is_reported(maker: str) -> None:
    net, (x, y, lengths) = elman(maker, nonlinearity="identity"), ragged()
    with torch.no_grad():
        for p in net.parameters():
            p *= 1e200
    with pytest.raises(NonFiniteError, match="left the finite range first at step t="):
        tt.fit(net, (x, y, lengths), epochs=1)


@pytest.mark.parametrize(("make", "maker"), [(elman, "pruned"), (sequence_model, "orthogonal")])
def test_to_onnx(make, maker: str, tmp_path) -> None:
    net, data = make(maker).float(), ragged(torch.float32)
    net.loss(*data)
    move(net)
    assert tt.export.to_onnx(net, tmp_path / "model.onnx") < 1e-5


def test_one_power_iteration_for_each_loss() -> None:
    """As for each call of the module."""
    by_loss, by_call, data = elman("spectral_norm"), elman("spectral_norm"), ragged()
    for _ in range(3):
        by_loss.loss(*data)
        by_call(data[0], data[2])
    for ours, theirs in zip(by_loss.buffers(), by_call.buffers(), strict=True):
        assert torch.equal(ours, theirs)
