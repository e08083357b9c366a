"""Watching a training: what is recorded, what it may cost, and what is said."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.anatomy import Watch, anatomy


def batch(T=24, B=8):
    return torch.randint(5, (B, T)), torch.randint(3, (B, T))


def test_a_training_is_watched_epoch_by_epoch(tmp_path):
    x, y = batch()
    net = tt.ElmanNetwork(5, 8, 3)
    watch = Watch(x[:2], y[:2], budget=1, say=lambda line: None)
    history = tt.fit(net, (x, y), epochs=3, progress=False, watch=watch)
    looked = [look.epoch for look in watch.looks]
    assert looked[0] == 1
    last = watch.looks[-1]
    if looked[-1] == 3:  # the model has not changed since
        found = anatomy(net, x[:2], y[:2])
        assert last.horizon == found.horizon(0.99)
        assert last.half_life == pytest.approx(found.half_life)
        assert sum(last.by_lag) == pytest.approx(1, abs=1e-4)
    for look in watch.looks:
        assert history.rows[look.epoch - 1]["horizon"] == look.horizon
        assert history.rows[look.epoch - 1]["watch_seconds"] == look.seconds
    history.to_csv(tmp_path / "history.csv")
    axes = watch.picture().axes[0]
    drawn = axes.collections[0].get_array().reshape(24, len(looked))
    np.testing.assert_allclose(drawn.T, np.maximum(np.abs([look.by_lag for look in watch.looks]), 1e-5))
    horizons, edges, _ = axes.patches[0].get_data()
    assert horizons.tolist() == [look.horizon for look in watch.looks]
    assert edges.tolist() == [epoch - 0.5 for epoch in (*looked, looked[-1] + 1)]


@pytest.mark.parametrize("every", [1, 4, 20])
def test_looking_stays_within_its_budget(every, monkeypatch):
    """By a clock on which a look takes as long as an epoch."""
    clock = itertools.count()
    monkeypatch.setattr("throughtime.anatomy.watch.time.perf_counter", lambda: float(next(clock)))
    watch = Watch(*batch(T=4, B=1), budget=1 / every, say=lambda line: None)
    net = tt.ElmanNetwork(5, 2, 3)
    for epoch in range(1, 101):
        watch(net, {"epoch": float(epoch), "seconds": 1.0})
    assert [look.epoch for look in watch.looks] == [1, *range(2 * every, 101, every)]


def test_dropout_and_training_mode_are_left_as_they_were():
    net = tt.SequenceModel(5, 4, 3, layers=2, dropout=0.5).train()
    watch = Watch(*batch(), say=lambda line: None)
    watch(net, {"epoch": 1.0, "seconds": 1.0})
    assert net.training
    assert net.rnn.training


@pytest.mark.parametrize(("scale", "word"), [(0.2, "vanishes"), (3.0, "explodes")])
def test_one_line_when_gradients_vanish_or_explode(scale, word):
    net = tt.ElmanNetwork(
        5, 16, 3, "identity" if scale > 1 else "tanh", initialization="orthogonal", dtype=torch.float64
    )
    with torch.no_grad():
        net.W.mul_(scale)
    said: list[str] = []
    watch = Watch(*batch(), budget=1, say=said.append)
    for epoch in (1, 2, 3):
        watch(net, {"epoch": float(epoch), "seconds": 100.0})
    assert len(said) == 1
    assert said[0].startswith("epoch 1: the gradient " + word)
    assert "truncat" in said[0]
    assert watch.lines == said
    assert (watch.looks[0].half_life == math.inf) == (scale > 1)


def test_what_cannot_be_taken_apart_does_not_stop_a_training():
    net = tt.ElmanNetwork(5, 8, 3)
    with torch.no_grad():
        net.V.fill_(math.inf)
    said: list[str] = []
    watch = Watch(*batch(), say=said.append)
    watch(net, {"epoch": 1.0, "seconds": 1.0})
    assert "not finite" in said[0]
    assert watch.looks == []


def test_bad_arguments():
    with pytest.raises(ValueError, match="budget"):
        Watch(*batch(), budget=0)
    with pytest.raises(ValueError, match="expected at least one epoch"):
        Watch(*batch()).picture()
