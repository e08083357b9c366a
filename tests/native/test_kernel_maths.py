"""exp and σ over their whole range."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from throughtime.engines import native

CODES = {"exp": -1, "tanh": 0, "relu": 1, "logistic": 2, "identity": 3}
TRUTH = {"exp": torch.exp, "tanh": torch.tanh, "logistic": torch.sigmoid}


def evaluate(name: str, x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    native._native.evaluate(x.dtype is torch.float64, CODES[name], x.data_ptr(), y.data_ptr(), x.numel())
    return y


def floats_between(low: float, high: float, count: int) -> torch.Tensor:
    """float32 numbers of either sign whose magnitudes are spread over all binades, and evenly."""
    size = torch.cat([torch.logspace(-37, np.log10(high), count, dtype=torch.float64), torch.linspace(0, high, count)])
    x = torch.cat([size, -size]).float()
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -12, 12), ("exp", -87.3, 88), ("logistic", -87, 87)])
def test_float32_is_within_1e_7(isa, name, low, high):
    x = floats_between(low, high, 300_000)
    want = TRUTH[name](x.double())
    found = evaluate(name, x).double()
    normal = want.abs() > torch.finfo(torch.float32).tiny
    error = ((found - want) / want)[normal].abs().max().item()
    bound = {"tanh": 1e-7, "exp": 1e-7, "logistic": 2e-7}[name]
    assert error <= bound, f"{error:.3e}"


@pytest.mark.parametrize("name", ["tanh", "exp", "logistic"])
def test_float64_is_within_1e_15(isa, name):
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(1500, generator=generator, dtype=torch.float64) - 0.5) * torch.logspace(
        -8, 1.6, 1500, dtype=torch.float64
    )
    function = {"tanh": mpmath.tanh, "exp": mpmath.exp, "logistic": lambda v: 1 / (1 + mpmath.exp(-v))}[name]
    with mpmath.workdps(40):
        for value, found in zip(x.tolist(), evaluate(name, x).tolist(), strict=True):
            want = function(mpmath.mpf(value))
            assert abs(found - want) <= 1e-15 * abs(want), (value, found)


def test_ends_of_the_range(isa):
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([0.0, -0.0, 1e30, -1e30, float("inf"), -float("inf"), float("nan")], dtype=dtype)
        assert evaluate("tanh", x).tolist()[:6] == [0, 0, 1, -1, 1, -1]
        assert evaluate("exp", x[[0, 1, 3, 5]]).tolist() == [1, 1, 0, 0]
        assert evaluate("logistic", x).tolist()[:6] == [0.5, 0.5, 1, 0, 1, 0]
        assert evaluate("relu", x).tolist()[:6] == [0, 0, x[2].item(), 0, float("inf"), 0]
        assert all(evaluate(name, x)[6].isnan() for name in CODES)
