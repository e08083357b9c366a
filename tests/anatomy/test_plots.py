"""The pictures show the arrays; how they look is for eyes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.anatomy import anatomy, plots

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def a():
    torch.manual_seed(0)
    net = tt.ElmanNetwork(5, 6, 3, dtype=torch.float64)
    return anatomy(net, torch.randint(5, (2, 14)), torch.randint(3, (2, 14)), [14, 9])


@pytest.mark.parametrize("parameter", ["W", "U", "b"])
@pytest.mark.parametrize("what", ["norms", "shares"])
def test_a_heat_map_holds_the_array(a, parameter, what, tmp_path):
    symbols = list("a b\n$xyz0123456")
    figure = plots.heat_map(a, parameter, what, instance=1, symbols=symbols)
    figure.savefig(tmp_path / "map.png")
    axes = figure.axes[0]
    drawn = np.ma.asarray(axes.images[0].get_array()).filled(np.nan)
    expected = getattr(getattr(a, parameter), what)[1, :9, :9].numpy()
    shown = ~np.isnan(expected) & (expected >= axes.images[0].norm.vmin)
    np.testing.assert_allclose(drawn[shown], expected[shown])
    assert [label.get_text() for label in axes.get_xticklabels()][:5] == ["a", "␣", "b", "⏎", r"\$"]


def test_the_lag_curve_marks_the_horizon(a, tmp_path):
    figure = plots.lag_curve(a)
    figure.savefig(tmp_path / "lag.png")
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    np.testing.assert_allclose(heights, 100 * a.by_lag.numpy())
    assert f"horizon: {a.horizon()} steps" in figure.axes[0].texts[0].get_text()


def test_the_truncation_curve(a, tmp_path):
    figure = plots.truncation_curve(a)
    figure.savefig(tmp_path / "truncation.png")
    np.testing.assert_allclose(
        np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float), np.maximum(a.truncation.error.numpy(), 1e-8)
    )


def test_the_unrolled_network_draws_each_path_by_its_size(a, tmp_path):
    figure = plots.unrolled_network(a, 9, instance=0, steps=6)
    figure.savefig(tmp_path / "network.png")
    widths = [path.get_linewidth() for path in figure.axes[0].patches if path.get_zorder() >= 2]
    norms = a.norms[0, 8, 3:9].flip(0).tolist()
    assert len(widths) == 6
    assert np.argsort(widths).tolist() == np.argsort(norms).tolist()
    assert any("3 paths end beyond" in text.get_text() for text in figure.axes[0].texts)


def test_the_other_pictures(a, tmp_path):
    figure = plots.jacobian_map(a)
    figure.savefig(tmp_path / "jacobian.png")
    image = figure.axes[0].images[0]
    expected = a.jacobian_norms[0].numpy()
    shown = ~np.isnan(expected) & (expected >= image.norm.vmin)
    drawn = np.ma.asarray(image.get_array()).filled(np.nan)
    np.testing.assert_allclose(drawn[shown], expected[shown])

    shares = [a.by_lag.tolist(), a.by_lag.flip(0).tolist(), a.by_lag.roll(1).tolist()]
    figure = plots.memory_map(shares, [3, 4, 5], [1, 2, 5])
    figure.savefig(tmp_path / "memory.png")
    axes = figure.axes[0]
    drawn = np.asarray(axes.collections[0].get_array()).reshape(len(a.by_lag), 3)
    np.testing.assert_allclose(drawn.T, np.maximum(np.abs(shares), 1e-5))
    values, edges, _ = axes.patches[0].get_data()
    assert (list(values), list(edges)) == ([3, 4, 5], [0.5, 1.5, 4.5, 5.5])


def test_pictures_of_a_zero_gradient(tmp_path):
    net = tt.ElmanNetwork(3, 4, 2)
    zero = anatomy(net, torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))
    figures = {
        "map": plots.heat_map(zero),
        "shares": plots.heat_map(zero, what="shares"),
        "network": plots.unrolled_network(zero, 1),
        "lag": plots.lag_curve(zero),
        "truncation": plots.truncation_curve(zero),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
    image = figures["map"].axes[0].images[0]
    assert (image.get_array() <= image.norm.vmin).all()
    assert (figures["shares"].axes[0].images[0].get_array() == 0).all()
    assert [bar.get_height() for bar in figures["lag"].axes[0].containers[0]] == [0]
