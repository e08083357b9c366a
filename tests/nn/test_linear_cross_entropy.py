"""The cross-entropy of a linear layer against PyTorch's, values and gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.engines import native
from throughtime.nn.functional import linear_cross_entropy

pytestmark = pytest.mark.skipif(native.load_error is not None, reason="the compiled engine is absent")


def numbers(N, d, k, dtype=torch.float64, ignored=-100):
    g = torch.Generator().manual_seed(N + d + k)
    x, V, c = (
        torch.randn(*s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in ((N, d), (k, d), (k,))
    )
    y = torch.randint(0, k, (N,), generator=g)
    y[torch.rand(N, generator=g) < 0.2] = ignored
    return x, V, c, y


@pytest.fixture(params=[1, 3])
def threads(request):
    """However many PyTorch has."""
    tt.set_num_threads(request.param)
    yield request.param
    tt.set_num_threads(None)


@pytest.fixture(params=native.supported())
def isa(request):
    native._native.set_isa(request.param)
    native._native.poison(True)
    yield request.param
    native._native.set_isa("")
    native._native.poison(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("N", "d", "k"), [(1, 1, 1), (3, 17, 5), (300, 64, 10), (700, 100, 33), (70, 16, 5000)])
def test_values_and_gradients(isa, threads, N, d, k, reduction, dtype):
    for weighted, bias, smoothing in itertools.product((False, True), (False, True), (0.0, 0.3)):
        x, V, c, y = numbers(N, d, k, dtype, ignored=-7)
        weight = torch.rand(k, dtype=torch.float64).to(dtype) if weighted else None
        options = {"weight": weight, "reduction": reduction, "ignore_index": -7, "label_smoothing": smoothing}
        tensors = (x, V, c) if bias else (x, V)
        loss = linear_cross_entropy(x, V, y, linear_bias=c if bias else None, **options)
        exact = [t.detach().double().requires_grad_() for t in tensors]
        options["weight"] = weight if weight is None else weight.double()
        expected = F.cross_entropy(F.linear(*exact), y, **options)
        upstream = torch.randn_like(expected)
        found = torch.autograd.grad(loss, tensors, upstream.to(dtype))
        wanted = torch.autograd.grad(expected, exact, upstream)
        unit = 1e-5 if dtype is torch.float32 else 1e-12
        for name, a, b in zip(("loss", "x", "V", "c"), (loss, *found), (expected, *wanted)):
            assert a.shape == b.shape
            error = (a.double() - b).abs().max() if b.isfinite().all() else torch.tensor(float(not a.isnan().all()))
            assert error <= unit * (1 + b.abs().nan_to_num().max()), (
                f"{name}: {error:.1e} {weighted} {bias} {smoothing}"
            )


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_second_derivatives(reduction):
    x, V, c, y = numbers(5, 3, 4)
    run = lambda x, V, c: linear_cross_entropy(x, V, y, linear_bias=c, label_smoothing=0.1, reduction=reduction)  # noqa: E731
    torch.autograd.gradcheck(run, (x, V, c))
    torch.autograd.gradgradcheck(run, (x, V, c))


def test_the_graph_may_be_used_twice_and_strides_are_any():
    x, V, c, y = numbers(50, 16, 4)
    wide = torch.randn(50, 40, dtype=torch.float64)
    wide[:, :16] = x.detach()
    narrow = wide[:, :16].requires_grad_()
    loss = linear_cross_entropy(narrow, V, y, linear_bias=c)
    first = torch.autograd.grad(3 * loss, (narrow, V, c), retain_graph=True)
    again = torch.autograd.grad(3 * loss, (narrow, V, c))
    by_x = torch.autograd.grad(3 * linear_cross_entropy(x, V, y, linear_bias=c), (x, V, c))
    for a, b, e in zip(first, again, by_x):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, e, rtol=1e-14, atol=1e-14)


def test_what_the_kernel_does_not_take_is_pytorchs():
    x, V, _, y = numbers(6, 3, 4, ignored=1)
    probabilities = torch.rand(6, 4, dtype=torch.float64).softmax(1)
    torch.testing.assert_close(
        linear_cross_entropy(x, V, probabilities), F.cross_entropy(F.linear(x, V), probabilities), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        linear_cross_entropy(x[0], V, y[0]), F.cross_entropy(F.linear(x[0], V), y[0]), rtol=1e-12, atol=0
    )
    by_compiler = torch.func.grad(lambda V: linear_cross_entropy(x, V, y))(V)
    [expected] = torch.autograd.grad(linear_cross_entropy(x, V, y), V)
    torch.testing.assert_close(by_compiler, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="label_smoothing"):
        linear_cross_entropy(x, V, y, label_smoothing=2.0)


def test_a_target_out_of_range_is_named():
    x, V, _, _ = numbers(6, 3, 4)
    with pytest.raises(ValueError, match="target in row 2: expected 0 to 3 \\(or -100, ignored\\), found 4"):
        linear_cross_entropy(x, V, torch.tensor([0, 1, 4, -1, 0, 0]))


def test_the_loss_as_a_layer():
    layer = tt.nn.LinearCrossEntropyLoss(5, 3, bias=True)
    other = torch.nn.LinearCrossEntropyLoss(5, 3, bias=True)
    other.load_state_dict(layer.state_dict())
    x, y = torch.randn(7, 5), torch.randint(0, 3, (7,))
    torch.testing.assert_close(layer(x, y), other(x, y))
