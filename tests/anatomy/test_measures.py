"""Jacobian norms against exact singular values, Lyapunov exponents against cases with a known answer."""

from __future__ import annotations

import math

import pytest
import torch

import throughtime as tt
from throughtime.anatomy import anatomy, measures
from throughtime.anatomy.jacobians import Slopes

D64 = torch.float64


def driven(W, nonlinearity, T, seed=0):
    torch.manual_seed(seed)
    d = len(W)
    net = tt.ElmanNetwork(3, d, 2, nonlinearity, dtype=W.dtype)
    with torch.no_grad():
        net.W.copy_(W)
        net.U.normal_(0, 0.3)
    return net, torch.randn(1, T, 3, dtype=W.dtype), torch.randint(2, (1, T))


def exact_norms(slopes, W):
    """‖∂s_t/∂s_k‖ by singular values of the products themselves; slopes [T, d]."""
    T, d = slopes.shape
    norms = torch.full((T, T), math.nan, dtype=D64)
    for t in range(T):
        J = torch.eye(d, dtype=D64)
        for k in range(t, -1, -1):
            norms[t, k] = torch.linalg.matrix_norm(J, 2)
            J = J @ (slopes[k].unsqueeze(1) * W)
    return norms


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("d", [1, 3, 8])
def test_jacobian_norms_are_exact_for_few_states(d, nonlinearity):
    W = torch.randn(d, d, dtype=D64, generator=torch.Generator().manual_seed(d))
    net, x, y = driven(W, nonlinearity, 12)
    a = anatomy(net, x, y)
    expected = exact_norms(a.unrolled.chosen.jacobians.slopes[:, 0], W)
    assert torch.allclose(a.jacobian_norms, expected, rtol=1e-8, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("kind", ["random", "orthogonal"])
@pytest.mark.parametrize("dtype", [torch.float32, D64])
def test_the_stated_error_of_jacobian_norms(kind, nonlinearity, dtype):
    W = torch.randn(48, 48, dtype=D64, generator=torch.Generator().manual_seed(0))
    W = torch.linalg.qr(W)[0] if kind == "orthogonal" else 1.3 * W / 48**0.5
    net, x, y = driven(W.to(dtype), nonlinearity, 90)
    slopes = anatomy(net, x, y).unrolled.chosen.jacobians.slopes
    expected = exact_norms(slopes[:, 0].double(), W)
    found = measures.jacobian_norms(Slopes(slopes, W.to(dtype)))[0]
    seen = ~expected.isnan()
    ratio = (found / expected)[seen & (expected > 1e-30)]
    assert torch.equal(found.isnan(), ~seen)
    assert float(ratio.max()) <= 1 + 1e-4  # a lower bound
    assert float((1 - ratio).mean()) < 0.04
    assert float((1 - ratio).max()) < 0.35


def test_jacobian_norms_beyond_the_range_of_float32():
    net, x, y = driven(0.1 * torch.eye(10), "identity", 60)
    norms = anatomy(net, x, y).jacobian_norms
    assert float(norms[59, 0]) == pytest.approx(1e-59, rel=1e-4)


def test_jacobian_norms_of_a_backward_direction():
    torch.manual_seed(0)
    rnn = tt.nn.RNN(3, 5, bidirectional=True, dtype=D64)
    readout = torch.nn.Linear(10, 2, dtype=D64)
    x, y = torch.randn(2, 6, 3, dtype=D64), torch.randint(2, (2, 6))
    lengths = torch.tensor([6, 4])
    a = anatomy(rnn, x, y, lengths, direction=1, readout=readout)
    W = rnn.all_weights[1][1].detach()
    states = a.unrolled.chosen.states
    for i, length in enumerate(lengths.tolist()):
        for t in range(length):
            J = torch.eye(5, dtype=D64)
            for k in range(t, length):
                assert float(a.jacobian_norms[i, t, k]) == pytest.approx(
                    float(torch.linalg.matrix_norm(J, 2)), rel=1e-8
                )
                J = J @ ((1 - states[k, i] ** 2).unsqueeze(1) * W)
            assert bool(a.jacobian_norms[i, t, :t].isnan().all())


def test_lyapunov_exponents_of_a_linear_recurrence():
    """s_t = W s_{t−1} + …: the exponents are the logarithms of the absolute eigenvalues."""
    values = torch.tensor([1.1, -0.9, 0.6, 0.3], dtype=D64)
    basis = torch.randn(4, 4, dtype=D64, generator=torch.Generator().manual_seed(3))
    net, x, y = driven(basis @ torch.diag(values) @ torch.linalg.inv(basis), "identity", 400)
    a = anatomy(net, x, y)
    assert torch.allclose(a.lyapunov, values.abs().log(), atol=1e-9)
    assert a.half_life == math.inf


def test_lyapunov_exponents_of_one_state():
    """One state: the exponent is the mean of log |σ'(a_t) w|, and the half-life follows from it."""
    net, x, y = driven(torch.tensor([[0.8]], dtype=D64), "tanh", 50)
    a = anatomy(net, x, y)
    expected = (a.unrolled.chosen.jacobians.slopes[12:, 0, 0] * 0.8).log().mean()
    assert float(a.lyapunov[0]) == pytest.approx(float(expected), rel=1e-12)
    assert a.half_life == pytest.approx(math.log(2) / -float(expected))


def test_lyapunov_exponents_are_the_mean_over_instances():
    net, _, _ = driven(torch.tensor([[0.8]], dtype=D64), "tanh", 5)
    x, y = torch.randn(2, 40, 3, dtype=D64), torch.randint(2, (2, 40))
    a = anatomy(net, x, y, [40, 20])
    logs = (a.unrolled.chosen.jacobians.slopes[..., 0] * 0.8).log()
    assert float(a.lyapunov[0]) == pytest.approx(float(torch.cat([logs[10:, 0], logs[5:20, 1]]).mean()), rel=1e-12)


def test_a_dead_direction_has_no_exponent():
    net, x, y = driven(torch.diag(torch.tensor([0.5, 0.0], dtype=D64)), "identity", 30)
    found = anatomy(net, x, y).lyapunov
    assert float(found[0]) == pytest.approx(math.log(0.5))
    assert float(found[1]) == -math.inf


def test_the_verdicts():
    def verdict(scale, nonlinearity="identity"):
        W = scale * torch.linalg.qr(torch.randn(6, 6, dtype=D64, generator=torch.Generator().manual_seed(0)))[0]
        return anatomy(*driven(W, nonlinearity, 60)).verdict

    assert verdict(0.3).startswith("The gradient vanishes")
    assert verdict(1.2).startswith("The gradient explodes")
    assert verdict(1.0).startswith("The gradient could reach far")
    net, x, y = driven(torch.linalg.qr(torch.randn(6, 6, dtype=D64))[0], "identity", 40)
    y[:, :-1] = -100  # one loss, at the end
    assert anatomy(net, x, y).verdict.startswith("The gradient reaches far")
