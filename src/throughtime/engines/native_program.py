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
from typing import Any, NamedTuple

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
    code, like, made = _begin_backward(recurrence, batch, needs)
    results = (*walk.outputs, *walk.kept)
    _run(code, like, recurrence, batch, upstream, results, *made)
    to_inputs, initial, restart, found = made
    return Gradients(to_inputs, found, initial, restart[: len(needs.restart)])


class StepResult(NamedTuple):
    """The loss (scalar, summed in double), the last states [1, B, width] by part (none unless asked for), and where they were
    wanted the gradients, those of V and c as well."""

    loss: Tensor
    final: tuple[Tensor, ...]
    gradients: Gradients | None
    V: Tensor | None
    c: Tensor | None


def learning_step(
    recurrence: Recurrence,
    batch: Batch,
    V: Tensor,
    c: Tensor | None,
    y: Tensor,
    per_token: bool,
    carry: bool,
    needs: Needs | None,
    of_readout: tuple[bool, bool] = (False, False),
) -> StepResult:
    """Forward, cross-entropy of softmax(V h + c) for the program's only output h, and the way back, in one call: what passes
    between them is memory kept for the next call. V [k, width]; c [k] or None; y [T, B] int64, −100 ignored. The loss is
    divided by B, or with `per_token` by the steps that count. `needs`: which gradients; None for none. Not for rows that are
    walked from their ends, nor pieces that start from anything but zero."""
    program, _ = recurrence
    like = _like(recurrence, batch)
    T, B = batch.inputs[0].shape[:2]
    learn = needs is not None
    wanted = needs or Needs(*((False,) * n for n in (len(batch.inputs), len(recurrence.weights), len(batch.initial))))
    code, like, (to_inputs, initial, _, found) = _begin_backward(recurrence, batch, wanted)
    dV = V.new_empty(*V.shape) if of_readout[0] else None
    dc = c.new_empty(*c.shape) if of_readout[1] and c is not None else None
    final = tuple(like.new_empty(1, B, v.width) for v in program.state) if carry else ()
    there = forward_code(program, _unit(like), batch.inputs[0].dim() == 2, learn)
    matrices = len(program.matrices)
    threads = native.num_threads or torch.get_num_threads()

    def call() -> float | None:
        return native._native.program_step(
            there, code, like.dtype is torch.float64, learn, T, B, threads, batch.lengths, batch.starts,
            recurrence.weights[:matrices], recurrence.weights[matrices:], batch.inputs, batch.initial,
            final or (None,) * len(program.state), V, c, y, per_token, to_inputs, initial, found, dV, dc,
        )  # fmt: skip

    loss = call()
    if loss is None:
        recurrence, batch = _readable(recurrence, batch, like.dtype)
        k, width = V.shape[0], program.outputs[0].width
        [V, c] = _fitting([("V", (k, width)), ("c", (k,))], [V, c], like.dtype, native._whole)
        [y] = _fitting([("y", (T, B))], [y.long()], torch.int64, native._whole)
        loss = call()
        if loss is None:
            raise RuntimeError("the kernel refused tensors that fit")  # its outputs would be what lay there before
    gradients = Gradients(to_inputs, found, initial, ()) if learn else None
    value = torch.scalar_tensor(loss, dtype=torch.float64).to(like.dtype)  # may be inf
    return StepResult(value, final, gradients, dV, dc)


def _begin_backward(
    recurrence: Recurrence, batch: Batch, needs: Needs
) -> tuple[Any, Tensor, tuple[Any, Any, Any, Any]]:
    """The tables of the way back, a tensor of its dtype, and what it writes: the gradients of inputs, initial states, states
    from which pieces start, and weights."""
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
    return code, like, (to_inputs, initial, restart, found)


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
    dtype, rows = like.dtype, native._rows
    (_, weights), batch = _readable(recurrence, batch, dtype)
    inputs, initial, lengths, starts, restart, _ = batch
    restart = restart or (None,) * len(program.state)
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


def _readable(recurrence: Recurrence, batch: Batch, dtype: torch.dtype) -> tuple[Recurrence, Batch]:
    """What goes in, in memory that the kernel reads, each tensor checked."""
    program, weights = recurrence
    inputs, initial, lengths, starts, restart, reverse = batch
    T, B = inputs[0].shape[:2]
    whole, rows = native._whole, native._rows
    weights = _fitting(_shapes(program), weights, dtype, whole)
    own = [(v.name, (T, B, v.width)) for v in program.inputs]
    if inputs[0].dim() == 2:  # symbols
        first = _fitting([(own[0][0], (T, B))], [inputs[0].long()], torch.int64, whole)
    else:
        first = _fitting(own[:1], inputs[:1], dtype, rows)
    inputs = (*first, *_fitting(own[1:], inputs[1:], dtype, rows))
    initial = _fitting([(v.name, (B, v.width)) for v in program.state], initial, dtype, rows)
    if restart:
        restart = _fitting([(v.name, (v.width,)) for v in program.state], restart, dtype, whole)
    [lengths] = _fitting([("lengths", (B,))], [lengths], torch.int64, whole)
    [starts] = _fitting([("starts", (T, B))], [starts], torch.bool, rows)
    return Recurrence(program, weights), Batch(inputs, initial, lengths, starts, restart, reverse)


def _fitting(expected, tensors, dtype, readable) -> Any:
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
