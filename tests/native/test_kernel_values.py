"""Every output and every gradient against the reference in float64, by name, for every instruction set."""

from __future__ import annotations

import itertools

import kernel_problems as problems
import pytest
import torch
from kernel_problems import NONLINEARITIES, check_all, make

DTYPES = (torch.float32, torch.float64)
SIZES = [  # T, B, n, d, k: odd ones, and one beyond a block of rows, a chunk and a panel
    (1, 1, 1, 1, 1),
    (5, 3, 4, 17, 5),
    (40, 70, 3, 33, 17),
    (300, 1, 17, 3, 2),
    (30, 9, 33, 100, 70),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_all_options(isa, size, dtype):
    for seed, (nonlinearity, symbols, ragged, reverse) in enumerate(
        itertools.product(NONLINEARITIES, *[(False, True)] * 3)
    ):
        reduction = ("sequence", "token")[seed % 2]
        check_all(make(*size, dtype=dtype, symbols=symbols, ragged=ragged, seed=seed, nonlinearity=nonlinearity,
                       reverse=reverse, reduction=reduction))  # fmt: skip


@pytest.mark.parametrize("d", [1, 2, 3, 4, 8, 15, 16, 31, 32, 33, 48, 64, 65, 128, 129])
def test_widths(isa, d):
    check_all(make(6, 4, d, d, d))


@pytest.mark.parametrize("B", [*range(1, 31), 63, 64, 65, 129])
def test_numbers_of_rows(isa, B):
    check_all(make(4, B, 5, 20, 3, ragged=True, seed=B))


@pytest.mark.parametrize("d", [17, 64, 100, 256])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (3, 1), (1, 3), (2, 2), (1, 7), (2, 20)])
def test_few_rows(isa, T, B, d):
    """Calls too small to pay for packing the weights."""
    for symbols, n in [(False, 5), (False, 32), (True, 5)]:
        check_all(make(T, B, n, d, 3, symbols=symbols))


def test_without_what_is_optional(isa):
    for ragged in (False, True):
        check_all(make(7, 5, 3, 17, 4, ragged=ragged, bias=False, s0=False, upstream=False))


def test_the_issue_sizes_stay_accurate(isa):
    """2e-6 of the largest gradient in float32, over long sequences."""
    for size in [(1000, 1, 64, 128, 20), (1000, 4, 1, 128, 10)]:
        p = make(*size, ignored=0.0, seed=1)
        states = problems.run_forward(p)["states"]
        found = problems.run_step(p)
        for name, (want, _) in problems.expected_step(p, states).items():
            error = (found[name].double() - want).abs().max() / want.abs().max()
            assert error < 2e-6, f"{name}: {error:.2e}"


def test_a_row_without_steps_keeps_its_initial_state(isa):
    p = make(5, 4, 3, 9, 2)
    p.lengths = torch.tensor([2, 0, 5, 0])
    for reverse in (False, True):
        p.reverse = reverse
        check_all(p)


@pytest.mark.parametrize("lengths", [[0, 0, 0], [400, 0, 0], [0, 400, 0]])
def test_a_thread_without_steps(isa, lengths):
    """Where no row has one, or none of the rows that one of two threads has: its sums are zero all the same."""
    for symbols in (False, True):
        p = make(400, 3, 64, 64, 5, symbols=symbols)
        p.lengths = torch.tensor(lengths)
        for p.reverse in (False, True):
            check_all(p)


def test_nothing_counted(isa):
    p = make(6, 4, 3, 17, 5, ignored=1.1)
    for p.reduction in ("sequence", "token"):
        found = problems.run_step(p)
        assert found["loss"] == 0
        for name in ("dU", "dW", "db", "dV", "dc", "dx", "ds0"):
            assert torch.count_nonzero(found[name]) == 0, name


def test_nan_and_infinity_are_not_hidden(isa):
    for nonlinearity in NONLINEARITIES:
        p = make(4, 3, 5, 17, 6, nonlinearity=nonlinearity)
        p.x[1, 2, 3] = float("nan")
        states = problems.run_forward(p)["states"]
        assert states[1:, 2].isnan().all()
        assert states[:, :2].isfinite().all()
        assert problems.run_step(p)["loss"].isnan()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_of_many_sums_of_exponentials(isa, dtype):
    """Some 300 rows of 100 classes alike: 100^300 is more than a double holds."""
    p = make(300, 1, 3, 5, 100, dtype=dtype, ignored=0)
    p.V.mul_(1e-3)
    states = problems.run_forward(p)["states"]
    problems.assert_close(problems.run_step(p), problems.expected_step(p, states), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 2, 6, 16, 17, 40])
def test_large_logits(isa, k, dtype):
    """One class is certain, and may be any: float32 has no digits left for a tie."""
    for certain in {0, 1 % k, k // 2, k - 1}:
        p = make(4, 3, 5, 17, k, dtype=dtype)
        p.c = torch.linspace(-1e4, 9e3, k, dtype=dtype)
        p.c[certain] = 1e4
        states = problems.run_forward(p)["states"]
        problems.assert_close(problems.run_step(p), problems.expected_step(p, states), dtype)
