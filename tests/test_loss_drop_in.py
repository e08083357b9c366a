"""`ElmanNetwork.loss` under what PyTorch and its users do to a loss: every order and mode of derivative, transforms, tensors
without values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from problems import assert_close
from torch import Tensor
from torch.autograd import functional, gradcheck, gradgradcheck
from torch.func import functional_call, grad, jvp, vmap

import throughtime as tt

B, T, N, D, K = 3, 4, 2, 3, 3
# PyTorch's own forward mode calls torch.jit.script, which it calls deprecated.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
reductions = pytest.mark.parametrize("reduction", ["sequence", "token"])


def network() -> tuple[tt.ElmanNetwork, Tensor, Tensor]:
    net = tt.ElmanNetwork(N, D, K, dtype=torch.float64)
    y = torch.randint(K, (B, T))
    y[0, 1] = y[2, 0] = -100
    return net, torch.randn(B, T, N, dtype=torch.float64), y


def loss_of(net: tt.ElmanNetwork, parameters: dict[str, Tensor], *arguments: Any) -> Tensor:
    """The loss with other parameters."""

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *arguments: Any) -> Tensor:
            return self.net.loss(*arguments)

    return functional_call(Loss(), {f"net.{name}": value for name, value in parameters.items()}, arguments)


@forward_mode
@reductions
def test_gradcheck_in_every_mode(reduction: str, engine: str) -> None:
    """A second backward through one graph takes the first one's way: gradcheck asks for the same bits."""
    net, x, y = network()
    lengths = torch.tensor([T, 2, 3])
    inputs = [t.detach().requires_grad_() for t in (x, *net.parameters())]
    names = [name for name, _ in net.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return loss_of(net, dict(zip(names, parameters, strict=True)), x, y, lengths, reduction)

    gradcheck(
        run, inputs, fast_mode=True, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    gradgradcheck(run, inputs, fast_mode=True, check_batched_grad=True)


@forward_mode
def test_hessians_at_once_and_row_by_row(engine: str) -> None:
    net, x, y = network()
    hessians = [functional.hessian(lambda x: net.loss(x, y), x, vectorize=vectorize) for vectorize in (False, True)]
    assert_close(hessians[0], hessians[1], 1e-12, "hessian by x")


@forward_mode
@reductions
def test_a_gradient_for_each_row_and_a_loss_for_each_network(reduction: str, engine: str) -> None:
    net, x, y = network()
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def of_row(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss_of(net, parameters, x.unsqueeze(0), y.unsqueeze(0), None, reduction)

    found = vmap(grad(of_row), (None, 0, 0))(parameters, x, y)
    for i in range(B):
        expected = torch.autograd.grad(net.loss(x[i : i + 1], y[i : i + 1], None, reduction), list(net.parameters()))
        for name, want in zip(parameters, expected, strict=True):
            assert_close(found[name][i], want, 1e-12, f"row {i}: {name}")
    nets = [tt.ElmanNetwork(N, D, K, dtype=torch.float64) for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(nets)  # type: ignore[arg-type]
    losses = vmap(lambda p: loss_of(net, p, x, y, None, reduction))(stacked)
    for value, one in zip(losses, nets, strict=True):
        assert_close(value, one.loss(x, y, None, reduction), 1e-13, "loss")
    direction = {name: torch.ones_like(p) for name, p in parameters.items()}
    _, tangent = jvp(lambda p: loss_of(net, p, x, y, None, reduction), (parameters,), (direction,))
    expected = torch.autograd.grad(net.loss(x, y, None, reduction), list(net.parameters()))
    assert_close(tangent, torch.stack([g.sum() for g in expected]).sum(), 1e-12, "directional derivative")


@reductions
def test_batched_upstream_gradients(reduction: str, engine: str) -> None:
    net, x, y = network()
    upstream = torch.randn(5, dtype=torch.float64)
    parameters = list(net.parameters())
    found = torch.autograd.grad(net.loss(x, y, None, reduction), parameters, upstream, is_grads_batched=True)
    expected = torch.autograd.grad(net.loss(x, y, None, reduction), parameters)
    for g, want in zip(found, expected, strict=True):
        assert_close(g, torch.stack([u * want for u in upstream]), 1e-13, "gradient")


@reductions
def test_fake_and_meta_tensors(reduction: str) -> None:
    from torch._subclasses import FakeTensorMode

    def check(device: str) -> None:
        with torch.device(device):
            net = tt.ElmanNetwork(N, D, K)
        x, y = torch.randn(B, T, N, device=device), torch.zeros(B, T, dtype=torch.int64, device=device)
        loss = net.loss(x, y, None, reduction)
        loss.backward()
        assert loss.shape == ()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())

    check("meta")
    with FakeTensorMode():
        check("cpu")


def test_torch_jit_script_is_refused_in_one_line() -> None:
    with (
        pytest.warns(DeprecationWarning, match="torch.jit.script"),
        pytest.raises(RuntimeError, match=r"^torch.jit.script: .*ElmanNetwork.*[^\n]*$"),
    ):
        torch.jit.script(torch.nn.Sequential(tt.ElmanNetwork(3, 4, 2)))
