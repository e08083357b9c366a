"""The functions of programs over their whole range, beside PyTorch's in float64 and, for float64, mpmath's."""

from __future__ import annotations

import mpmath
import pytest
import torch

from throughtime.engines import native_program
from throughtime.programs import parse
from throughtime.programs.calls import Batch, Recurrence

INFINITY, NAN = float("inf"), float("nan")
RANGES = {
    "exp": (-87, 88.7),
    "expm1": (-87, 88.7),
    "log": (1e-37, 1e37),
    "log1p": (-0.999, 1e37),
    "sqrt": (1e-37, 1e37),
}


def evaluate(op: str, x: torch.Tensor) -> torch.Tensor:
    program = parse(f"""
        one
        inputs x[1]
        state s[1]
        matrices
        parameters
        forward
        y = {op}(x)
        outputs y
        next y
        upstream dy[1] ds[1]
        backward
        gradients
    """)
    walk = native_program.forward(Recurrence(program, ()), Batch((x.reshape(-1, 1, 1),), (None,)), False)
    return walk.outputs[0].flatten()


def arguments(low: float, high: float, count: int) -> torch.Tensor:
    """Of either sign, spread over all binades, and evenly over small ones."""
    size = torch.cat(
        [torch.logspace(-37, 37, count, dtype=torch.float64), torch.linspace(0, 4, count, dtype=torch.float64)]
    )
    x = torch.cat([size, -size, torch.linspace(max(low, -100), min(high, 100), count, dtype=torch.float64)])
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize("op", RANGES)
def test_float32_is_within_a_few_roundings(isa, op):
    x = arguments(*RANGES[op], 20_000).float()
    want = getattr(torch, op)(x.double())
    found = evaluate(op, x).double()
    normal = (want.abs() > 1e-30) & (want.abs() < 3e38)  # parts of smaller numbers are denormal, which count as zero
    error = ((found - want) / want)[normal].abs().max().item()
    assert error <= 3e-7, f"{error:.2e}"


@pytest.mark.parametrize("op", RANGES)
def test_float64_is_within_a_few_roundings(isa, op):
    x = arguments(*RANGES[op], 300)
    function = getattr(mpmath, op)
    with mpmath.workdps(50):
        for value, found in zip(x.tolist(), evaluate(op, x).tolist(), strict=True):
            want = function(mpmath.mpf(value))
            assert abs(found - want) <= 1e-15 * abs(want), (value, found)


def test_ends_of_the_range(isa):
    x = torch.tensor([0.0, INFINITY, -INFINITY, -1.0, NAN, 1e30])
    for op in RANGES:
        for dtype in (torch.float32, torch.float64):
            torch.testing.assert_close(
                evaluate(op, x.to(dtype)), getattr(torch, op)(x.to(dtype)), rtol=1e-6, atol=0, equal_nan=True
            )
