"""The compiled engine for programs, on the CPU, in float32 and float64: `forward` and `backward` of `reference_program`.

A program is made into flat tables once (`throughtime.engines.coding`), which the kernel interprets: the head for all rows of a
chunk of some 256, the slots one after the other, the tail for all rows again; elementwise instructions over strips of some 512
units that stay in the first-level cache, products in the tiles of the Elman kernel. Pieces are rows of their own in its plan.

Saved for the way back, with `keep` alone: the outputs, and `Program.kept`, for each row and step in multiples of d units: 6 for
an LSTM beside its output (the four gates, c and tanh c), 4 for a GRU (r, z, the candidate, W h + b of it), none for Elman.

Memory beyond inputs and outputs, in numbers (rows are padded to whole cache lines): once per call every block of a matrix in
the layout of its products; per thread some 256 rows of every vector that lives longer than a slot and, on the way back, two
sets of the weights' gradients. All of it is kept for the next call as `native` says.

Accuracy and order of sums: as in `native`. A row's outputs and states have the bits of that row alone, whatever its batch
mates, padding and the number of threads; gradients are summed over chunks, then over the threads' tasks, in a fixed order.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from throughtime.core.layout import new_like
from throughtime.engines import native
from throughtime.engines.coding import backward_code, forward_code, pieced
from throughtime.programs import Program
from throughtime.programs.calls import Batch, Gradients, Needs, Recurrence, Upstream, Walk


def forward(recurrence: Recurrence, batch: Batch, keep: bool) -> Walk:
    """Run a program over a batch; `keep`: leave what the way back needs."""
    program, _ = recurrence
    x = batch.inputs[0]
    like = _like(recurrence, batch)
    T, B = x.shape[:2]
    outputs = tuple(new_like(x, like, w.width) for w in program.outputs)
    kept = tuple(like.new_empty(T, B, w.width) for w in program.kept) if keep else ()
    final = tuple(like.new_empty(B, v.width) for v in program.state)
    code = forward_code(program, _unit(like), x.dim() == 2, keep)
    _run(code, like, recurrence, batch, None, (), (*outputs, *kept), final, (), ())
    return Walk(outputs, final, kept)


def backward(recurrence: Recurrence, batch: Batch, walk: Walk, upstream: Upstream, needs: Needs) -> Gradients:
    """The gradients of what a forward call with `keep` returned."""
    program, _ = recurrence
    like = _like(recurrence, batch)
    B = batch.inputs[0].shape[1]
    to_inputs = tuple(
        None if not need else new_like(x, like, v.width) if w is not None else new_like(x, like, v.width).zero_()
        for x, v, w, need in zip(batch.inputs, program.inputs, program.to_inputs, needs.inputs, strict=True)
    )
    fresh = (
        like.new_empty if batch.starts is None else like.new_zeros
    )  # a row that begins with a mark has no use for its own
    initial = tuple(fresh(B, v.width) if n else None for v, n in zip(program.state, needs.initial, strict=True))
    partial = pieced(program)
    found = tuple(
        None if not need else like.new_zeros(shape) if name in partial else like.new_empty(*shape)
        for (name, shape), need in zip(_shapes(program), needs.weights, strict=True)
    )
    needs_restart = needs.restart or (False,) * len(initial)
    restart = tuple(like.new_zeros(v.width) if n else None for v, n in zip(program.state, needs_restart, strict=True))
    code = backward_code(program, _unit(like), batch.inputs[0].dim() == 2, tuple(needs.inputs), tuple(needs.weights))
    results = (*walk.outputs, *walk.kept)
    _run(code, like, recurrence, batch, upstream, results, to_inputs, initial, restart, found)
    return Gradients(to_inputs, found, initial, restart[: len(needs.restart)])


def _like(recurrence: Recurrence, batch: Batch) -> Tensor:
    """A tensor of the dtype of the call."""
    like = recurrence.weights[0] if recurrence.weights else batch.inputs[0]
    if not like.is_floating_point():
        like = next((w for w in (*recurrence.weights, *batch.inputs) if w.is_floating_point()), like)
    if like.dtype is not torch.float32 and like.dtype is not torch.float64:
        raise TypeError(f"{recurrence.program.name}: expected float32 or float64, found {like.dtype}")
    return like


def _unit(like: Tensor) -> int:
    """The numbers of a cache line."""
    return 16 if like.dtype is torch.float32 else 8


def _run(code, like, recurrence, batch, upstream, results, made, leaving, leaving_restart, gradients) -> None:
    """Call the kernel, which looks at every shape, type and stride. What it cannot read where it lies is copied, and what does
    not fit is named.

    upstream: None forwards. results: of the forward call, which the way back reads. The rest is what the call writes: series,
    states (or their gradients), gradients of the states from which pieces start, and of the weights."""
    program, weights = recurrence
    inputs, initial, lengths, starts, restart, reverse = batch
    T, B = inputs[0].shape[:2]
    matrices = len(program.matrices)
    restart = restart or (None,) * len(program.state)
    outputs, arriving = ((), ()) if upstream is None else upstream
    threads = native.num_threads or torch.get_num_threads()

    def call() -> bool:
        return native._native.run_program(
            code, like.dtype is torch.float64, upstream is not None, T, B, lengths, starts, reverse, threads,
            weights[:matrices], weights[matrices:], (*inputs, *results, *outputs, *made), initial, restart, arriving, leaving,
            leaving_restart, gradients,
        )  # fmt: skip

    if call():
        return
    dtype, whole, rows = like.dtype, native._whole, native._rows
    weights = _fitting(_shapes(program), weights, dtype, whole)
    own = [(v.name, (T, B, v.width)) for v in program.inputs]
    symbols = inputs[0].dim() == 2
    if symbols:
        first = _fitting([(own[0][0], (T, B))], [inputs[0].long()], torch.int64, whole)
    else:
        first = _fitting(own[:1], inputs[:1], dtype, rows)
    inputs = (*first, *_fitting(own[1:], inputs[1:], dtype, rows))
    state = [(v.name, (B, v.width)) for v in program.state]
    initial = _fitting(state, initial, dtype, rows)
    restart = _fitting([(v.name, (v.width,)) for v in program.state], restart, dtype, whole)
    [lengths] = _fitting([("lengths", (B,))], [lengths], torch.int64, whole)
    [starts] = _fitting([("starts", (T, B))], [starts], torch.bool, rows)
    results = _fitting(
        [(w.vector, (T, B, w.width)) for w in (*program.outputs, *program.kept)][: len(results)], results, dtype, rows
    )
    k = len(outputs)
    outputs = _fitting([(f"upstream {v.name}", (T, B, v.width)) for v in program.upstream[:k]], outputs, dtype, rows)
    arriving = _fitting(
        [(f"upstream {v.name}", (B, v.width)) for v in program.upstream[k:]][: len(arriving)], arriving, dtype, rows
    )
    if not call():
        raise RuntimeError("the kernel refused tensors that fit")  # its outputs would be what lay there before


def _fitting(expected, tensors, dtype, readable):
    """Tensors in memory that the kernel reads, each checked; None stays None."""
    found = tuple(None if t is None else readable(t) for t in tensors)
    for (name, shape), t in zip(expected, found, strict=True):
        native._check(name, t, shape, dtype)
    return found


@lru_cache(maxsize=1024)
def _shapes(program: Program) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((m.name, (m.rows, m.columns)) for m in program.matrices) + tuple(
        (v.name, (v.width,)) for v in program.parameters
    )
