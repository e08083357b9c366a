"""Each part of the recipe, told apart from its neighbours: a change of one of them shows here."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.data.batches import schedule
from throughtime.learning import Checkpoints, optimizers, recipe

T, N, D, K = 9, 3, 6, 4


def network(kind: type = tt.ElmanNetwork, **options) -> tt.ElmanNetwork:
    torch.manual_seed(1)
    return kind(N, D, K, dtype=torch.float64, **options)


def data(S: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(S, T, N, dtype=torch.float64), torch.randint(K, (S, T))


def flat(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


# θ after steps on gradients g, with the state of the optimiser, as the papers that optimizers.py names have them
def gd(theta, g, m, v, t, lr):
    return theta - lr * g, m, v


def momentum(theta, g, m, v, t, lr):
    m = 0.9 * m + g
    return theta - lr * m, m, v


def rmsprop(theta, g, m, v, t, lr):
    v = 0.99 * v + 0.01 * g**2
    return theta - lr * g / (v.sqrt() + 1e-8), m, v


def adam(theta, g, m, v, t, lr):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    return theta - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8), m, v


def adamw(theta, g, m, v, t, lr):
    return adam(theta * (1 - 0.01 * lr), g, m, v, t, lr)


RULES = {"gd": gd, "sgd": gd, "momentum": momentum, "rmsprop": rmsprop, "adam": adam, "adamw": adamw}
RATES = {"gd": 0.1, "sgd": 0.1, "momentum": 0.01, "rmsprop": 1e-3, "adam": 1e-3, "adamw": 1e-3}


@pytest.mark.parametrize("rate", [None, 0.07])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_makes_the_updates_of_its_formula(name: str, rate: float | None) -> None:
    """Five updates on the full batch, by hand; with its own learning rate and with another. None is clipped."""
    net, shadow, (x, y) = network(), network(), data()
    theta = flat(net)
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t in range(1, 6):
        nn.utils.vector_to_parameters(theta, shadow.parameters())
        shadow.zero_grad()
        shadow.loss(x, y).backward()
        g = torch.cat([p.grad.flatten() for p in shadow.parameters()])
        theta, m, v = RULES[name](theta, g, m, v, t, RATES[name] if rate is None else rate)
    tt.fit(net, (x, y), optimizer=name, lr=rate, epochs=5, clip_norm=None)
    torch.testing.assert_close(flat(net), theta, rtol=1e-9, atol=1e-12)


class Recorded(torch.optim.SGD):
    """Keeps the learning rate of every update."""

    rates: list[float]

    def step(self, closure=None):
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


def rates_of(lr_schedule: str, batch_size: int = 2, epochs: int = 3) -> list[float]:
    made = []

    def factory(parameters, lr):
        made.append(Recorded(parameters, lr=lr))
        made[0].rates = []
        return made[0]

    tt.fit(network(), data(8), optimizer=factory, lr=0.4, lr_schedule=lr_schedule, batch_size=batch_size, epochs=epochs)
    return made[0].rates


@pytest.mark.parametrize("name", recipe.LR_SCHEDULES)
def test_the_rate_goes_on_from_update_to_update(name: str) -> None:
    """Four updates in each of three epochs: the cosine falls at every one of them, to 0 at the end that is not reached."""
    expected = {"constant": [0.4] * 12, "cosine": [0.2 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]}[name]
    assert rates_of(name) == pytest.approx(expected, rel=1e-12)


class Moody(tt.ElmanNetwork):
    """Notes in which mode its loss is asked for, and its logits."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.modes: list[tuple[str, bool]] = []

    def loss(self, *args, **kwargs):
        self.modes.append(("loss", self.training))
        return super().loss(*args, **kwargs)

    def forward(self, *args, **kwargs):
        self.modes.append(("forward", self.training))
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize("before", [True, False])
def test_updates_are_made_in_training_mode_and_evaluations_are_not(before: bool) -> None:
    net = network(Moody)
    net.train(before)
    tt.fit(net, data(), data(3), epochs=2, batch_size=4)
    epoch = [("loss", True)] * 2 + [("forward", False)]
    assert net.modes == epoch * 2
    net.train(before)
    tt.evaluate(net, data(3))
    assert net.modes[-1] == ("forward", False)
    assert net.training == before


class Seen(tt.ElmanNetwork):
    """Notes the batches that its loss is asked for."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[int, ...]] = []
        self.options: list[dict] = []

    def loss(self, x, y, *args, **kwargs):
        self.seen.append(tuple(x[:, 0, 0].tolist()))
        self.options.append(kwargs)
        return super().loss(x, y, *args, **kwargs)


def numbered(S: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = data(S)
    x[:, :, 0] = torch.arange(S, dtype=torch.float64).unsqueeze(1)
    return x, y


@pytest.mark.parametrize("truncate", [None, 3])
def test_each_epoch_has_another_order_and_other_mates(truncate: int | None) -> None:
    net = network(Seen)
    tt.fit(net, numbered(24), epochs=4, batch_size=4, truncate=truncate, lr=1e-9)
    per_epoch = len(net.seen) // 4
    epochs = [net.seen[i * per_epoch : (i + 1) * per_epoch] for i in range(4)]
    assert all(sorted(sum(epoch, ())) == sorted(sum(epochs[0], ())) for epoch in epochs)
    mates = [{frozenset(batch) for batch in epoch} for epoch in epochs]
    assert all(mates[i] != mates[j] for i in range(4) for j in range(i))
    first = [epoch[0] for epoch in epochs]
    assert len(set(first)) == 4
    assert [*map(len, epochs)] == [per_epoch] * 4


def test_the_order_is_that_of_the_schedule_of_each_epoch() -> None:
    net = network(Seen)
    tt.fit(net, numbered(10), epochs=3, batch_size=4, seed=5, lr=1e-9)
    plans = [w for epoch in (1, 2, 3) for w in schedule(np.full(10, T), 4, seed=5, epoch=epoch)]
    assert net.seen == [tuple(map(float, window.rows)) for window in plans]


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_checkpoint_comes_after_so_many_updates(every: int, tmp_path, monkeypatch) -> None:
    saved = []
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, state: (saved.append((state[1]["epoch"], state[1]["done"])), _since(self))[0]
    )
    tt.fit(network(), data(8), epochs=3, batch_size=2, checkpoint=Checkpoints(tmp_path, every))
    made = [(1 + i // 4, i % 4) for i in range(0, 13, every)]
    counted = [(epoch - 1) * 4 + done for epoch, done in saved]
    assert counted[: len(made)] == list(range(0, 13, every))
    assert counted[-1] == 12  # and one at the end
    assert len(saved) <= len(made) + 1


def _since(checkpoints: Checkpoints) -> None:
    checkpoints._since = 0


@pytest.mark.parametrize("reduction", ["sequence", "token"])
def test_the_reduction_reaches_the_loss_and_the_history(reduction: str) -> None:
    """Of ragged sequences: the mean over steps is not that over sequences."""
    net, by_hand, (x, y) = network(), network(), data()
    lengths = torch.tensor([1, 9, 2, 8, 3, 7, 4])
    loss = by_hand.loss(x, y, lengths, reduction=reduction)
    loss.backward()
    history = tt.fit(net, (x, y, lengths), optimizer="gd", lr=0.1, epochs=1, reduction=reduction)
    torch.testing.assert_close(net.W, by_hand.W - 0.1 * by_hand.W.grad, rtol=1e-12, atol=1e-14)
    per_step = loss.item() * (7 / 34 if reduction == "sequence" else 1)
    assert history["train_loss"][0] == pytest.approx(per_step, rel=1e-12)


@pytest.mark.parametrize(("name", "clipped"), [("sgd", True), ("gd", False)])
def test_the_automatic_clip_is_one_and_none_for_gd(name: str, clipped: bool) -> None:
    net, (x, y) = network(), data()
    with torch.no_grad():
        net.V.mul_(30)  # a large gradient
    before = flat(net)
    history = tt.fit(net, (x, y), optimizer=name, lr=0.1, epochs=1)
    norm = history["gradient_norm"][0]
    assert norm > 2
    assert float((flat(net) - before).norm()) == pytest.approx(0.1 * (1.0 if clipped else norm), rel=1e-4)


@pytest.mark.parametrize(("name", "sizes"), [("adam", [32, 32, 6]), ("sgd", [32, 32, 6]), ("gd", [70])])
def test_the_automatic_batch_size_is_32_and_everything_for_gd(name: str, sizes: list[int]) -> None:
    net = network(Seen)
    tt.fit(net, numbered(70), optimizer=name, epochs=1)
    assert sorted(map(len, net.seen), reverse=True) == sizes


@pytest.mark.parametrize("d", [1, 4, 100])
def test_initial_weights_fill_their_range(d: int) -> None:
    """Uniform in ±1/√d, as torch.nn.RNN's: within it, near its ends, and on both sides of 0."""
    torch.manual_seed(0)
    nets = [tt.ElmanNetwork(3, d, 5) for _ in range(400 // d + 1)]
    for name in "UWbVc":
        values = torch.cat([getattr(net, name).detach().flatten() for net in nets])
        bound = 1 / math.sqrt(d)
        assert values.abs().max() <= bound
        assert values.max() > 0.9 * bound, name
        assert values.min() < -0.9 * bound, name
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.15), name


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_no_optimizer_is_another(name: str) -> None:
    """Three updates on mini-batches: what each name gives differs from what every other gives; gd and sgd are one rule."""
    others = []
    for other in optimizers.OPTIMIZERS:
        net = network()
        tt.fit(net, data(), optimizer=other, lr=0.01, epochs=3, batch_size=7)
        others.append(flat(net))
    own = others[list(optimizers.OPTIMIZERS).index(name)]
    alike = [
        o for o, theta in zip(optimizers.OPTIMIZERS, others, strict=True) if torch.allclose(own, theta, rtol=1e-12)
    ]
    assert set(alike) <= {name}


def test_a_factory_keeps_what_it_was_given() -> None:
    net, by_hand, (x, y) = network(), network(), data()
    factory = functools.partial(torch.optim.SGD, lr=0.5, weight_decay=0.3)
    tt.fit(net, (x, y), optimizer=factory, epochs=2, clip_norm=None)
    update = factory(by_hand.parameters())
    for _ in range(2):
        update.zero_grad()
        by_hand.loss(x, y).backward()
        update.step()
    torch.testing.assert_close(flat(net), flat(by_hand), rtol=1e-12, atol=1e-14)
