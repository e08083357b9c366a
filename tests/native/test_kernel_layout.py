"""Any strides in, nothing read beyond them, and one clear error for what cannot be right."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import fields, replace

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


def test_expanded_gradient_of_the_final_state(isa):
    """One for all rows, or one number for all units of a row."""
    p = make(8, 5, 5, 17, 5, ragged=True)
    for dfinal in (torch.randn(17).expand(5, 17), torch.randn(5, 1).expand(5, 17), torch.ones(()).expand(5, 17)):
        for p.reverse in (False, True):
            check_all(replace(p, dfinal=dfinal))


def test_initial_states_of_any_strides(isa):
    """One for all rows, every second row, and one whose rows are columns."""
    p = make(8, 5, 5, 17, 5, ragged=True)
    for s0 in (torch.randn(17).expand(5, 17), torch.randn(10, 17)[::2], torch.randn(17, 5).T):
        for p.reverse in (False, True):
            check_all(replace(p, s0=s0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_second_length(isa, dtype):
    p = make(11, 6, 5, 17, 5, ragged=True, dtype=dtype)
    lengths = torch.full((12,), 10**15)
    lengths[::2] = p.lengths
    for p.reverse in (False, True):
        check_all(replace(p, lengths=lengths[::2]))


def guarded(t):
    """The same tensor at the very end of its memory: whoever reads on is ended by the system."""
    size = t.numel() * t.element_size()
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + pages
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    inside = torch.frombuffer(memory, dtype=t.dtype, count=t.numel(), offset=pages - size)
    return inside.view(t.shape).copy_(t)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("symbols", [False, True])
def test_nothing_is_read_past_the_end(isa, symbols, dtype):
    for T, B, n, d, k in [
        (1, 1, 1, 1, 1),
        (1, 1, 17, 33, 5),
        (3, 1, 5, 64, 3),
        (9, 7, 17, 33, 19),
        (9, 32, 16, 64, 16),
    ]:
        p = make(T, B, n, d, k, symbols=symbols, dtype=dtype, ragged=B == 7)
        for p.reverse in (False, True):
            check_all(
                replace(
                    p, **{f.name: guarded(v) for f in fields(p) if isinstance(v := getattr(p, f.name), torch.Tensor)}
                )
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_read_past_the_end_of_what_all_steps_share(isa, dtype):
    for d in (3, 17, 100):
        p = make(6, 5, 3, d, 4, dtype=dtype)
        check_all(replace(p, dstates=guarded(torch.randn(5, d, dtype=dtype)).expand(6, 5, d)))


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
        ({"y": torch.zeros(5, 3, dtype=torch.int32)}, r"y: .*int64.*found.*int32"),
        *(
            ({name: torch.zeros(shape, dtype=torch.float64)}, rf"^{name}: .*float32.*found.*float64")
            for name, shape in {"U": (9, 4), "b": (9,), "V": (2, 9), "c": (2,), "s0": (3, 9)}.items()
        ),
        ({"lengths": torch.tensor([5, 4, 1], dtype=torch.int32)}, r"lengths: .*int64.*found.*int32"),
        ({"lengths": torch.tensor([5, 4])}, r"lengths: expected \[3\]"),
    ],
)
def test_errors_name_what_is_wrong(change, message):
    p = replace(make(5, 3, 4, 9, 2), b_hh=None, **change)
    with pytest.raises(ValueError, match=message):
        problems.run_step(p)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b_hh": torch.zeros(8)}, r"b_hh: expected \[9\]"),
        ({"b_hh": torch.zeros(9, dtype=torch.float64)}, r"b_hh: .*float32.*found.*float64"),
    ],
)
def test_errors_of_a_layer(change, message):
    with pytest.raises(ValueError, match=message):
        problems.run_forward(replace(make(5, 3, 4, 9, 2), **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dstates": torch.zeros(5, 3, 8)}, r"dstates: expected \[5, 3, 9\]"),
        ({"dstates": torch.zeros(5, 3, 9, dtype=torch.float64)}, r"dstates: .*float32.*found.*float64"),
        ({"dfinal": torch.zeros(3, 8)}, r"dfinal: expected \[3, 9\]"),
        ({"dfinal": torch.zeros(3, 9, dtype=torch.float64)}, r"dfinal: .*float32.*found.*float64"),
        ({"W": torch.zeros(9, 9, dtype=torch.float64)}, r"(x|U|dstates): .*float64.*found.*float32"),
    ],
)
def test_errors_of_the_way_back(change, message):
    p = make(5, 3, 4, 9, 2)
    with pytest.raises(ValueError, match=message):
        problems.run_gradients(replace(p, **change), torch.zeros(5, 3, 9))


def test_other_types_are_refused():
    p = make(5, 3, 4, 9, 2)
    half = {name: getattr(p, name).half() for name in ("x", "U", "W", "b", "V", "c", "s0")}
    with pytest.raises(TypeError, match="W: expected float32 or float64"):
        problems.run_forward(replace(p, **half))
