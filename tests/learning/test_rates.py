"""The learning rate range test."""

from __future__ import annotations

import pytest
import torch

import throughtime as tt


def problem() -> tuple[tt.ElmanNetwork, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    x, y = torch.randint(3, (12, 6)), torch.randint(3, (12, 6))
    return tt.ElmanNetwork(3, 8, 3), (x, y)


def test_the_rate_grows_and_the_model_stays() -> None:
    net, data = problem()
    before = net.W.detach().clone()
    found = tt.lr_find(net, data, low=1e-5, high=1e-1, updates=9, batch_size=4)
    assert found.lrs == pytest.approx([10 ** (-5 + i / 2) for i in range(9)])
    assert torch.equal(net.W, before)
    assert found.losses[0] == pytest.approx(
        net.loss(*data).item() / 6, rel=0.2
    )  # of the first batch, before its update


def test_it_ends_where_the_loss_grows() -> None:
    net, data = problem()
    found = tt.lr_find(net, data, low=1e-3, high=1e6, updates=60, optimizer="sgd", clip_norm=None, batch_size=6)
    assert len(found.lrs) < 60
    lowest = found.lrs[found.losses.index(min(found.losses))]
    assert found.suggestion == pytest.approx(lowest / 10)
    assert found.lrs[0] < lowest < found.lrs[-1]
    assert repr(found).startswith(f"Rates({len(found.lrs)} updates from 0.001 to ")
    pytest.importorskip("matplotlib")
    curve, line = found.plot().axes[0].lines
    assert curve.get_ydata().tolist() == found.losses
    assert list(line.get_xdata()) == [found.suggestion] * 2


def test_bounds_are_checked() -> None:
    net, data = problem()
    with pytest.raises(ValueError, match="low, high: expected 0 < low < high, found 1.0 and 0.1"):
        tt.lr_find(net, data, low=1.0, high=0.1)


def test_a_function_is_a_schedule() -> None:
    net, data = problem()
    seen = []

    class Rate(tt.callbacks.Callback):
        def step(self, training) -> None:
            seen.append(training.lr)

    tt.fit(
        net, data, batch_size=6, epochs=2, lr=0.5, lr_schedule=lambda done: 1 - done, callbacks=[Rate()], progress=False
    )
    assert seen == pytest.approx([0.5, 0.375, 0.25, 0.125])
