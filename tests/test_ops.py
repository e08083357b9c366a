"""The operator as PyTorch sees it: schema, shapes, derivatives of every order, autocast, compilation, transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from problems import assert_close
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from throughtime.core import loss
from throughtime.core.notation import NONLINEARITIES
from throughtime.operators import ops, step

T, B, N, D = 5, 3, 2, 4

LAYOUTS = pytest.mark.parametrize(
    ("kind", "ragged", "reverse"),
    [("float", False, False), ("float", True, True), ("symbols", True, False), ("symbols", False, True)],
    ids=["float-whole-forward", "float-ragged-reverse", "symbols-ragged-forward", "symbols-whole-reverse"],
)
SIGMAS = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)


def arguments(kind: str = "float", ragged: bool = False, dtype: torch.dtype = torch.float64) -> list[Any]:
    """x, U, W, b, s0, lengths; every float tensor wants its gradient."""
    x = torch.randint(N, (T, B)) if kind == "symbols" else torch.randn(T, B, N, dtype=dtype, requires_grad=True)
    shapes = ((D, N), (D, D), (D,), (B, D))
    parts = [(torch.randn(shape, dtype=dtype) * 0.5).requires_grad_() for shape in shapes]
    return [x, *parts, torch.tensor([3, 5, 1]) if ragged else None]


def plain(x: Tensor, U: Tensor, W: Tensor, b: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    """The tanh recurrence over whole rows, written out."""
    s, states = s0, []
    for x_t in x:
        s = torch.tanh(x_t @ U.T + s @ W.T + b)
        states.append(s)
    return torch.stack(states), s.unsqueeze(0)


def twice(function: Callable, inputs: list[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    """The gradient of a product of all first gradients with themselves: every second derivative plays a part."""
    first = torch.autograd.grad(function(*inputs), inputs, upstream, create_graph=True)
    return torch.autograd.grad(torch.stack([(g * g).sum() for g in first]).sum(), inputs)


# --- the operator's own checks by PyTorch -------------------------------------------------------------------------------


@LAYOUTS
def test_recurrence_is_a_proper_operator(kind: str, ragged: bool, reverse: bool, engine: str) -> None:
    torch.library.opcheck(ops._recurrence, (*arguments(kind, ragged), "tanh", reverse))


def test_recurrence_is_a_proper_operator_without_bias_and_initial_state(engine: str) -> None:
    x, U, W, *_ = arguments(dtype=torch.float32)
    torch.library.opcheck(ops._recurrence, (x, U, W, None, None, None, "relu", False))


@LAYOUTS
def test_its_gradient_is_a_proper_operator(kind: str, ragged: bool, reverse: bool, engine: str) -> None:
    *inputs, lengths = arguments(kind, ragged)
    x, U, W, b, s0 = (t.detach() for t in inputs)  # higher derivatives do not come this way
    states, final = ops.recurrence(x, U, W, b, s0, lengths, "tanh", reverse)
    dstates = torch.randn_like(states)
    dfinal = None if ragged else torch.randn_like(final)
    needs = [kind == "float", True, True, not ragged, True]
    torch.library.opcheck(
        ops._recurrence_backward, (dstates, dfinal, states, x, U, W, s0, lengths, "tanh", reverse, needs)
    )


# --- derivatives ----------------------------------------------------------------------------------------------------


@SIGMAS
@LAYOUTS
def test_first_and_second_derivatives_equal_central_differences(
    kind: str, ragged: bool, reverse: bool, nonlinearity: str, engine: str
) -> None:
    x, U, W, b, s0, lengths = arguments(kind, ragged)
    inputs = [t for t in (x, U, W, b, s0) if t.requires_grad]

    def run(*inputs: Any) -> tuple[Tensor, Tensor]:
        given: Any = inputs if kind == "float" else (x, *inputs)
        return ops.recurrence(*given, lengths=lengths, nonlinearity=nonlinearity, reverse=reverse)

    torch.autograd.gradcheck(run, inputs)
    torch.autograd.gradgradcheck(run, inputs)


def test_second_derivatives_where_only_one_output_is_used(engine: str) -> None:
    *inputs, _ = arguments()
    upstream = torch.randn(1, B, D, dtype=torch.float64)
    found = twice(lambda *a: ops.recurrence(*a)[1], inputs, upstream)
    expected = twice(lambda *a: plain(*a)[1], inputs, upstream)
    for name, ours, theirs in zip(("x", "U", "W", "b", "s0"), found, expected, strict=True):
        assert_close(ours, theirs, 1e-12, name)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_derivatives_that_keep_their_graph(order: int, engine: str) -> None:
    *inputs, _ = arguments()

    def derivative(function: Callable) -> Tensor:
        value = function(*inputs)[0].square().sum()
        for _ in range(order):
            (g,) = torch.autograd.grad(value, inputs[2], create_graph=True)
            value = g.square().sum()
        return g

    assert_close(derivative(ops.recurrence), derivative(plain), 1e-11, f"derivative {order} by W")


def test_derivatives_of_a_loss_whose_inputs_depend_on_one_another(engine: str) -> None:
    """x is made from W, so a path leads from one argument of the operator to another."""
    x, U, W, b, s0, _ = arguments()
    y = torch.randint(D, (T, B))
    c = torch.zeros(D, dtype=torch.float64)

    def derivative(value: Callable) -> Tensor:
        (g,) = torch.autograd.grad(value(x @ W[:N, :N]), W, create_graph=True)
        return torch.autograd.grad(g.square().sum(), W)[0]

    found = derivative(lambda x: step.elman_loss(x, y, U, W, b, W, c, s0)[0])
    expected = derivative(lambda x: loss.cross_entropy(plain(x, U, W, b, s0)[0] @ W.T, y, None, "sequence"))
    assert_close(found, expected, 1e-11, "second derivative by W")


def test_padding_has_no_part_in_values_and_derivatives(engine: str) -> None:
    x, U, W, b, s0, lengths = arguments("float", ragged=True)
    padding = torch.arange(T).unsqueeze(1) >= lengths
    poisoned = x.detach().clone()
    poisoned[padding] = torch.nan
    poisoned.requires_grad_()
    upstream = torch.randn(T, B, D, dtype=torch.float64)
    by_input = []
    for given in (x, poisoned):
        inputs: Any = [given, U, W, b, s0]
        states, final = ops.recurrence(*inputs, lengths=lengths)
        first = torch.autograd.grad([states, final], inputs, [upstream, upstream[:1]], create_graph=True)
        second = torch.autograd.grad(first[2].square().sum(), inputs)
        by_input.append([states, final, *first, *second])
    assert (by_input[0][0][padding] == 0).all()
    for clean, found in zip(*by_input, strict=True):
        assert torch.equal(clean, found)
        assert not found.isnan().any()


# --- autocast, compilation, transforms ---------------------------------------------------------------------------------


def test_autocast_runs_in_float32(engine: str) -> None:
    x, U, W, b, s0, _ = arguments(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        half = x.bfloat16()
        assert (x.flatten(0, 1) @ U.T).dtype == torch.bfloat16
        states, final = ops.recurrence(half, U, W, b, s0)
    assert states.dtype == final.dtype == torch.float32
    assert torch.equal(states, ops.recurrence(half.float(), U, W, b, s0)[0])
    (dx,) = torch.autograd.grad(states.sum(), x)
    assert dx.dtype == torch.float32


@LAYOUTS
def test_compiles_whole_and_gives_the_same(kind: str, ragged: bool, reverse: bool, engine: str) -> None:
    *inputs, lengths = arguments(kind, ragged)
    wanted = [t for t in inputs if t.requires_grad]

    def run(*inputs: Any) -> Tensor:
        states, final = ops.recurrence(*inputs, lengths=lengths, nonlinearity="tanh", reverse=reverse)
        return (states**2).sum() + 3 * final.sum()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    value, expected = compiled(*inputs), run(*inputs)
    assert_close(value, expected, 1e-14, "value")
    for ours, theirs in zip(torch.autograd.grad(value, wanted), torch.autograd.grad(expected, wanted), strict=True):
        assert_close(ours, theirs, 1e-13, "gradient")


def test_the_loss_compiles_whole(engine: str) -> None:
    x, U, W, b, s0, _ = arguments()
    V, c = torch.randn(3, D, dtype=torch.float64, requires_grad=True), torch.zeros(3, dtype=torch.float64)
    y = torch.randint(3, (T, B))
    compiled = torch.compile(step.elman_loss, fullgraph=True, backend="aot_eager")
    value, expected = compiled(x, y, U, W, b, V, c, s0)[0], step.elman_loss(x, y, U, W, b, V, c, s0)[0]
    assert_close(value, expected, 1e-14, "loss")
    assert_close(
        torch.autograd.grad(value, W)[0], torch.autograd.grad(expected, W)[0], 1e-13, "gradient by W of the loss"
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # PyTorch's own forward mode
def test_every_transform_of_torch_func(engine: str) -> None:
    x, U, W, b, s0 = (t.detach() for t in arguments()[:5])
    xs = torch.randn(2, T, B, N, dtype=torch.float64)
    y = torch.randint(D, (T, B))

    def value(run: Callable, W: Tensor, x: Any = x) -> Tensor:
        states, final = run(x, U, W, b, s0)
        return loss.cross_entropy(states, y, None, "sequence") + (final**2).sum()

    transforms: dict[str, Callable[[Callable], Tensor]] = {
        "grad": lambda run: grad(lambda W: value(run, W))(W),
        "grad of grad": lambda run: grad(lambda W: grad(lambda W: value(run, W))(W).square().sum())(W),
        "vmap": lambda run: vmap(lambda x: run(x, U, W, b, s0)[0])(xs),
        "vmap over weights": lambda run: vmap(lambda W: run(x, U, W, b, s0)[0])(torch.stack([W, 2 * W])),
        "a gradient for each row": lambda run: vmap(grad(lambda W, x: value(run, W, x)), (None, 0))(W, xs),
        "jacrev": lambda run: jacrev(lambda W: run(x, U, W, b, s0)[0])(W),
        "jacfwd": lambda run: jacfwd(lambda W: run(x, U, W, b, s0)[0])(W),
        "jvp": lambda run: jvp(lambda W: run(x, U, W, b, s0)[1], (W,), (W.T,))[1],
        "hessian": lambda run: hessian(lambda W: value(run, W))(W),
    }
    for name, transform in transforms.items():
        assert_close(transform(ops.recurrence), transform(plain), 1e-12, name)
