"""Every path against an independent reckoning in float64: autograd, explicit products of Jacobians, detached states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import throughtime as tt
from throughtime import anatomy as anatomy_module
from throughtime.anatomy import Anatomy, anatomy, paths
from throughtime.core.notation import NONLINEARITIES

D64 = torch.float64


def problem(nonlinearity="tanh", *, T=7, B=3, n=4, d=5, k=3, symbols=False, learned=False, seed=0, dtype=D64):
    """A network, inputs, labels (one of them ignored) and ragged lengths."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = tt.ElmanNetwork(n, d, k, nonlinearity, initial_state="learned" if learned else "zero", dtype=dtype)
    if net.s0 is not None:
        nn.init.normal_(net.s0)
    x = torch.randint(n, (B, T), generator=g) if symbols else torch.randn(B, T, n, generator=g, dtype=dtype)
    y = torch.randint(k, (B, T), generator=g)
    y[0, T // 2] = -100
    lengths = torch.tensor([T - (i % T) for i in range(B)])
    for i, length in enumerate(lengths):  # padding holds what must never be read
        x[i, length:] = 10**6 if symbols else math.nan
        y[i, length:] = 99
    return net, x, y, lengths


def gradients(net, x, y, lengths, reduction="sequence", **kwargs):
    value = net.loss(x, y, lengths, reduction, **kwargs)
    return dict(zip("UWbVc", torch.autograd.grad(value, [getattr(net, p) for p in "UWbVc"])))


def close(found: Tensor, expected: Tensor, tolerance=1e-10):
    assert found.shape == expected.shape
    size = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= tolerance * max(size, 1e-6), f"{found}\n{expected}"


@pytest.mark.parametrize("reduction", ["sequence", "token"])
@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_paths_sum_to_the_gradient_of_training(nonlinearity, symbols, reduction):
    net, x, y, lengths = problem(nonlinearity, symbols=symbols, learned=True)
    a = anatomy(net, x, y, lengths, reduction)
    expected = gradients(net, x, y, lengths, reduction)
    for p in "UWbVc":
        part = getattr(a, p)
        close(part.total, expected[p])
        assert part.residual <= 1e-10
        assert float(part.shares.nansum()) == pytest.approx(1, abs=1e-10)
    assert a.residual <= 1e-10
    for p in "UWb":
        part = getattr(a, p)
        for curve in (part.by_lag, part.by_loss, part.by_step):
            assert curve.shape == (a.T,)
            assert float(curve.sum()) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("d", [1, 3, 17, 100])
@pytest.mark.parametrize("dtype", [torch.float32, D64])
def test_odd_sizes(d, dtype):
    net, x, y, lengths = problem(d=d, n=3, T=17, B=3, dtype=dtype)
    a = anatomy(net, x, y, lengths)
    assert a.residual <= paths.RESIDUAL[dtype]


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_a_path_is_the_product_of_jacobians(nonlinearity):
    net, x, y, lengths = problem(nonlinearity, T=12, B=2, learned=True)
    a = anatomy(net, x, y, lengths)
    for i in range(2):
        length = int(lengths[i])
        s = [net.initial_state(1)[0].detach()]
        slopes = []
        for k in range(length):
            pre = (net.U @ x[i, k] + net.W @ s[-1] + net.b).detach().requires_grad_()
            s_k = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid, "identity": lambda v: v * 1}[
                nonlinearity
            ](pre)
            slopes.append(torch.autograd.grad(s_k.sum(), pre)[0])
            s.append(s_k.detach())
        for t in range(1, length + 1):
            z = (net.V @ s[t] + net.c).detach()
            e = torch.softmax(z, 0) - F.one_hot(y[i, t - 1].clamp_min(0), 3)
            e = e * (y[i, t - 1] >= 0) / 2  # the loss is the mean over two instances
            row = net.V.T.detach() @ e
            assert a.delta(t, i).shape == (t, 5)
            for k in range(t, 0, -1):
                delta = slopes[k - 1] * row
                close(a.delta(t, i)[k - 1], delta)
                G = torch.outer(delta, s[k - 1])
                close(a.path(t, k, i), G)
                assert float(a.norms[i, t - 1, k - 1]) == pytest.approx(float(G.norm()), rel=1e-10, abs=1e-14)
                share = float((G * a.total).sum() / a.total.square().sum())
                assert float(a.shares[i, t - 1, k - 1]) == pytest.approx(share, rel=1e-9, abs=1e-12)
                row = net.W.T.detach() @ delta
            assert a.path(t, min(t + 1, length), i).count_nonzero() == 0 or t == length


def test_paths_to_U_and_b():
    net, x, y, lengths = problem(T=6, B=2)
    a = anatomy(net, x, y, lengths)
    for i in range(2):
        for t in range(1, int(lengths[i]) + 1):
            delta = a.delta(t, i)
            for k in range(1, t + 1):
                by_U = torch.outer(delta[k - 1], x[i, k - 1])
                assert float(a.U.norms[i, t - 1, k - 1]) == pytest.approx(float(by_U.norm()), abs=1e-14)
                share = (by_U * a.U.total).sum() / a.U.total.square().sum()
                assert float(a.U.shares[i, t - 1, k - 1]) == pytest.approx(float(share), abs=1e-12)
                assert float(a.b.norms[i, t - 1, k - 1]) == pytest.approx(float(delta[k - 1].norm()), abs=1e-14)
                share = delta[k - 1] @ a.b.total / a.b.total.square().sum()
                assert float(a.b.shares[i, t - 1, k - 1]) == pytest.approx(float(share), abs=1e-12)


def test_what_has_no_path_is_nan():
    net, x, y, lengths = problem(T=7, B=3)
    a = anatomy(net, x, y, lengths)
    for i, length in enumerate(lengths.tolist()):
        step = torch.arange(7)
        path = (step <= step.unsqueeze(1)) & (step.unsqueeze(1) < length)
        for array in (a.norms, a.shares, a.U.norms, a.b.shares, a.jacobian_norms):
            assert torch.equal(array[i].isnan(), ~path)
        assert torch.equal(a.losses[i].isnan(), step >= length)
    assert a.losses[0, 3] == 0  # the label −100
    assert a.norms[0, 3, :4].count_nonzero() == 0


def test_losses_are_those_of_each_step():
    net, x, y, lengths = problem(T=7, B=3)
    a = anatomy(net, x, y, lengths)
    assert float(a.losses.nansum()) / 3 == pytest.approx(float(net.loss(x, y, lengths).detach()), rel=1e-12)


def test_one_instance_has_no_instance_axis():
    net, x, y, _ = problem(T=5, B=1)
    a = anatomy(net, x, y)
    assert a.losses.shape == (5,)
    assert a.norms.shape == a.shares.shape == a.jacobian_norms.shape == (5, 5)
    assert a.V.norms.shape == a.c.shares.shape == (5,)


def test_a_given_initial_state_and_frozen_parameters():
    net, x, y, lengths = problem()
    s0 = torch.randn(3, 5, dtype=D64)
    expected = gradients(net, x, y, lengths, s0=s0)
    a = anatomy(net.requires_grad_(False), x, y, lengths, s0=s0)
    close(a.total, expected["W"])


# --- stacks --------------------------------------------------------------------------------------------------------


def stack(nonlinearity, *, layers=2, bidirectional=True, T=6, B=2, bias=True):
    torch.manual_seed(1)
    rnn = tt.nn.RNN(3, 4, layers, nonlinearity, bias=bias, bidirectional=bidirectional, dtype=D64)
    readout = nn.Linear(8 if bidirectional else 4, 5, dtype=D64)
    x = torch.randn(B, T, 3, dtype=D64)
    y = torch.randint(5, (B, T))
    y[0, 1] = -100
    lengths = torch.tensor([T - 2 * (i % 2) for i in range(B)])
    return rnn, readout, x, y, lengths


def stack_losses(rnn, readout, x, y, lengths, s0=None):
    """L_t [B, T] over the number of instances, through the layer's own forward."""
    packed = nn.utils.rnn.pack_padded_sequence(x.transpose(0, 1), lengths, enforce_sorted=False)
    out, _ = rnn(packed, s0)
    states, _ = nn.utils.rnn.pad_packed_sequence(out, total_length=x.shape[1])
    z = readout(states).transpose(0, 1)
    real = torch.arange(x.shape[1]) < lengths.unsqueeze(1)
    y = y.where(real, -100)
    return F.cross_entropy(z.flatten(0, 1), y.flatten(), ignore_index=-100, reduction="none").view(y.shape) / len(x)


def weights(rnn, layer, direction):
    end = f"_l{layer}" + ("_reverse" if direction else "")
    return [getattr(rnn, f"{p}{end}") for p in ("weight_hh", "weight_ih", "bias_ih")]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_every_layer_and_direction_of_a_stack(nonlinearity, bidirectional):
    rnn, readout, x, y, lengths = stack(nonlinearity, bidirectional=bidirectional)
    s0 = torch.randn(4 if bidirectional else 2, 2, 4, dtype=D64)
    losses = stack_losses(rnn, readout, x, y, lengths, s0)
    for layer in range(2):
        for direction in range(1 + bidirectional):
            a = anatomy(rnn, x, y, lengths, s0=s0, layer=layer, direction=direction, readout=readout)
            parameters = [*weights(rnn, layer, direction), readout.weight, readout.bias]
            expected = torch.autograd.grad(losses.sum(), parameters, retain_graph=True)
            for p, g in zip("WUbVc", expected):
                close(getattr(a, p).total, g)
            assert float(a.shares.nansum()) == pytest.approx(1, abs=1e-10)
            for i in range(2):
                for t in range(1, int(lengths[i]) + 1):  # each loss alone
                    alone = torch.autograd.grad(losses[i, t - 1], parameters[0], retain_graph=True)[0]
                    steps = range(1, int(lengths[i]) + 1)
                    close(sum((a.path(t, k, i) for k in steps), torch.zeros(4, 4, dtype=D64)), alone)
                    for k in steps:
                        norm = float(a.path(t, k, i).norm())
                        assert float(a.norms[i, t - 1, k - 1].nan_to_num()) == pytest.approx(norm, abs=1e-14)


def test_which_steps_a_loss_reaches_in_a_stack():
    rnn, readout, x, y, lengths = stack("tanh")
    step = torch.arange(4)
    for layer, direction, expected in (
        (0, 0, torch.ones(4, 4, dtype=torch.bool)),  # the layer above looks both ways
        (0, 1, torch.ones(4, 4, dtype=torch.bool)),
        (1, 0, step <= step.unsqueeze(1)),
        (1, 1, step >= step.unsqueeze(1)),
    ):
        a = anatomy(rnn, x, y, lengths, layer=layer, direction=direction, readout=readout)
        assert torch.equal(~a.norms[1, :4, :4].isnan(), expected)


def test_a_stack_without_bias_and_a_wrapped_one():
    rnn, readout, x, y, lengths = stack("tanh", bias=False, layers=1, bidirectional=False)
    bare = anatomy(rnn, x, y, lengths, readout=readout)

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn, self.readout = nn.Embedding(9, 3, dtype=D64), rnn, readout

    symbols = torch.randint(9, (2, 6))
    net = Wrapped()
    a = anatomy(net, symbols, y, lengths)
    assert torch.equal(a.total, anatomy(rnn, net.embedding(symbols).detach(), y, lengths, readout=readout).total)
    assert bare.residual <= 1e-10


# --- truncation ----------------------------------------------------------------------------------------------------


def truncated_gradient(net, x, y, lengths, window):
    """∂L/∂W where each loss sees the last `window` steps: the state before them is detached, loss by loss."""
    states = [[net.initial_state(1)[0].detach()] for _ in range(len(x))]
    with torch.no_grad():
        for i, row in enumerate(states):
            for t in range(int(lengths[i])):
                row.append(torch.tanh(net.U @ x[i, t] + net.W @ row[-1] + net.b))
    value = torch.zeros((), dtype=D64)
    for i, row in enumerate(states):
        for t in range(1, int(lengths[i]) + 1):
            start = max(t - window, 0)
            s = row[start]
            for k in range(start, t):
                s = torch.tanh(net.U @ x[i, k] + net.W @ s + net.b)
            value = value + F.cross_entropy((net.V @ s + net.c).unsqueeze(0), y[i, t - 1 : t], reduction="sum")
    return torch.autograd.grad(value / len(x), net.W)[0]


def test_truncation_is_what_truncated_bptt_computes():
    net, x, y, lengths = problem(T=9, B=2, learned=True)
    a = anatomy(net, x, y, lengths)
    full = gradients(net, x, y, lengths)["W"]
    cosines = []
    for window in range(1, 10):
        g = truncated_gradient(net, x, y, lengths, window)
        assert float(a.truncation.error[window - 1]) == pytest.approx(float((g - full).norm() / full.norm()), abs=1e-11)
        cosines.append(float((g * full).sum() / g.norm() / full.norm()))
        assert float(a.truncation.cosine[window - 1]) == pytest.approx(cosines[-1], abs=1e-11)
    for wanted in (0.5, 0.9, 0.99, 0.9999, 1.0):
        assert a.horizon(wanted) == next(i for i, c in enumerate(cosines, 1) if c >= wanted - 1e-11)


def test_truncation_of_the_lower_layer_of_a_stack():
    rnn, readout, x, y, _ = stack("tanh", bidirectional=False, T=7)
    a = anatomy(rnn, x, y, layer=0, readout=readout)
    (U0, W0, b0, c0), (U1, W1, b1, c1) = rnn.all_weights
    zero = torch.zeros(4, dtype=D64)
    for window in (1, 2, 4, 7):
        value = torch.zeros((), dtype=D64)
        for i in range(2):
            lower, upper = [zero], [zero]
            for t in range(7):
                lower.append(torch.tanh(U0 @ x[i, t] + b0 + c0 + W0 @ lower[-1]).detach())
                upper.append(torch.tanh(U1 @ lower[-1] + b1 + c1 + W1 @ upper[-1]).detach())
            for t in range(1, 8):
                start = max(t - window, 0)
                s, u = lower[start], upper[start]
                for k in range(start, t):
                    s = torch.tanh(U0 @ x[i, k] + b0 + c0 + W0 @ s)
                    u = torch.tanh(U1 @ s + b1 + c1 + W1 @ u)
                value = value + F.cross_entropy(readout(u).unsqueeze(0), y[i, t - 1 : t], reduction="sum") / 2
        g = torch.autograd.grad(value, W0)[0]
        error = float((g - a.unrolled.gradient["W"]).norm() / a.unrolled.gradient["W"].norm())
        assert float(a.truncation.error[window - 1]) == pytest.approx(error, abs=1e-11)


def test_blocks_of_losses_change_nothing(monkeypatch):
    net, x, y, lengths = problem(T=17, B=2)
    rnn, readout, rx, ry, r_lengths = stack("tanh", T=9)
    whole = [anatomy(net, x, y, lengths), anatomy(rnn, rx, ry, r_lengths, layer=0, readout=readout)]
    monkeypatch.setattr(paths, "BLOCK_LOSSES", 3)
    parts = [anatomy(net, x, y, lengths), anatomy(rnn, rx, ry, r_lengths, layer=0, readout=readout)]
    for a, b in zip(whole, parts):
        close(b.shares.nan_to_num(), a.shares.nan_to_num(), 1e-12)
        close(b.truncation.error, a.truncation.error, 1e-10)


# --- the ends of the range -----------------------------------------------------------------------------------------


def test_a_single_step_has_no_gradient_by_W():
    net, x, y, _ = problem(T=1, B=1)
    y[0, 0] = 1
    a = anatomy(net, x, y)
    assert a.total.count_nonzero() == 0
    assert float(a.shares.sum()) == 0
    assert a.horizon() == 1
    assert "zero" in a.verdict
    assert float(a.U.shares.sum()) == pytest.approx(1)


def test_no_label_counts():
    net, x, y, lengths = problem()
    a = anatomy(net, x, torch.full_like(y, -100), lengths)
    assert float(a.shares.nansum()) == 0
    assert a.truncation.error.count_nonzero() == 0


def test_only_the_last_step_has_a_label():
    net, x, y, _ = problem(T=9, B=1)
    y[:, :-1] = -100
    a = anatomy(net, x, y)
    assert float(a.shares[-1].sum()) == pytest.approx(1, abs=1e-12)


def test_a_drifting_sum_is_an_error(monkeypatch):
    net, x, y, lengths = problem()
    right = paths.contraction.input_gradient
    monkeypatch.setattr(paths.contraction, "input_gradient", lambda *args: right(*args) + 1)
    with pytest.raises(ArithmeticError, match="the paths to [UW] sum to the gradient of training within"):
        anatomy(net, x, y, lengths)


def test_a_gradient_that_is_not_finite_is_an_error():
    net, x, y, _ = problem("identity", T=40, B=1)
    with torch.no_grad():
        net.W.mul_(1e20)
    with pytest.raises(ArithmeticError, match="not finite"):
        anatomy(net, x, y)


def test_bad_arguments():
    net, x, y, lengths = problem()
    rnn, readout, rx, ry, _ = stack("tanh")
    with pytest.raises(TypeError, match="net: expected an ElmanNetwork"):
        anatomy(nn.Linear(2, 2), x, y)
    with pytest.raises(TypeError, match="readout: expected a torch.nn.Linear"):
        anatomy(rnn, rx, ry)
    with pytest.raises(ValueError, match="layer: expected −2 to 1, found 2"):
        anatomy(rnn, rx, ry, layer=2, readout=readout)
    with pytest.raises(ValueError, match="direction: expected 0, found 1"):
        anatomy(net, x, y, lengths, direction=1)
    with pytest.raises(ValueError, match="reduction"):
        anatomy(net, x, y, lengths, "mean")
    with pytest.raises(ValueError, match="s0: expected shape"):
        anatomy(net, x, y, lengths, s0=torch.zeros(3, 4, dtype=D64))
    a = anatomy(net, x, y, lengths)
    with pytest.raises(ValueError, match="t: expected a step from 1 to 5, found 6"):
        a.delta(6, 2)
    with pytest.raises(ValueError, match="k: expected a step from 1 to 7, found 0"):
        a.path(3, 0)
    with pytest.raises(ValueError, match="instance: expected 0 to 2, found 3"):
        a.path(1, 1, 3)
    with pytest.raises(ValueError, match="cosine"):
        a.horizon(0)
    dropped = tt.nn.RNN(3, 4, 2, dropout=0.5, dtype=D64)
    with pytest.raises(ValueError, match="dropout"):
        anatomy(dropped, rx, ry, readout=nn.Linear(4, 5, dtype=D64))


def test_the_saved_file_holds_the_arrays(tmp_path):
    net, x, y, lengths = problem()
    a = anatomy(net, x, y, lengths)
    a.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["W_shares"], a.shares.numpy())
        np.testing.assert_array_equal(found["truncation_cosine"], a.truncation.cosine.numpy())
        assert set(found) == set(a.arrays())


def test_the_module_is_the_function():
    net, x, y, lengths = problem()
    assert isinstance(anatomy_module(net, x, y, lengths), Anatomy)
    assert "residual" in repr(anatomy_module(net, x, y, lengths))
