"""Denormal numbers: zero during a call, on every thread that works on it; and what they were before for everybody else."""

from __future__ import annotations

import threading
from dataclasses import replace

import kernel_problems as problems
import pytest
import torch
from kernel_problems import make
from test_kernel_threads import ask

from throughtime.engines import native

TINY = 1e-39  # denormal in float32
CALLS = {
    "forward": lambda p: problems.run_forward(p),
    "gradients": lambda p: problems.run_gradients(p, torch.zeros_like(p.dstates)),
    "learning_step": lambda p: problems.run_step(p),
}


def flushed_by_pytorch() -> int:
    """How many of PyTorch's own products, spread over its threads, lose a denormal factor."""
    return int((torch.full((300_000,), TINY) * 1e10 == 0).sum())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("own", [False, True])
def test_every_thread_keeps_its_mode(isa, call, own, monkeypatch):
    """The runtime starts a team for each thread that asks for one: here it is started by our call, and widened by another."""
    p = make(50, 64, 32, 64, 7)
    found = []

    def work():
        for threads in (2, 3):
            if own:  # more than PyTorch has: the pool's own threads do the work
                monkeypatch.setattr(native, "num_threads", threads)
                p.threads = 1
            else:
                p.threads = threads
            CALLS[call](p)
            found.append(flushed_by_pytorch())
            torch.set_num_threads(threads)
            found.append(flushed_by_pytorch())
        torch.set_num_threads(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0] * 4


def test_a_fresh_process_keeps_its_modes():
    code = (
        "import throughtime as tt; torch.set_num_threads(2); tt.nn.RNN(32, 64)(torch.randn(50, 64, 32)); "
        f"print(int((torch.full((300_000,), {TINY}) * 1e10 == 0).sum()))"
    )
    assert ask(code).stdout.split() == ["0"]


def test_a_callers_own_mode_is_kept(isa):
    """One that flushes goes on flushing."""
    if not torch.set_flush_denormal(True):
        pytest.skip("a processor without such a mode")
    try:
        problems.run_step(make(50, 64, 32, 64, 7))
        assert (torch.tensor([TINY]) * 1e10).item() == 0
    finally:
        torch.set_flush_denormal(False)
    assert flushed_by_pytorch() == 0


def linear(T, **options):
    """s_t = x_t + s_{t-1}, for more than one thread."""
    p = make(T, 128, 64, 64, 2, nonlinearity="identity", s0=False, bias=False, **options)
    return replace(p, U=torch.eye(64), W=torch.eye(64), dfinal=None)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_zero_during_a_call(isa, threads, own, monkeypatch):
    """In states, δ and every gradient, whichever thread computes them."""
    if own:
        monkeypatch.setattr(native, "num_threads", threads)
    p = linear(10, threads=1 if own else threads)
    tiny, ones = torch.full_like(p.x, TINY), torch.ones_like(p.x)
    forward = problems.run_forward(replace(p, x=tiny))
    assert all(torch.count_nonzero(value) == 0 for value in forward.values())
    found = problems.run_gradients(replace(p, x=ones, dstates=tiny), ones)
    found["delta"] = found["delta"][:-1]  # the last is no sum: a number that is copied stays
    for name, value in found.items():
        assert torch.count_nonzero(value) == 0, name


def test_denormals_are_zero_between_tasks(isa):
    """A sum of two biases, and of the tasks' gradients, is made by the caller's thread alone."""
    p = linear(10)
    zeros, least = torch.zeros_like(p.x), torch.full((64,), torch.finfo(torch.float32).tiny)
    states, _ = native.forward(zeros[:1], p.U, p.W, least / 2, None, None, "identity", False, b_hh=least)
    assert (states == least).all()
    p = replace(p, x=zeros.clone(), dstates=zeros.clone())
    p.x[0, [0, -1]] = 1
    p.dstates[0, 0], p.dstates[0, -1] = 1.5 * least, -least  # what is left is denormal
    found = problems.run_gradients(p, zeros)
    assert all(torch.count_nonzero(found[name]) == 0 for name in ("dU", "db"))
