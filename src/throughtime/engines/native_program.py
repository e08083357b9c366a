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
    call = _Call(recurrence, batch)
    like, T, B = call.like, call.T, call.B
    outputs = tuple(new_like(batch.inputs[0], like, w.width) for w in program.outputs)
    kept = tuple(like.new_empty((T, B, w.width)) for w in program.kept) if keep else ()
    final = tuple(like.new_empty((B, v.width)) for v in program.state)
    code = forward_code(program, call.unit, call.symbols, keep)
    call.run(code, False, (*call.inputs, *outputs, *kept), (), final, (), ())
    return Walk(outputs, final, kept)


def backward(recurrence: Recurrence, batch: Batch, walk: Walk, upstream: Upstream, needs: Needs) -> Gradients:
    """The gradients of what a forward call with `keep` returned."""
    program, _ = recurrence
    call = _Call(recurrence, batch)
    like, T, B = call.like, call.T, call.B
    k = len(program.outputs)
    arriving = [call.rows(f"upstream {v.name}", g, (B, v.width)) for v, g in zip(program.upstream[k:], upstream.final)]
    dy = [call.rows(f"upstream {v.name}", g, (T, B, v.width)) for v, g in zip(program.upstream, upstream.outputs)]
    results = [
        call.rows(w.vector, t, (T, B, w.width))
        for w, t in zip((*program.outputs, *program.kept), (*walk.outputs, *walk.kept))
    ]
    to_inputs = tuple(
        None if not need else new_like(x, like, v.width) if w is not None else new_like(x, like, v.width).zero_()
        for x, v, w, need in zip(batch.inputs, program.inputs, program.to_inputs, needs.inputs, strict=True)
    )
    fresh = (
        like.new_empty if batch.starts is None else like.new_zeros
    )  # a row that begins with a mark has no use for its own
    initial = tuple(fresh((B, v.width)) if n else None for v, n in zip(program.state, needs.initial, strict=True))
    partial = pieced(program)
    names = (*(m.name for m in program.matrices), *(v.name for v in program.parameters))
    found = tuple(
        None if not need else torch.zeros_like(w) if name in partial else torch.empty_like(w)
        for name, w, need in zip(names, call.weights, needs.weights, strict=True)
    )
    needs_restart = needs.restart or (False,) * len(initial)
    restart = tuple(like.new_zeros(v.width) if n else None for v, n in zip(program.state, needs_restart, strict=True))
    code = backward_code(program, call.unit, call.symbols, tuple(needs.inputs), tuple(needs.weights))
    call.run(code, True, (*call.inputs, *results, *dy, *to_inputs), arriving, initial, restart, found)
    return Gradients(to_inputs, found, initial, restart[: len(needs.restart)])


class _Call:
    """What both directions pass on, checked: every shape, type and stride that the kernel relies on."""

    def __init__(self, recurrence: Recurrence, batch: Batch) -> None:
        program, weights = recurrence
        x = batch.inputs[0]
        self.symbols = x.dim() == 2
        self.T, self.B = x.shape[:2]
        self.like = next((w for w in (*weights, *batch.inputs) if w.is_floating_point()), torch.empty(0))
        self.dtype = dtype = self.like.dtype
        if dtype is not torch.float32 and dtype is not torch.float64:
            raise TypeError(f"{program.name}: expected float32 or float64, found {dtype}")
        self.unit = 16 if dtype is torch.float32 else 8
        shapes = _shapes(program)
        self.weights = [self.whole(*expected, w) for expected, w in zip(shapes, weights, strict=True)]
        self.inputs = [
            self.rows(v.name, t, (self.T, self.B, v.width)) if t.dim() == 3 else native._whole(t.long())
            for v, t in zip(program.inputs, batch.inputs, strict=True)
        ]
        if self.symbols:
            self.check(program.inputs[0].name, self.inputs[0], (self.T, self.B), torch.int64)
        self.initial = [
            self.rows(v.name, t, (self.B, v.width)) for v, t in zip(program.state, batch.initial, strict=True)
        ]
        lengths = batch.lengths
        if lengths is not None:
            lengths = lengths.contiguous()
            self.check("lengths", lengths, (self.B,), torch.int64)
        self.lengths, self.reverse = lengths, batch.reverse
        self.starts = batch.starts
        if self.starts is not None:
            self.check("starts", self.starts, (self.T, self.B), torch.bool)
        restart = batch.restart or (None,) * len(program.state)
        self.restart = [
            None if t is None else self.whole(v.name, (v.width,), t)
            for v, t in zip(program.state, restart, strict=True)
        ]
        self.matrices = len(program.matrices)

    def whole(self, name, shape, t):
        t = native._whole(t)
        self.check(name, t, shape, self.dtype)
        return t

    def rows(self, name, t, shape):
        """A tensor whose last dimension is contiguous; the others may have any strides."""
        if t is None:
            return None
        t = native._rows(t)
        self.check(name, t, shape, self.dtype)
        return t

    def check(self, name, t, shape, dtype):
        if t.shape != shape or t.dtype is not dtype or not t.is_cpu:
            raise ValueError(
                f"{name}: expected {list(shape)} {dtype} on the CPU, found {list(t.shape)} {t.dtype} on {t.device}"
            )

    def run(self, code, backward, series, arriving, leaving, leaving_restart, gradients) -> None:
        addresses = [_address(w) for w in self.weights]
        native._native.run_program(
            code, self.dtype is torch.float64, backward, self.T, self.B, _address(self.lengths), _distances(self.starts),
            self.reverse, native.num_threads or torch.get_num_threads(), addresses[: self.matrices], addresses[self.matrices :],
            [n for t in series for n in _distances(t)], _pairs(self.initial), [_address(t) for t in self.restart],
            _pairs(arriving), _pairs(leaving), *([_address(t) for t in own] for own in (leaving_restart, gradients)),
        )  # fmt: skip


@lru_cache(maxsize=1024)
def _shapes(program: Program) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((m.name, (m.rows, m.columns)) for m in program.matrices) + tuple(
        (v.name, (v.width,)) for v in program.parameters
    )


def _address(t: Tensor | None) -> int:
    """Of a tensor's first element; 0 for none, and for none alone."""
    return 0 if t is None else t.data_ptr() or _refuse(t)


def _refuse(t: Tensor) -> int:
    raise ValueError(f"expected a tensor with memory of its own, found {type(t).__name__} of shape {list(t.shape)}")


def _pairs(tensors) -> list[int]:
    return [n for t in tensors for n in ((0, 0) if t is None else (_address(t), t.stride(0)))]


def _distances(t: Tensor | None) -> tuple[int, int, int]:
    """The address of a series, and how far it is from a step to the next, and from a row to the next."""
    return (0, 0, 0) if t is None else (_address(t), t.stride(0), t.stride(1))
