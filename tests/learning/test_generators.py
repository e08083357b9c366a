"""Trainings in several Python threads at once: each gives what it gives alone, and PyTorch's global generator is left alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import assert_close
from torch import nn

import throughtime as tt
from throughtime.core.randomness import drawing_from, dropout

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(12, 7, 3, generator=G), torch.randint(4, (12, 7), generator=G)


def model(seed: int = 0, **options) -> tt.SequenceModel:
    torch.manual_seed(seed)
    return tt.SequenceModel(3, 6, 4, layers=2, dropout=0.4, input_dropout=0.2, readout_dropout=0.3, **options)


def trained(m: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    tt.fit(m, (X, Y), (X, Y), epochs=4, batch_size=4, seed=seed)
    return m.state_dict()


def at_once(works) -> list:
    found = [None] * len(works)
    ready = threading.Barrier(len(works))

    def run(i: int) -> None:
        ready.wait()
        found[i] = works[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def same(a, b) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_fit_in_threads(engine: str) -> None:
    alone = [trained(model(i), i) for i in range(4)]
    models = [model(i) for i in range(4)]
    before = torch.get_rng_state()
    together = at_once([lambda m=m, i=i: trained(m, i) for i, m in enumerate(models)])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(same(ours, theirs) for ours, theirs in zip(together, alone, strict=True))
    assert not same(trained(model(), 1), alone[0])  # the masks matter


def test_estimators_in_threads() -> None:
    texts = np.array([[f"{i * j % 5}" for j in range(6)] for i in range(20)], dtype=object)
    labels = np.arange(20) % 2

    def learn(seed: int) -> dict[str, torch.Tensor]:
        estimator = tt.SequenceClassifier(5, num_layers=2, dropout=0.5, max_iter=3, random_state=seed)
        return estimator.fit(list(texts), labels).model_.state_dict()

    alone = [learn(i) for i in range(4)]
    before = torch.get_rng_state()
    together = at_once([lambda i=i: learn(i) for i in range(4)])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(same(ours, theirs) for ours, theirs in zip(together, alone, strict=True))


def test_masks_are_those_of_the_global_generator(engine: str) -> None:
    """By hand: the steps of one epoch, with dropout from PyTorch's generator."""
    m, by_hand = model(), model()
    torch.manual_seed(3)
    update = torch.optim.SGD(by_hand.train().parameters(), lr=0.1)
    by_hand.loss(X[:1], Y[:1], torch.tensor([7])).backward()
    update.step()
    tt.fit(m, (X[:1], Y[:1]), optimizer="gd", lr=0.1, epochs=1, seed=3)
    for (name, p), q in zip(m.named_parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(p, q), name


@pytest.mark.parametrize("p", [0.1, 1 / 3, 0.5, 0.9, 1.0])
def test_dropout_is_pytorchs(p: float) -> None:
    x = torch.randn(17, 3, 100, requires_grad=True)
    torch.manual_seed(5)
    expected = F.dropout(x, p)
    (wanted,) = torch.autograd.grad(expected.sin().sum(), x)
    generator = torch.Generator().manual_seed(5)
    before = torch.get_rng_state()
    with drawing_from(generator):
        found = dropout(x, p)
    (gradient,) = torch.autograd.grad(found.sin().sum(), x)
    assert torch.equal(found, expected)
    assert torch.equal(gradient, wanted)
    assert torch.equal(torch.get_rng_state(), before)
    dropout(x, p)  # outside, the global one goes on
    assert torch.equal(torch.get_rng_state(), before) == (p == 1)


class WithDropout(tt.SequenceModel):
    """Of another library: its own dropout knows the global generator alone."""

    def __init__(self) -> None:
        super().__init__(6, 5, 4, embedding=3)
        self.embedding = nn.Sequential(self.embedding, nn.Dropout(0.5))


def test_other_parts_draw_from_the_global_generator() -> None:
    """The same seed gives the same weights, whatever the caller has drawn, whose generator is put back."""
    x, found = torch.randint(6, (12, 7), generator=G), []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        m = WithDropout()
        torch.rand(len(found))
        before = torch.get_rng_state()
        tt.fit(m, (x, Y), epochs=2, batch_size=4, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(m.readout.weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


class Langevin(torch.optim.SGD):
    """Adds noise from the global generator."""

    def step(self, closure=None):
        super().step(closure)
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p += 0.01 * torch.randn_like(p)


def test_an_optimizer_that_draws_can_be_repeated() -> None:
    first, second = (tt.ElmanNetwork(3, 5, 4) for _ in range(2))
    second.load_state_dict(first.state_dict())
    for net in (first, second):
        tt.fit(net, (X, Y), optimizer=lambda p: Langevin(p, lr=0.1), epochs=2, seed=4)
    for name, p in first.named_parameters():
        assert_close(p, second.get_parameter(name), 0, name)
