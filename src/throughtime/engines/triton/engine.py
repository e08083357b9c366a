"""Programs on a GPU: the sweeps of `printer`, compiled by Triton; everything else, for all steps at once, is PyTorch's.

float32, bfloat16 and float16, sums in float32; the products of a float32 program round to TF32 where
`torch.backends.cuda.matmul.allow_tf32` says so and nowhere else. Two calls give the same bits: instances of the grid share
nothing, and nothing is added atomically. Ragged rows, both directions, initial states and pieces are as everywhere.
"""

from __future__ import annotations

import linecache
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from throughtime.engines.triton import maths
from throughtime.engines.triton.printer import Unfit, backward_kernel, forward_kernel
from throughtime.engines.values import (
    Values,
    begin_backward,
    begin_forward,
    finish_backward,
    fresh_steps,
    masked,
    or_zeros,
    real_steps,
    restart_parts,
)
from throughtime.programs import Program, levels
from throughtime.programs.calls import Batch, Gradients, Needs, Recurrence, Upstream, Walk

BLOCK = 16
"""Rows that a program instance walks: the least that Triton's products take, so a batch spreads over many multiprocessors."""

REGISTER_NUMBERS = 24_576
"""Numbers of matrices that a program instance can hold in its threads' registers, some 96 each. As long as there are fewer rows
than multiprocessors and the matrices are no larger, each row has an instance of its own."""

WARPS = 8
"""Of a program instance: with fewer, the matrices of gated cells do not stay in registers and spill."""

REGISTERS = 255
"""Of a thread, all that it can have. The compiler by itself may spill to memory, to leave room for a second instance:
a kernel that spilled is compiled with this limit from its next call on."""

STAGES = (3, 2, 1)
"""How many steps ahead series are fetched, as far as shared memory reaches beside the matrices."""

_spilled: set[tuple[Program, str, torch.dtype, int]] = set()

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


def source(program: Program) -> str:
    """The kernels of a program, as they are compiled."""
    return f"{forward_kernel(program).text}\n\n{backward_kernel(program).text}"


def forward(recurrence: Recurrence, batch: Batch, keep: bool) -> Walk:
    """Run a program over a batch; `keep`: leave what the way back needs.

    Raises: RuntimeError: a program or a size that has no kernel; the message says what does not fit.
    """
    program = recurrence.program
    values = begin_forward(recurrence, batch)
    B = values.rows[1]
    first = [or_zeros(s, (B, v.width), values.like) for s, v in zip(batch.initial, program.state, strict=True)]
    own = zip(restart_parts(batch, program), program.state, strict=True)
    restart = [or_zeros(r, (v.width,), values.like).contiguous() for r, v in own]
    final = [torch.empty_like(s, memory_format=torch.contiguous_format) for s in first]
    _sweep("forward", recurrence, batch, values, first, final, restart)
    values.run(levels(program)[0].tail)
    real = real_steps(batch)
    outputs = tuple(masked(values.read(w), real) for w in program.outputs)
    return Walk(outputs, tuple(final), tuple(values.read(w) for w in program.kept if keep))


def backward(recurrence: Recurrence, batch: Batch, walk: Walk, upstream: Upstream, needs: Needs) -> Gradients:
    """The gradients of what a forward call with `keep` returned. Raises as `forward`."""
    program = recurrence.program
    values = begin_backward(recurrence, batch, walk, upstream)
    carried = program.upstream[len(program.outputs) :]
    B = values.rows[1]
    first = [or_zeros(g, (B, v.width), values.like) for g, v in zip(upstream.final, carried, strict=True)]
    carry = [torch.empty_like(g, memory_format=torch.contiguous_format) for g in first]
    pieces = [torch.zeros_like(c) for c in carry]
    _sweep("backward", recurrence, batch, values, first, carry, pieces)
    return finish_backward(recurrence, batch, values, carry, [p.sum(0) for p in pieces], needs)


def _sweep(
    direction: str,
    recurrence: Recurrence,
    batch: Batch,
    values: Values,
    first: list[Tensor],
    last: list[Tensor],
    fresh_parts: list[Tensor],
) -> None:
    """Run one kernel over all steps: reads series from `values`, writes series there."""
    program, weights = recurrence
    try:
        kernel = (forward_kernel if direction == "forward" else backward_kernel)(program)
    except Unfit as reason:
        raise RuntimeError(f'engine "triton": {reason}') from None
    dtype = values.like.dtype
    if dtype not in TYPES:
        raise RuntimeError(f'engine "triton": expected float32, bfloat16 or float16, found {dtype}')
    T, B = values.rows
    named: dict[str, Tensor] = {}
    for matrix, weight in zip(program.matrices, weights):
        named |= {f"{matrix.name}_matrix": weight, f"{matrix.name}_matrix_T": weight.T}
    named |= dict(zip((p.name for p in program.parameters), weights[len(program.matrices) :]))
    outputs = [values.like.new_empty((T, B, w.width)) for w in kernel.writes]
    arguments: list[Any] = [named[name].contiguous() for name in (*kernel.matrices, *kernel.parameters)]
    arguments += [values.read(w).contiguous() for w in kernel.reads]
    arguments += outputs
    for begin, end, fresh in zip(first, last, fresh_parts, strict=True):
        arguments += [begin.contiguous(), end, fresh]
    device = values.like.device
    if device.type != "cuda" and not interpreted():
        raise RuntimeError(f'engine "triton": expected tensors on an NVIDIA GPU, found them on {device}')
    fresh_at = fresh_steps(batch)
    none = _no_marks(device)
    lengths = none if batch.lengths is None else batch.lengths.to(device, torch.int32)
    fresh_marks = none if fresh_at is None else fresh_at.to(torch.int8).contiguous()
    emulated = interpreted() and dtype is torch.bfloat16
    run = getattr(_module(program), direction)
    few = (
        dtype is torch.float32 and _multiprocessors(device) >= B
    )  # in 16 bit the tensor cores are quicker even for one row
    block = 1 if few and kernel.tile_numbers <= REGISTER_NUMBERS else BLOCK
    kind = (program, direction, dtype, block)
    for stages in STAGES:
        try:
            compiled = run[(triton.cdiv(B, block),)](
                *arguments, lengths, fresh_marks, T, B,
                REVERSE=batch.reverse, RAGGED=batch.lengths is not None, PIECES=fresh_at is not None,
                BLOCK=block, TILE=tl.float32 if emulated else TYPES[dtype], ROUND=TYPES[dtype],
                PRECISION=_precision(), num_stages=stages, num_warps=WARPS, enable_fp_fusion=True,
                maxnreg=REGISTERS if kind in _spilled else None,
            )  # fmt: skip
            if compiled is not None and compiled.n_spills:  # the interpreter compiles nothing
                _spilled.add(kind)
            break
        except triton.runtime.errors.OutOfResources as reason:
            if stages == STAGES[-1]:
                raise RuntimeError(f'engine "triton": program {program.name} does not fit: {reason}') from None
    for window, series in zip(kernel.writes, outputs, strict=True):
        values.write(window, series)


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU (TRITON_INTERPRET=1 when Triton was imported)."""
    return not isinstance(maths.tanh, triton.runtime.JITFunction)


@lru_cache
def _no_marks(device: torch.device) -> Tensor:
    """In the place of lengths and of the starts of pieces where there are none: it is not read."""
    return torch.zeros(1, dtype=torch.int8, device=device)


@lru_cache
def _multiprocessors(device: torch.device) -> int:
    return 2 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count


def _precision() -> str:
    """How float32 is multiplied: rounded to TF32 where PyTorch may do so, else each factor in two parts of that type, three
    of whose products add to what float32 would give."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


@lru_cache(maxsize=512)
def _module(program: Program) -> ModuleType:
    """The compiled module of a program. Triton reads the source of a kernel from its file: this one's lies in linecache."""
    name = f"<throughtime {program.name} {abs(hash(program.text)):x}>"
    text = "import triton\nimport triton.language as tl\n"
    text += "from throughtime.engines.triton import maths\n\n\n"
    text += source(program)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    module = ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
    return module
