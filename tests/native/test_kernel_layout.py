"""Any strides in, and one clear error for what cannot be right."""

from __future__ import annotations

from dataclasses import replace

import kernel_problems as problems
import pytest
import torch
from kernel_problems import check_all, make

from throughtime.engines import native


def batch_first(t):
    """The same tensor, laid out as the public interface has it: [B, T, …] in memory."""
    return t.transpose(0, 1).contiguous().transpose(0, 1)


def widened(t):
    """The same tensor as part of a wider one, with NaN (or nonsense) around it."""
    shape = [2 * size + 1 for size in t.shape[:-1]] + [t.shape[-1] + 3]
    outer = torch.full(shape, float("nan") if t.is_floating_point() else -7, dtype=t.dtype)
    inner = outer[tuple(slice(1, None, 2) for _ in shape[:-1])][..., 2:-1]
    return inner.copy_(t)


def last_strided(t):
    outer = torch.zeros(*t.shape, 2, dtype=t.dtype)
    outer[..., 1] = t
    return outer[..., 1]


@pytest.mark.parametrize("layout", [batch_first, widened, last_strided])
@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_strided_arguments(isa, layout, symbols, ragged):
    for n in (1, 5, 256):
        p = make(11, 6, n, 17, 5, symbols=symbols, ragged=ragged)
        p = replace(p, x=layout(p.x), y=layout(p.y), dstates=layout(p.dstates))
        p = replace(p, **{name: last_strided(getattr(p, name)) for name in ("dfinal", "s0", "U", "W", "V", "b", "c")})
        for p.reverse in (False, True):
            check_all(p)


@pytest.mark.parametrize("layout", [batch_first, widened, last_strided])
def test_strided_states(layout):
    p = make(11, 6, 5, 17, 5, ragged=True)
    states = problems.run_forward(p)["states"]
    problems.assert_close(
        problems.run_gradients(p, layout(states)), problems.expected_gradients(p, states), torch.float32
    )


def test_states_shared_by_all_rows():
    """Stride 0 over the rows: one sequence of states, many upstream gradients."""
    p = make(8, 1, 5, 17, 5, s0=False)
    states = problems.run_forward(p)["states"].expand(8, 40, 17)
    p = replace(p, x=p.x.expand(8, 40, 5), dstates=make(8, 40, 5, 17, 5).dstates, dfinal=None)
    problems.assert_close(problems.run_gradients(p, states), problems.expected_gradients(p, states), torch.float32)


def test_expanded_upstream():
    p = make(8, 5, 5, 17, 5)
    p.dstates = torch.ones(()).expand(8, 5, 17)
    check_all(p)


def test_only_what_is_needed():
    p = make(5, 3, 4, 9, 2)
    states = problems.run_forward(p)["states"]
    expected = problems.expected_gradients(p, states)
    names = ("dx", "dU", "dW", "db", "ds0")
    for i, name in enumerate(names):
        needs = [j == i for j in range(5)]
        found = dict(
            zip(names, native.gradients(p.dstates, p.dfinal, states, p.x, p.U, p.W, p.s0, *p.tail, needs), strict=True)
        )
        assert [name for name, value in found.items() if value is not None] == [name]
        problems.assert_close(found, {name: expected[name]}, torch.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": torch.tensor([5, 6, 1])}, r"lengths: expected 0 to 5, found 6 in row 1"),
        ({"lengths": torch.tensor([5, -1, 1])}, r"lengths: expected 0 to 5, found -1 in row 1"),
        ({"y": torch.full((5, 3), 2)}, r"y: label in row 0, step 0: expected 0 to 1 \(or -100, ignored\), found 2"),
        ({"y": torch.full((5, 3), -1)}, r"y: label .* expected 0 to 1 .*, found -1"),
        ({"x": torch.full((5, 3), 4)}, r"x: symbol in row 0, step 0: expected 0 to 3, found 4"),
        ({"x": torch.full((5, 3), -100)}, r"x: symbol .* expected 0 to 3, found -100"),
        ({"U": torch.zeros(8, 4)}, r"U: expected \[9, 4\]|W: expected \[8, 8\]"),
        ({"W": torch.zeros(9, 8)}, r"W: expected \[9, 9\]"),
        ({"b": torch.zeros(8)}, r"b: expected \[9\]"),
        ({"V": torch.zeros(2, 8)}, r"V: expected \[2, 9\]"),
        ({"c": torch.zeros(3)}, r"c: expected \[2\]"),
        ({"s0": torch.zeros(2, 9)}, r"s0: expected \[3, 9\]"),
        ({"x": torch.zeros(5, 3, 5)}, r"x: expected \[5, 3, 4\]"),
        ({"x": torch.zeros(5, 3, 4, dtype=torch.float64)}, r"x: .*float32.*found.*float64"),
        ({"y": torch.zeros(4, 3, dtype=torch.int64)}, r"y: expected \[5, 3\]"),
    ],
)
def test_errors_name_what_is_wrong(change, message):
    p = replace(make(5, 3, 4, 9, 2), **change)
    with pytest.raises(ValueError, match=message):
        problems.run_step(p)


def test_other_types_are_refused():
    p = make(5, 3, 4, 9, 2)
    half = {name: getattr(p, name).half() for name in ("x", "U", "W", "b", "V", "c", "s0")}
    with pytest.raises(TypeError, match="W: expected float32 or float64"):
        problems.run_forward(replace(p, **half))
