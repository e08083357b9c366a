"""Many callers at once, forked children, and the choice of the instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import kernel_problems as problems
import numpy as np
import pytest
from kernel_problems import make

from throughtime.engines import native


def outcome(p):
    return {**problems.run_forward(p), **problems.run_step(p)}


def same(a, b):
    """Compared by NumPy: PyTorch's own threads do not survive a fork."""
    return all(np.array_equal(a[name].numpy(), b[name].numpy()) for name in a)


def test_eight_callers_at_once():
    calls = [make(20 + i, 30 + i, 10 + i, 40 + i, 7, ragged=i % 2 == 0, seed=i) for i in range(8)]
    expected = [outcome(p) for p in calls]
    failures = []

    def work(i):
        for turn in range(12):
            j = (i + turn) % 8
            if not same(expected[j], outcome(calls[j])):
                failures.append((i, turn))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def in_child(work) -> int:
    """Exit status of a forked child that runs `work`; it is killed after 30 seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the forked child hangs")


def test_a_forked_child_works():
    p = make(60, 40, 20, 64, 7)
    expected = outcome(p)  # the pool is running when the fork happens
    assert in_child(lambda: same(expected, outcome(p))) == 0
    assert same(expected, outcome(p))  # and the parent goes on


def test_forking_while_other_threads_call():
    p = make(60, 40, 20, 64, 7)
    expected = outcome(p)
    stop = threading.Event()

    def keep_calling():
        while not stop.is_set():
            outcome(p)

    threads = [threading.Thread(target=keep_calling) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(lambda: same(expected, outcome(p))) for _ in range(8)] == [0] * 8
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_memory_is_given_back():
    outcome(make(60, 40, 20, 64, 7))
    assert 0 < native._native.cached() <= native._native.SCRATCH_CACHE_LIMIT
    native.release_memory()
    assert native._native.cached() == 0


def ask(code: str, **environment) -> subprocess.CompletedProcess:
    code = "import torch; from throughtime.engines import native; " + code
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", native.supported() if native.load_error is None else [])
def test_the_environment_chooses_the_instruction_set(name):
    assert ask("print(native.isa())", THROUGHTIME_ISA=name).stdout.strip() == name


def test_an_unknown_instruction_set_is_refused():
    assert 'found "avx1024"' in ask("print(native.load_error)", THROUGHTIME_ISA="avx1024").stdout
    with pytest.raises(ValueError, match='THROUGHTIME_ISA: expected one of .*, found "avx1024"'):
        native._native.set_isa("avx1024")
