"""Programs in the compiled engine: the built-in cells against the reference, on every instruction set."""

from __future__ import annotations

import itertools
import os
import random

import pytest
import torch
from program_problems import check_program, make_program_problem, run_program_backward, run_program_forward
from programs.mgu import mgu
from random_programs import random_program

from throughtime.engines import native, native_program
from throughtime.programs import elman, gru, lstm, parse
from throughtime.programs.calls import Batch

CELLS = {
    "elman": elman(3, 4),
    "elman relu": elman(7, 16, nonlinearity="relu"),
    "elman logistic without bias": elman(2, 1, bias=False, nonlinearity="logistic"),
    "lstm 1": lstm(1, 1),
    "lstm 17": lstm(5, 17),
    "lstm 32": lstm(32, 32),
    "lstm 100 projected": lstm(3, 100, proj_size=17),
    "gru 17": gru(3, 17),
    "gru 64": gru(16, 64),
    "gru 17 reset before": gru(5, 17, reset_after=False),
    "mgu 17": mgu(3, 17),
    "gru 32 reset before": gru(5, 32, bias=False, reset_after=False),
}
RANDOM = int(os.environ.get("THROUGHTIME_FUZZ", "240"))
OPTIONS = ("reverse", "ragged", "symbols", "initial", "upstream", "pieces", "batch_first")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_cells(isa, cell, dtype):
    generator = random.Random(f"{isa} {cell} {dtype}")
    for T, B, threads in ((1, 1, 1), (9, 1, 2), (7, 5, 1), (12, 37, 3), (24, 70, 2)):
        options = {name: generator.random() < 0.5 for name in OPTIONS}
        p = make_program_problem(CELLS[cell], T, B, dtype=dtype, threads=threads, seed=T, **options)
        try:
            check_program(p)
        except AssertionError as error:
            raise AssertionError(f"T={T} B={B} {options}: {error}") from error


@pytest.mark.parametrize("cell", ["lstm 17", "gru 64", "lstm 100 projected"])
@pytest.mark.parametrize("symbols", [False, True])
def test_what_a_row_gives_has_the_bits_of_that_row_alone(isa, cell, symbols):
    p = make_program_problem(CELLS[cell], 9, 37, ragged=True, symbols=symbols)
    whole = run_program_forward(p)
    recurrence, batch = p.given
    for row in (0, 5, 36):
        own, length = slice(row, row + 1), int(batch.lengths[row])
        if length == 0:
            continue
        alone = Batch(tuple(x[:length, own] for x in batch.inputs), tuple(s[own] for s in batch.initial))
        walk = native_program.forward(recurrence, alone, False)
        assert torch.equal(walk.outputs[0][:, 0], whole.outputs[0][:length, row])
        assert all(torch.equal(a[0], b[row]) for a, b in zip(walk.final, whole.final, strict=True))


@pytest.mark.parametrize("reverse", [False, True])
def test_pieces_have_the_bits_of_rows_alone(isa, reverse):
    p = make_program_problem(CELLS["gru 64"], 9, 3, pieces=True, reverse=reverse)
    whole = run_program_forward(p)
    recurrence, batch = p.given
    for row in range(3):
        marks = [0, *(t for t in range(1, 9) if batch.starts[t, row]), 9]
        for begin, end in itertools.pairwise(marks):
            first = end == 9 if reverse else begin == 0 and not batch.starts[0, row]
            state = tuple(
                s[row : row + 1] if first else r[None] for s, r in zip(batch.initial, batch.restart, strict=True)
            )
            alone = Batch(tuple(x[begin:end, row : row + 1] for x in batch.inputs), state, reverse=reverse)
            walk = native_program.forward(recurrence, alone, False)
            assert torch.equal(walk.outputs[0][:, 0], whole.outputs[0][begin:end, row])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_repeated_calls_give_the_same_bits(isa, threads):
    p = make_program_problem(CELLS["lstm 17"], 30, 45, ragged=True, threads=threads)
    walk = run_program_forward(p)
    found = run_program_backward(p, walk)
    for _ in range(5):
        again = run_program_backward(p, run_program_forward(p))
        for a, b in zip(
            (*found.inputs, *found.weights, *found.initial), (*again.inputs, *again.weights, *again.initial)
        ):
            assert torch.equal(a, b)


def test_states_do_not_depend_on_the_number_of_threads(isa):
    p = make_program_problem(CELLS["lstm 32"], 30, 45, ragged=True)
    found = []
    for p.threads in (1, 2, 3, 5):
        found.append(run_program_forward(p).outputs[0])
    assert all(torch.equal(found[0], other) for other in found)


def test_a_symbol_is_a_one_hot_vector(isa):
    p = make_program_problem(CELLS["gru 17"], 12, 5, symbols=True)
    recurrence, batch = p.given
    hot = torch.nn.functional.one_hot(batch.inputs[0], 3).float()
    found = [native_program.forward(recurrence, b, False).outputs[0] for b in (batch, batch._replace(inputs=(hot,)))]
    assert torch.equal(*found)


def test_only_what_is_wanted_is_made():
    p = make_program_problem(CELLS["lstm 17"], 5, 3)
    walk = run_program_forward(p)
    everything = run_program_backward(p, walk)
    for wanted in range(4):
        needs = native_program.Needs((False,), tuple(i == wanted for i in range(4)), (False, True))
        found = native_program.backward(*p.given, walk, native_program.Upstream(*map(_single, p.upstream)), needs)
        assert found.inputs == (None,)
        assert found.initial[0] is None
        assert torch.equal(found.initial[1], everything.initial[1])
        for i, gradient in enumerate(found.weights):
            assert torch.equal(gradient, everything.weights[i]) if i == wanted else gradient is None


def _single(tensors):
    return tuple(t.float() for t in tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r, b: (r._replace(weights=(r.weights[0][:-1], *r.weights[1:])), b),
            r"U: expected \[68, 5\] torch.float32 on",
        ),
        (lambda r, b: (r, b._replace(inputs=(b.inputs[0].double(),))), r"x: expected \[5, 3, 5\] torch.float32"),
        (lambda r, b: (r, b._replace(lengths=torch.tensor([5, 6, 1]))), "lengths: expected 0 to 5, found 6 in row 1"),
        (lambda r, b: (r, b._replace(initial=(b.initial[0][:2], None))), r"h: expected \[3, 17\]"),
        (
            lambda r, b: (r, b._replace(inputs=(torch.full((5, 3), 5),))),
            "x: symbol in row 0, step 0: expected 0 to 4, found 5",
        ),
        (lambda r, b: (r, b._replace(starts=torch.zeros(5, 3))), r"starts: expected \[5, 3\] torch.bool"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    recurrence, batch = make_program_problem(CELLS["lstm 17"], 5, 3).given
    with pytest.raises(ValueError, match=message):
        native_program.forward(*change(recurrence, batch), False)


def test_a_program_that_carries_what_it_was_given_and_needs_no_matrix():
    """Parts that come back as they are, exchanged, from upstream alone, or not at all."""
    program = parse(
        """
        odd
        inputs x[5]
        state a[5] b[5] c[5]
        matrices
        parameters g[1]
        forward
        na = copy(b)
        nb = a * g + x
        nc = copy(x)
        y = na + c
        outputs y
        next na nb nc
        upstream dy[5] dna[5] dnb[5] dnc[5]
        backward
        q = dnb * a
        dg = row_sum(q)
        pb = dnb * g
        dx = dnb + dnc
        gradients
        x: dx
        a: pb
        b: dny
        c: dy
        g: dg
    """.replace("b: dny", "b: sum_a").replace("q = dnb * a", "sum_a = dna + dy\n        q = dnb * a")
    )
    for options in ({}, {"ragged": True}, {"reverse": True, "ragged": True, "pieces": True}):
        check_program(make_program_problem(program, 6, 5, dtype=torch.float64, **options))


@pytest.mark.parametrize("part", range(4))
def test_random_programs(part):
    """THROUGHTIME_FUZZ sets how many."""
    for seed in range(part, RANDOM, 4):
        choice = random.Random(seed)
        options = {name: choice.random() < 0.5 for name in OPTIONS if name != "symbols"}
        T, B = choice.choice(((1, 1), (6, 1), (5, 4), (7, 20)))
        threads = choice.choice((1, 2, 3))
        native._native.set_isa(choice.choice(native.supported()))
        try:
            p = make_program_problem(
                random_program(seed), T, B, dtype=torch.float64, seed=seed, threads=threads, **options
            )
            check_program(p)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, T={T} B={B} {native.isa()} {options}: {error}") from error
        finally:
            native._native.set_isa("")
