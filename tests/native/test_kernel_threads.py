"""Many callers at once, forked children, and the choice of the instruction set."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import kernel_problems as problems
import numpy as np
import pytest
import torch
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
            torch.use_deterministic_algorithms(False)  # PyTorch would fill new memory by threads that it no longer has
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


def test_more_memory_than_the_limit_is_given_back():
    """Neither a piece beyond the limit nor several that exceed it together are kept. Tables of n symbols need 64 n bytes."""
    native.release_memory()
    for megabytes in (300, 150, 200):
        n = megabytes * 10**6 // 64
        p = make(1, 4, n, 1, 1, symbols=True)
        problems.run_forward(p)
        assert native._native.cached() <= native._native.SCRATCH_CACHE_LIMIT
    native.release_memory()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_kept_memory_is_used_again_and_released():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    p = make(1, 4, 10**8 // 64, 1, 1, symbols=True)
    native.release_memory()
    problems.run_forward(p)
    before, kept = resident(), native._native.cached()
    assert kept >= 10**8
    for _ in range(3):
        problems.run_forward(p)
        assert native._native.cached() == kept
    assert abs(resident() - before) < 10**7
    native.release_memory()
    assert native._native.cached() == 0
    assert resident() < before - 0.9 * 10**8


OUT_OF_MEMORY = """
import resource
x = torch.zeros(100_000, 4, dtype=torch.int64)
U, W, V = torch.zeros(256, 3), torch.zeros(256, 256), torch.zeros(2, 256)
torch.set_num_threads({pytorch}); native.num_threads = {threads}

def step(x):
    return native.learning_step(x, x, U, W, None, V, torch.zeros(2), None, None, "tanh", "sequence")

before = float(step(x[:500])[0])  # threads, libraries and outputs have their memory now
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, -1))  # the states of a task need more
try:
    step(x)
    print("no error")
except MemoryError:
    print("refused", float(step(x[:500])[0]) == before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's here")
@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizers' own memory has no such limit")
@pytest.mark.parametrize(("threads", "pytorch"), [(1, 1), (2, 2), (2, 1)])
def test_an_error_of_a_task_is_the_callers(threads, pytorch):
    """Whether the caller's thread meets it, one of PyTorch's, or one of the pool's own; the next call works."""
    found = ask(OUT_OF_MEMORY.format(threads=threads, pytorch=pytorch))
    assert found.stdout.split() == ["refused", "True"], found.stderr


def ask(code: str, **environment) -> subprocess.CompletedProcess:
    code = "import torch; from throughtime.engines import native\n" + code
    return subprocess.run(
        [sys.executable, *["-S"] * sys.flags.no_site, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", native.supported() if native.load_error is None else [])
def test_the_environment_chooses_the_instruction_set(name):
    assert ask("print(native.isa())", THROUGHTIME_ISA=name).stdout.strip() == name


def test_an_unknown_instruction_set_is_refused():
    assert 'found "avx1024"' in ask("print(native.load_error)", THROUGHTIME_ISA="avx1024").stdout
    with pytest.raises(ValueError, match='THROUGHTIME_ISA: expected one of .*, found "avx1024"'):
        native._native.set_isa("avx1024")
