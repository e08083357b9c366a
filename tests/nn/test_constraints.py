"""Constraints on weights hold after steps of an optimiser, in cells run by `Recurrent` and in built-in layers."""

import pytest
import torch
from torch import nn
from tracing.beside_loop import check_beside_loop

import throughtime as tt
from throughtime.nn import constraints

n, d, T, B = 3, 6, 5, 4


def learned(module: nn.Module, name: str, layer: nn.Module) -> torch.Tensor:
    """The weight after some steps that pull at it."""
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    before = getattr(module, name).detach().clone()
    for _ in range(5):
        y, _ = layer(torch.randn(T, B, n))
        loss = (y - 1).pow(2).mean() - getattr(module, name).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = getattr(module, name).detach()
    assert not torch.equal(before, after)
    return after


def layers():
    cell = tt.cells.Leaky(n, d)
    yield cell.W, "weight", tt.nn.Recurrent(cell, engine="program")
    layer = tt.nn.RNN(n, d)
    yield layer, "weight_hh_l0", layer


@pytest.mark.parametrize("which", [0, 1], ids=["Recurrent", "RNN"])
def test_constraints_hold_while_learning(which):
    module, name, layer = list(layers())[which]
    mask = torch.rand(d, d) < 0.5
    start = getattr(module, name).detach().clone()
    constraints.masked(module, name, mask)
    assert torch.equal(getattr(module, name), start * mask)
    assert not learned(module, name, layer)[~mask].any()

    module, name, layer = list(layers())[which]
    start = getattr(module, name).detach().clone()
    constraints.dale(module, name, 4)
    torch.testing.assert_close(getattr(module, name).abs(), start.abs())
    W = learned(module, name, layer)
    assert (W[:, :4] >= 0).all()
    assert (W[:, 4:] <= 0).all()

    module, name, layer = list(layers())[which]
    constraints.antisymmetric(module, name, 0.1)
    W = learned(module, name, layer)
    torch.testing.assert_close(W + W.T, -0.2 * torch.eye(d))

    module, name, layer = list(layers())[which]
    constraints.orthogonal(module, name)
    W = learned(module, name, layer)
    torch.testing.assert_close(W @ W.T, torch.eye(d), atol=1e-5, rtol=0)


def test_constrained_gradients_are_the_loops():
    x = torch.randn(T, B, n, dtype=torch.float64, requires_grad=True)
    for constrain in (
        lambda m: constraints.dale(m, "weight", torch.tensor([True, False] * 3)),
        lambda m: constraints.antisymmetric(m, "weight"),
    ):
        cell = tt.cells.Leaky(n, d).double()
        constrain(cell.W)
        check_beside_loop(cell, x)


def test_weight_drop_has_one_mask_a_call():
    cell = constraints.weight_drop(nn.RNNCell(n, d), "weight_hh", 0.5)
    layer = tt.nn.Recurrent(cell, engine="program")
    x, plain = torch.randn(1, 1, n).expand(T, 2, n), nn.RNNCell(n, d)
    torch.manual_seed(3)
    found, _ = layer(x)
    torch.manual_seed(3)
    one_draw = {name: getattr(cell, name).detach() for name in ("weight_hh", "weight_ih", "bias_ih", "bias_hh")}
    plain.load_state_dict(one_draw)
    expected, _ = tt.nn.Recurrent(plain)(x)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(layer(x)[0], found)
    cell.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_variational_mask():
    mask = tt.nn.variational_mask(torch.zeros(T, 200, n), 50, 0.25)
    assert mask.shape == (T, 200, 50)
    assert mask.stride(0) == 0
    assert mask.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert 0.2 < (mask == 0).float().mean() < 0.3
    assert tt.nn.variational_mask(torch.zeros(2, T, n), 5, 0.5, batch_first=True).stride(1) == 0
    with pytest.raises(ValueError, match="p: expected a probability below 1, found 1"):
        tt.nn.variational_mask(mask, 5, 1)


def test_spectral_radius():
    W = constraints.spectral_radius_(torch.randn(30, 30), 0.9)
    assert torch.linalg.eigvals(W).abs().max().item() == pytest.approx(0.9, rel=1e-4)


def test_bad_arguments_are_told():
    linear = nn.Linear(3, 4)
    with pytest.raises(ValueError, match=r"mask: expected the shape \[4, 3\] of weight, found \[3, 4\]"):
        constraints.masked(linear, "weight", torch.ones(3, 4))
    with pytest.raises(ValueError, match="excitatory: expected 0 to 3 units, found 5"):
        constraints.dale(linear, "weight", 5)
    with pytest.raises(ValueError, match=r"weight: expected a square matrix, found \[4, 3\]"):
        constraints.antisymmetric(linear, "weight")
    with pytest.raises(ValueError, match="expected an eigenvalue other than zero"):
        constraints.spectral_radius_(torch.zeros(2, 2), 1.0)
