"""Calls of the kernel with all their arguments, and what each must return, in float64 from the reference engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.core import contraction, loss
from throughtime.core.notation import IGNORED
from throughtime.engines import native, reference

NONLINEARITIES = ("tanh", "relu", "logistic", "identity")


@dataclass
class Problem:
    """One call. Padding is poisoned: NaN, and symbols and labels out of any range."""

    x: Tensor
    y: Tensor
    U: Tensor
    W: Tensor
    b: Tensor | None
    V: Tensor
    c: Tensor
    s0: Tensor | None
    lengths: Tensor | None
    dstates: Tensor | None
    dfinal: Tensor | None
    b_hh: Tensor | None = None  # to be added to b, in the calls that a layer makes
    nonlinearity: str = "tanh"
    reverse: bool = False
    reduction: str = "sequence"
    threads: int = 2

    @property
    def symbols(self) -> bool:
        return self.x.dim() == 2

    @property
    def bias(self) -> Tensor | None:
        """Both summands together, as learning_step takes them."""
        return self.b if self.b_hh is None else self.b + self.b_hh

    @property
    def tail(self):
        return self.lengths, self.nonlinearity, self.reverse


def make(
    T, B, n, d, k, *, dtype=torch.float32, symbols=False, ragged=False, seed=0, bias=True, s0=True, upstream=True,
    ignored=0.2, **options,
) -> Problem:  # fmt: skip
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)  # noqa: E731
    x = torch.randint(0, n, (T, B), generator=g) if symbols else normal(T, B, n)
    y = torch.randint(0, k, (T, B), generator=g)
    y[torch.rand(T, B, generator=g) < ignored] = -100
    lengths = torch.randint(1, T + 1, (B,), generator=g) if ragged else None
    dstates = normal(T, B, d) if upstream else None
    if lengths is not None:
        padding = torch.arange(T).unsqueeze(1) >= lengths
        x[padding] = 10**15 if symbols else float("nan")
        y[padding] = -(10**15)
        if dstates is not None:
            dstates[padding] = float("nan")
    return Problem(
        x=x, y=y, U=normal(d, n) / n**0.5, W=normal(d, d) * 0.7 / d**0.5, b=normal(d) * 0.3 if bias else None,
        V=normal(k, d) / d**0.5, c=normal(k), s0=normal(B, d) if s0 else None, lengths=lengths, dstates=dstates,
        dfinal=normal(B, d) if upstream else None, b_hh=normal(d) * 0.3 if bias else None, **options,
    )  # fmt: skip


def double(t: Tensor | None) -> Tensor | None:
    return t.double() if t is not None and t.is_floating_point() else t


def _real_inputs(p: Problem) -> Tensor:
    """x in float64, zero in the padding: what is zero anyway must not meet the NaN there."""
    if p.lengths is None:
        return double(p.x)
    padding = torch.arange(p.x.shape[0]).unsqueeze(1) >= p.lengths
    return double(p.x.masked_fill(padding if p.symbols else padding.unsqueeze(-1), 0))


def _contract(p: Problem, delta, states, reaching=0.0):
    """∂U, ∂W, ∂b from δ, all in float64. `reaching`: magnitudes of what each step's own loss sends to δ, which may cancel."""
    x = _real_inputs(p)
    previous = contraction.previous_states(states, double(p.s0), p.lengths, p.reverse)
    sizes = delta.abs() + reaching
    return {
        "dU": _sum(lambda delta, x: contraction.input_gradient(delta, x, p.lengths, p.U.shape[1]), (delta, x), sizes),
        "dW": _sum(contraction.recurrent_gradient, (delta, previous), sizes),
        "db": _sum(contraction.bias_gradient, (delta,), sizes),
    }


class Expected(NamedTuple):
    value: Tensor
    scale: Tensor
    """What a rounding error is relative to: for a sum, the sum of its terms' magnitudes."""


def _sum(contract, factors, sizes=None):
    """`sizes`: magnitudes to which the first factor is rounded; None: its own."""
    first, *others = (factor.abs() for factor in factors)
    return Expected(contract(*factors), contract(first if sizes is None else sizes, *others))


def expected_forward(p: Problem) -> dict[str, Expected | None]:
    states, final = reference.forward(double(p.x), double(p.U), double(p.W), double(p.bias), double(p.s0), *p.tail)
    x, U = _real_inputs(p), double(p.U).abs()
    fed = U.max() if p.symbols else (x.abs() @ U.T).max()
    terms = fed + _through(states if p.s0 is None else torch.cat([states, p.s0[None]]), p.W.T)
    terms = terms + sum(b.abs().max() for b in (p.b, p.b_hh) if b is not None)
    return {"states": Expected(states, terms), "final": Expected(final, terms)}


def _through(values: Tensor, W: Tensor) -> Tensor:
    """The largest sum of magnitudes in a product values @ W."""
    return (values.double().abs().flatten(0, -2) @ W.double().abs()).max()


def expected_gradients(p: Problem, states: Tensor) -> dict[str, Expected | None]:
    """From the states that the kernel found: a relu at its kink then decides alike on both sides."""
    states = double(states)
    delta, ds0 = reference.backward(double(p.dstates), double(p.dfinal), states, double(p.W), *p.tail)
    terms = _through(delta, p.W) + sum(t.nan_to_num().abs().max() for t in (p.dstates, p.dfinal) if t is not None)
    return {
        **_contract(p, delta, states),
        "delta": Expected(delta, terms),
        "ds0": Expected(ds0, terms),
        "dx": None if p.symbols else _sum(torch.matmul, (delta, double(p.U))),
    }


def expected_step(p: Problem, states: Tensor) -> dict[str, Expected | None]:
    states = double(states)
    y = loss.counted_labels(p.y, p.lengths)
    norm = loss.normalizer(y, p.reduction)
    z = states @ double(p.V).T + double(p.c)
    e = loss.errors(z, y) / norm
    delta, ds0 = reference.backward(e @ double(p.V), None, states, double(p.W), p.lengths, p.nonlinearity, False)
    # A loss is log Σ exp z less z of the label, and an error a probability, less 1 for the label: what is subtracted there is
    # added here. What rounds z, in proportion to its size, changes both in proportion to theirs.
    losses, steps = loss.step_losses(z, y), z.abs().amax(-1) + 1
    terms = e.where(e >= 0, e + 2 / norm) * steps.unsqueeze(-1)
    sizes = terms @ double(p.V).abs()
    return {
        "loss": Expected(losses.sum() / norm, steps[y != IGNORED].sum() / norm),
        **_contract(p, delta, states, sizes),
        "dV": _sum(contraction.recurrent_gradient, (e, states), terms),
        "dc": _sum(contraction.bias_gradient, (e,), terms),
        "dx": None if p.symbols else _sum(torch.matmul, (delta, double(p.U)), sizes),
        "ds0": Expected(ds0, sizes.max() + _through(delta, p.W)),
    }


@contextmanager
def kernel_threads(count: int = 2) -> Iterator[None]:
    """The number of threads for the calls of the kernel alone: PyTorch's own would fight over the same cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_forward(p: Problem) -> dict[str, Tensor]:
    with kernel_threads(p.threads):
        states, final = native.forward(p.x, p.U, p.W, p.b, p.s0, *p.tail, b_hh=p.b_hh)
    return {"states": states, "final": final[0]}


def run_gradients(p: Problem, states: Tensor) -> dict[str, Tensor | None]:
    needs = (not p.symbols, True, True, True, True)
    with kernel_threads(p.threads):
        delta, ds0 = native.backward(p.dstates, p.dfinal, states, p.W, *p.tail)
        dx, dU, dW, db, ds0_again = native.gradients(p.dstates, p.dfinal, states, p.x, p.U, p.W, p.s0, *p.tail, needs)
    assert torch.equal(ds0, ds0_again)
    return {"delta": delta, "ds0": ds0, "dx": dx, "dU": dU, "dW": dW, "db": db}


def run_step(p: Problem, gradients: bool = True) -> dict[str, Tensor | None]:
    names = ("loss", "final", "dU", "dW", "db", "dV", "dc", "dx", "ds0")
    needs = (not p.symbols, True)
    with kernel_threads(p.threads):
        found = native.learning_step(
            p.x, p.y, p.U, p.W, p.bias, p.V, p.c, p.s0, p.lengths, p.nonlinearity, p.reduction, needs, gradients
        )
    return dict(zip(names, found, strict=True))


def assert_close(found: dict[str, Tensor | None], expected: dict[str, Expected | None], dtype: torch.dtype) -> None:
    """Every tensor by name, up to a few roundings of its largest number and a part of one of the terms of its sums."""
    unit = 3e-6 if dtype is torch.float32 else 3e-14
    for name, want in expected.items():
        got = found[name]
        if want is None:
            assert got is None, name
            continue
        assert got is not None, name
        assert got.shape == want.value.shape, name
        assert torch.isfinite(got).all(), name
        error = (got.double() - want.value).abs().max()
        allowed = unit * (want.value.abs().max() + want.scale.abs().max() / 20 + 1e-3)
        assert error <= allowed, f"{name}: off by {error:.2e} of {want.value.abs().max():.2e}"


def check_all(p: Problem) -> None:
    """Every output and gradient of all calls against the reference."""
    dtype = p.W.dtype
    forward = run_forward(p)
    assert_close(forward, expected_forward(p), dtype)
    assert_close(run_gradients(p, forward["states"]), expected_gradients(p, forward["states"]), dtype)
    if not p.reverse:
        step = run_step(p)
        assert_close(step, expected_step(p, forward["states"]), dtype)
        assert torch.equal(step["final"], forward["final"])
        alone = run_step(p, gradients=False)
        assert torch.equal(alone["loss"], step["loss"])
        assert all(alone[name] is None for name in ("dU", "dW", "db", "dV", "dc", "dx", "ds0"))
