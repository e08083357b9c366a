"""The operator for programs as PyTorch sees it: schema, shapes, derivatives of any order, autocast, compilation, transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import throughtime as tt
from throughtime.engines import native_program
from throughtime.operators import program_ops
from throughtime.operators.program_ops import run_program
from throughtime.programs import Program, gru, lstm, parse

T, B = 3, 2
PROGRAMS = {"lstm projected": lstm(2, 3, proj_size=2), "gru, reset before": gru(2, 2, reset_after=False)}
SURROGATE = parse("""
    spike
    inputs x[2]
    state v[2]
    matrices W[2, 2]
    parameters
    forward
    a = x + W @ v
    new = a > 0.0
    outputs new
    next new
    upstream dy[2] dnext[2]
    backward
    ds = dy + dnext
    da = ds / (1.0 + abs(a))
    dv = W.T @ da
    gradients
    x: da
    v: dv
    W: da @ v.T
""")
FORWARD_MODE = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # PyTorch's own


def numbers(program: Program, pieces: bool = False, dtype: torch.dtype = torch.float64) -> list[list[Tensor]]:
    """Weights, inputs, initial states and those that pieces start from; every tensor wants its gradient."""
    torch.manual_seed(1)

    def make(*shape: int) -> Tensor:
        return (torch.randn(shape, dtype=dtype) * 0.7).requires_grad_()

    weights = [make(m.rows, m.columns) for m in program.matrices] + [make(p.width) for p in program.parameters]
    initial = [make(B, v.width) for v in program.state]
    return [
        weights,
        [make(T, B, v.width) for v in program.inputs],
        initial,
        [make(v.width) for v in program.state if pieces],
    ]


def flat(program: Program, parts: list[list[Tensor]], **options: Any) -> tuple[Callable, list[Tensor]]:
    """A function of all tensors to all results, and the tensors."""

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        weights, inputs, initial, restart = ([next(given) for _ in part] for part in parts)
        outputs, final = run_program(program, weights, inputs, initial, restart=restart, **options)
        return *outputs, *final

    return run, [t for part in parts for t in part]


ENDS = torch.tensor([3, 2])
STARTS = torch.tensor([[False, True], [True, False], [False, False]])


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("reverse", [False, True])
def test_first_and_second_derivatives_equal_central_differences(name: str, reverse: bool, engine: str) -> None:
    program = PROGRAMS[name]
    run, tensors = flat(program, numbers(program, True), lengths=ENDS, starts=STARTS, reverse=reverse)
    torch.autograd.gradcheck(run, tensors, fast_mode=True)
    torch.autograd.gradgradcheck(run, tensors, fast_mode=True)


@pytest.mark.parametrize("keep", [False, True])
def test_it_is_a_proper_operator(keep: bool) -> None:
    program = PROGRAMS["gru, reset before"]
    weights, inputs, initial, restart = numbers(program, keep)
    ends = (ENDS, STARTS, True) if keep else (None, None, False)
    given = [None for _ in initial] if not keep else initial
    torch.library.opcheck(program_ops._program, (program.text, inputs, weights, given, restart, *ends, keep))


def test_its_gradient_is_a_proper_operator() -> None:
    program = PROGRAMS["lstm projected"]
    weights, inputs, initial, restart = numbers(program, True)
    call = (program.text, inputs, weights, initial, restart, ENDS, STARTS, False)
    found = [t.detach() for t in program_ops._program(*call, True)]
    outputs, final, kept = found[:1], found[1:3], found[3:]
    up = [torch.randn_like(outputs[0]).requires_grad_()], [None, torch.randn_like(final[1]).requires_grad_()]
    needs = [True, False, True, True, True, True, True, False, True, True]
    assert len(needs) == sum(map(len, (inputs, weights, initial, restart)))
    torch.library.opcheck(program_ops._program_backward, (*call, outputs, kept, *up, needs))


def test_a_gradient_that_keeps_its_graph_is_the_programs_own(engine: str) -> None:
    """A step has no derivative; the program says what goes back through it."""
    weights, inputs, initial, _ = numbers(SURROGATE)
    tensors = [*weights, *inputs, *initial]
    by_graph = []
    for create_graph in (False, True):
        outputs, _ = run_program(SURROGATE, weights, inputs, initial)
        by_graph.append(torch.autograd.grad(outputs[0].sum(), tensors, create_graph=create_graph))
    for plain, kept in zip(*by_graph, strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(plain, kept, rtol=1e-14, atol=1e-14)
    assert all(g.requires_grad for g in by_graph[1])
    outputs, _ = run_program(SURROGATE, weights, inputs, initial)
    batched = torch.autograd.grad(outputs[0], tensors, torch.ones(2, *outputs[0].shape).double(), is_grads_batched=True)
    for plain, both in zip(by_graph[0], batched, strict=True):
        torch.testing.assert_close(both, torch.stack([plain, plain]), rtol=1e-14, atol=1e-14)


def test_third_derivatives(engine: str) -> None:
    program = PROGRAMS["gru, reset before"]
    run, (U, W, *rest) = flat(program, numbers(program))

    def value(W: Tensor) -> Tensor:
        return run(U, W, *rest)[0].square().sum()

    found = value(W)
    for _ in range(3):
        (derivative,) = torch.autograd.grad(found, W, create_graph=True)
        found = derivative.square().sum()

    def second(W: Tensor) -> Tensor:  # the reference's operations, differentiated by PyTorch
        return grad(lambda W: grad(value)(W).square().sum())(W).square().sum()

    torch.testing.assert_close(derivative, grad(second)(W), rtol=1e-9, atol=1e-9)


def test_nothing_is_saved_where_no_gradient_is_wanted(engine: str) -> None:
    program = PROGRAMS["lstm projected"]
    saved: list[Tensor] = []
    weights, inputs, initial, _ = numbers(program)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        with torch.no_grad():
            outputs, final = run_program(program, weights, inputs, initial)
        assert not saved
        assert not any(t.requires_grad for t in (*outputs, *final))
        run_program(program, weights, inputs, initial)
    assert len(saved) > len(weights)


def test_autocast_runs_in_float32(engine: str) -> None:
    program = PROGRAMS["gru, reset before"]
    weights, (x,), initial, _ = numbers(program, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        half = x.bfloat16()
        (found,), _ = run_program(program, weights, [half], initial)
    (expected,), _ = run_program(program, weights, [half.float()], initial)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    (dx,) = torch.autograd.grad(found.sum(), x)
    assert dx.dtype == torch.float32


def test_compiles_whole_and_gives_the_same(engine: str) -> None:
    program = PROGRAMS["lstm projected"]
    tensors = [t for part in numbers(program) for t in part]

    def value(*tensors: Tensor) -> Tensor:
        outputs, final = run_program(program, tensors[:5], tensors[5:6], tensors[6:], lengths=ENDS, starts=STARTS)
        return outputs[0].square().sum() + 3 * final[1].sum()

    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    found, expected = compiled(*tensors), value(*tensors)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    pairs = zip(torch.autograd.grad(found, tensors), torch.autograd.grad(expected, tensors), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@FORWARD_MODE
def test_every_transform_of_torch_func(engine: str) -> None:
    program = PROGRAMS["gru, reset before"]
    run, tensors = flat(program, numbers(program))
    tensors = [t.detach() for t in tensors]
    U, W, *rest = tensors
    tangent = W.T.contiguous().view(W.shape)

    def value(W: Tensor) -> Tensor:
        return run(U, W, *rest)[0].square().sum()

    leaf = W.clone().requires_grad_()
    by_autograd = torch.autograd.grad(value(leaf), leaf)[0]
    close = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(grad(value)(W), by_autograd, **close)
    torch.testing.assert_close(jvp(value, (W,), (tangent,))[1], (by_autograd * tangent).sum(), **close)
    torch.testing.assert_close(vmap(grad(value))(torch.stack([W, W]))[1], by_autograd, **close)
    torch.testing.assert_close(
        jacrev(lambda W: run(U, W, *rest)[0])(W), jacfwd(lambda W: run(U, W, *rest)[0])(W), **close
    )
    expected = torch.autograd.functional.hessian(value, W)
    torch.testing.assert_close(hessian(value)(W), expected, **close)


@FORWARD_MODE
def test_forward_mode_and_batched_gradients(engine: str) -> None:
    program = PROGRAMS["lstm projected"]
    run, tensors = flat(program, numbers(program, True), lengths=ENDS, starts=STARTS, reverse=True)
    torch.autograd.gradcheck(
        run, tensors, check_forward_ad=True, check_backward_ad=False, check_batched_grad=False, fast_mode=True
    )
    torch.autograd.gradcheck(run, tensors, check_batched_grad=True, fast_mode=True)


def test_the_way_back_runs_on_the_engine_of_the_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = tt.nn.GRU(3, 4), torch.randn(5, 2, 3)
    with tt.engine("reference"):
        states, _ = layer(x)
    monkeypatch.setattr(native_program, "backward", lambda *_: pytest.fail("another engine has been asked"))
    states.square().sum().backward()
    assert layer.weight_hh_l0.grad is not None
