"""The loss and every gradient, against PyTorch's autograd, central differences, and the sum over all paths."""

from __future__ import annotations

import copy

import pytest
import torch
from problems import PROBLEMS, Problem, assert_close, judge, make, ours

import throughtime as tt
from throughtime.core.notation import NONLINEARITIES
from throughtime.engines.reference import SIGMA_PRIME

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_loss_and_gradients_equal_autograd_through_torch_nn(problem: Problem, dtype: torch.dtype, engine: str) -> None:
    case = make(problem, dtype)
    loss, grads = ours(case)
    exact = copy.deepcopy(case)
    exact.net.double()
    exact.x = case.x.detach().double().requires_grad_() if not problem.symbols else case.x
    exact.s0 = None if case.s0 is None else case.s0.detach().double().requires_grad_()
    expected_loss, expected = judge(exact)
    assert_close(loss, expected_loss, TOLERANCE[dtype], "loss")
    assert grads.keys() == expected.keys()
    for name in expected:
        assert_close(grads[name], expected[name], TOLERANCE[dtype], name)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_bptt_returns_what_autograd_does(problem: Problem, engine: str) -> None:
    case = make(problem)
    loss, grads = tt.bptt(case.net, case.x, case.y, case.lengths, problem.reduction, s0=case.s0)
    expected_loss, expected = judge(case)
    assert_close(loss, expected_loss, 1e-12, "loss")
    for name, value in expected.items():
        found = getattr(grads, name)
        if name == "s0" and problem.s0 == "learned":
            found = found.sum(0)
        assert_close(found, value, 1e-10, name)
    assert (grads.x is None) == problem.symbols


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_forward_and_composed_gradients(problem: Problem, engine: str) -> None:
    """The logits' own path: a random upstream gradient on z and on the final state, by name."""
    case = make(problem)
    z, final = case.net(case.x, case.lengths, case.s0, return_state=True)
    expected = _loop(case)
    assert_close(z, expected[0], 1e-10, "z")
    assert_close(final, expected[1], 1e-10, "final state")
    up_z, up_final = torch.randn_like(z), torch.randn_like(final)
    tensors = dict(case.net.named_parameters())
    if not problem.symbols:
        tensors["x"] = case.x
    found = torch.autograd.grad([z, final], list(tensors.values()), [up_z, up_final])
    wanted = torch.autograd.grad(expected, list(tensors.values()), [up_z, up_final])
    for name, a, b in zip(tensors, found, wanted, strict=True):
        assert_close(a, b, 1e-10, name)


def _loop(case) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and final states, a row and a step at a time."""
    net, p = case.net, case.problem
    sigma = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid, "identity": lambda a: a}[p.nonlinearity]
    s0 = case.s0 if case.s0 is not None else net.initial_state(p.B)
    rows, finals = [], []
    for i in range(p.B):
        s, z = s0[i], []
        for t in range(p.T):
            if case.lengths is not None and t >= case.lengths[i]:
                z.append(net.c)
                continue
            u = net.U[:, case.x[i, t]] if p.symbols else net.U @ case.x[i, t]
            s = sigma(u + net.W @ s + net.b)
            z.append(net.V @ s + net.c)
        rows.append(torch.stack(z))
        finals.append(s)
    return torch.stack(rows), torch.stack(finals)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_gradients_equal_central_differences(nonlinearity: str, engine: str) -> None:
    case = make(Problem(6, 3, 3, 5, 4, nonlinearity, ragged=True, s0="given", reduction="token", ignored=True))
    _, grads = ours(case)
    tensors = {**{name: getattr(case.net, name) for name in "UWbVc"}, "x": case.x, "s0": case.s0}
    step = 1e-5
    for name, tensor in tensors.items():
        expected = torch.zeros_like(tensor)
        flat, out = tensor.detach().view(-1), expected.view(-1)
        for i in range(flat.numel()):
            kept = flat[i].item()
            values = []
            for sign in (1, -1):
                flat[i] = kept + sign * step
                values.append(case.net.loss(case.x, case.y, case.lengths, "token", s0=case.s0).item())
            flat[i] = kept
            out[i] = (values[0] - values[1]) / (2 * step)
        if name == "x":  # NaN in the padding has no derivative
            expected = expected.nan_to_num()
        assert_close(grads[name], expected, 1e-6, name)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize(("T", "d"), [(1, 3), (12, 1), (12, 5), (30, 17)])
def test_recurrent_gradient_is_the_sum_over_all_paths(nonlinearity: str, T: int, d: int, engine: str) -> None:
    """∂L/∂W = Σ_t Σ_{k≤t} (∂L_t/∂s_t) (∂s_t/∂s_k) (∂⁺s_k/∂W), every Jacobian written out."""
    case = make(Problem(T, 1, 3, d, 4, nonlinearity, s0="given"))
    net = case.net
    _, grads = tt.bptt(net, case.x, case.y, s0=case.s0)
    s = [case.s0[0].detach()]
    sigma = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid, "identity": lambda a: a}[nonlinearity]
    with torch.no_grad():
        for t in range(T):
            s.append(sigma(net.U @ case.x[0, t] + net.W @ s[-1] + net.b))
        slope = [SIGMA_PRIME[nonlinearity](state) for state in s]
        total = torch.zeros_like(net.W)
        for t in range(1, T + 1):
            error = torch.softmax(net.V @ s[t] + net.c, 0)
            error[case.y[0, t - 1]] -= 1
            row = net.V.T @ error  # ∂L_t/∂s_t, then ∂L_t/∂s_k
            for k in range(t, 0, -1):
                total += torch.outer(row * slope[k], s[k - 1])
                row = torch.diag(slope[k]) @ row
                row = net.W.T @ row
    assert_close(grads.W, total, 1e-10, "W")


def test_all_ignored_is_zero(engine: str) -> None:
    case = make(Problem(3, 2, 2, 3, 2, reduction="token"))
    case.y.fill_(-100)
    loss, grads = ours(case)
    assert loss == 0
    assert all((g == 0).all() for g in grads.values())


def test_second_derivatives(engine: str) -> None:
    case = make(Problem(4, 2, 2, 3, 3, ragged=True, s0="given"))
    x = torch.randn_like(case.x, requires_grad=True)
    net = case.net

    def loss(x, s0, W, V):
        return torch.func.functional_call(net, {"W": W, "V": V}, (x, case.lengths, s0)).square().sum()

    assert torch.autograd.gradgradcheck(loss, (x, case.s0, net.W, net.V))
    assert torch.autograd.gradgradcheck(lambda x, s0: net.loss(x, case.y, case.lengths, s0=s0), (x, case.s0))


def test_upstream_gradient_scales(engine: str) -> None:
    case = make(Problem(5, 2, 3, 4, 3))
    _, once = ours(case)
    loss = 3.5 * case.net.loss(case.x, case.y)
    assert_close(torch.autograd.grad(loss, case.net.W)[0], 3.5 * once["W"], 1e-14, "W")


def test_padding_and_batch_mates_change_nothing(engine: str) -> None:
    case = make(Problem(11, 4, 3, 17, 5, ragged=True))
    z = case.net(case.x, case.lengths)
    for i, length in enumerate(case.lengths.tolist()):
        alone = case.net(case.x[i : i + 1, :length])[0]
        assert_close(z[i, :length], alone, 1e-14, f"row {i}")


def test_a_second_backward_through_the_same_loss_adds_the_same(engine: str) -> None:
    case = make(Problem(5, 2, 3, 4, 3, ragged=True, s0="given"))
    _, once = ours(case)
    loss = case.net.loss(case.x, case.y, case.lengths, s0=case.s0)
    loss.backward(retain_graph=True)
    loss.backward()
    for name in "UWbVc":
        assert_close(getattr(case.net, name).grad, 2 * once[name], 1e-13, name)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
