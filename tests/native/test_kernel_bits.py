"""What the docs promise about bits: a row's states are its own, and a call can be repeated."""

from __future__ import annotations

import kernel_problems as problems
import pytest
import torch
from kernel_problems import make

from throughtime.engines import native


@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("d", [3, 16, 48, 100, 256])
def test_states_do_not_depend_on_batch_mates(isa, d, symbols):
    p = make(9, 37, 20, d, 3, ragged=True, symbols=symbols)
    states, final = native.forward(p.x, p.U, p.W, p.b, p.s0, *p.tail)
    for row in (0, 5, 36):
        own = slice(row, row + 1)
        length = int(p.lengths[row])
        alone, last = native.forward(p.x[:length, own], p.U, p.W, p.b, p.s0[own], None, p.nonlinearity, p.reverse)
        assert torch.equal(alone[:, 0], states[:length, row])
        assert torch.equal(last[0, 0], final[0, row])


@pytest.mark.parametrize("d", [17, 64, 100, 256])
def test_a_single_step_is_the_same_step(isa, d):
    """A call of a few rows takes another path to the same sums."""
    p = make(8, 9, 20, d, 3)
    states, _ = native.forward(p.x, p.U, p.W, p.b, p.s0, *p.tail)
    before = p.s0[4:5]
    for t in range(8):
        step, before = native.forward(p.x[t : t + 1, 4:5], p.U, p.W, p.b, before, *p.tail)
        before = before[0]
        assert torch.equal(step[0, 0], states[t, 4])


@pytest.mark.parametrize("d", [17, 100])
def test_a_symbol_is_a_one_hot_vector(isa, d):
    p = make(12, 5, 7, d, 3, symbols=True)
    one_hot = torch.nn.functional.one_hot(p.x, 7).to(p.W.dtype)
    assert torch.equal(
        native.forward(p.x, p.U, p.W, p.b, p.s0, *p.tail)[0], native.forward(one_hot, p.U, p.W, p.b, p.s0, *p.tail)[0]
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("ragged", [False, True])
def test_repeated_calls_give_the_same_bits(isa, threads, ragged):
    p = make(50, 45, 30, 64, 20, ragged=ragged, threads=threads)
    first = {**problems.run_forward(p), **problems.run_step(p)}
    first |= problems.run_gradients(p, first["states"])
    for _ in range(10):
        again = {**problems.run_forward(p), **problems.run_step(p)}
        again |= problems.run_gradients(p, again["states"])
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_states_do_not_depend_on_the_number_of_threads(isa):
    p = make(50, 45, 30, 64, 20, ragged=True)
    found = []
    for p.threads in (1, 2, 3, 5):
        found.append(problems.run_forward(p)["states"])
    assert all(torch.equal(found[0], other) for other in found)


def test_the_mode_of_the_processor_is_restored(isa):
    tiny = torch.tensor([1e-40])
    p = make(50, 45, 30, 64, 20)
    problems.run_step(p)
    assert (tiny * 1.0).item() != 0.0  # denormal numbers still count outside
