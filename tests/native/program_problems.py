"""Calls of programs with all their arguments, run by the compiled engine and, in float64, by the reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from kernel_problems import kernel_threads
from torch import Tensor

from throughtime.engines import native_program, reference_program
from throughtime.programs import Program
from throughtime.programs.calls import Batch, Gradients, Needs, Recurrence, Upstream, Walk


@dataclass
class ProgramProblem:
    """One call in float64 and as it is given to the kernel: rounded, and with padding that is poisoned."""

    program: Program
    exact: tuple[Recurrence, Batch]
    given: tuple[Recurrence, Batch]
    upstream: Upstream
    dtype: torch.dtype
    threads: int

    @property
    def padding(self) -> Tensor | None:
        batch = self.exact[1]
        T = batch.inputs[0].shape[0]
        return None if batch.lengths is None else torch.arange(T).unsqueeze(1) >= batch.lengths


def make_program_problem(
    program: Program, T: int, B: int, *, dtype=torch.float32, seed=0, reverse=False, ragged=False, symbols=False,
    initial=True, upstream=True, pieces=False, batch_first=False, threads=2,
) -> ProgramProblem:  # fmt: skip
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype).double()  # noqa: E731
    weights = [normal(m.rows, m.columns) * 0.7 / m.columns**0.5 for m in program.matrices]
    weights += [normal(p.width) * 0.3 for p in program.parameters]
    inputs = [normal(T, B, v.width) for v in program.inputs]
    if symbols:
        inputs[0] = torch.randint(0, program.inputs[0].width, (T, B), generator=g)
    first = [normal(B, s.width) if initial else None for s in program.state]
    lengths = torch.randint(0, T + 1, (B,), generator=g) if ragged else None
    starts = torch.rand(T, B, generator=g) < 0.2 if pieces else None
    restart = [normal(s.width) if initial else None for s in program.state] if pieces else []
    outgoing = [normal(T, B, w.width) if upstream else None for w in program.outputs]
    last = [normal(B, s.width) if upstream else None for s in program.state]
    rounded = lambda t: t if t is None or not t.is_floating_point() else t.to(dtype)  # noqa: E731
    weights = [rounded(w).double() for w in weights]
    exact = (
        Recurrence(program, tuple(weights)),
        Batch(tuple(inputs), tuple(first), lengths, starts, tuple(restart), reverse),
    )
    poisoned = [t.clone() for t in inputs]
    if lengths is not None:
        padding = torch.arange(T).unsqueeze(1) >= lengths
        for t in poisoned:
            t[padding] = float("nan") if t.is_floating_point() else 10**12
    if batch_first:
        poisoned = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in poisoned]
    given = (
        Recurrence(program, tuple(map(rounded, weights))),
        Batch(
            tuple(map(rounded, poisoned)),
            tuple(map(rounded, first)),
            lengths,
            starts,
            tuple(map(rounded, restart)),
            reverse,
        ),
    )
    return ProgramProblem(program, exact, given, Upstream(tuple(outgoing), tuple(last)), dtype, threads)


def needs_of(p: ProgramProblem) -> Needs:
    _, batch = p.given
    parts = (True,) * len(p.program.state)
    return Needs(
        tuple(t.is_floating_point() for t in batch.inputs),
        (True,) * len(p.given[0].weights),
        parts,
        parts if batch.restart else (),
    )


def run_program_forward(p: ProgramProblem, keep: bool = True) -> Walk:
    with kernel_threads(p.threads):
        return native_program.forward(*p.given, keep)


def run_program_backward(p: ProgramProblem, walk: Walk) -> Gradients:
    up = p.upstream
    outgoing = [None if t is None else t.to(p.dtype) for t in up.outputs]
    for t in outgoing:
        if t is not None and p.padding is not None:
            t[p.padding] = float("nan")
    last = [None if t is None else t.to(p.dtype) for t in up.final]
    with kernel_threads(p.threads):
        return native_program.backward(*p.given, walk, Upstream(tuple(outgoing), tuple(last)), needs_of(p))


def check_program(p: ProgramProblem) -> tuple[Walk, Gradients]:
    """Every output and gradient against the reference, whose way back starts from what the kernel kept."""
    with torch.no_grad():
        expected = reference_program.forward(*p.exact, True)
        found = run_program_forward(p)
        _close(p, "outputs", found.outputs, expected.outputs)
        _close(p, "final", found.final, expected.final)
        real = Walk(*(tuple(_finite(p, t) for t in part) for part in (found.outputs, found.final, found.kept)))
        gradients = run_program_backward(p, found)
        wanted = reference_program.backward(*p.exact, real, p.upstream, needs_of(p))
        for name in ("inputs", "weights", "initial", "restart"):
            _close(p, name, getattr(gradients, name), getattr(wanted, name))
    return found, gradients


def _finite(p: ProgramProblem, t: Tensor) -> Tensor:
    return t.double() if p.padding is None or t.dim() < 3 else t.double().masked_fill(p.padding.unsqueeze(-1), 0)


def _close(p: ProgramProblem, what, found, expected):
    unit = 1e-5 if p.dtype is torch.float32 else 1e-13
    assert len(found) == len(expected), what
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        if b is None:
            assert a is None, f"{what} {k}"
            continue
        assert a is not None, f"{what} {k}"
        assert a.shape == b.shape, f"{what} {k}"
        error = (a.double() - b).abs().max().item()
        allowed = unit * (1 + b.abs().max().item())
        assert error <= allowed, f"{what} {k}: off by {error:.2e}, allowed {allowed:.2e}"
