"""Programs in loops of plain torch operations: any dtype, any device, differentiable, judge of the other engines.

A program's head runs for all steps at once, its slots step by step in the order in which rows are walked, its tail for all
steps at once (see `throughtime.programs.levels`). A finished row keeps its state, and its gradient waits for its last step; a
row at the start of a piece takes the initial state of pieces, and lets nothing through to the step walked before.
"""

from __future__ import annotations

import torch

from throughtime.engines.values import (
    Values,
    begin_backward,
    begin_forward,
    finish_backward,
    fresh_steps,
    masked,
    or_zeros,
    order_of,
    real_steps,
    restart_parts,
    restart_state,
    whole_windows,
)
from throughtime.programs import levels
from throughtime.programs.calls import Batch, Gradients, Needs, Recurrence, Upstream, Walk


def forward(recurrence: Recurrence, batch: Batch, keep: bool) -> Walk:
    """Run a program over a batch; `keep`: leave what the way back needs."""
    program = recurrence.program
    _, slots, tail = levels(program)[0]
    real, fresh, order = real_steps(batch), fresh_steps(batch), order_of(batch)
    values = begin_forward(recurrence, batch)
    B = values.rows[1]
    state = [or_zeros(s, (B, v.width), values.like) for s, v in zip(batch.initial, program.state, strict=True)]
    steps: list[Values] = [values] * len(order)
    for t in order:
        if fresh is not None:
            state = [restart_state(r, s).where(fresh[t], s) for r, s in zip(restart_parts(batch, program), state)]
        steps[t] = here = values.at(t)
        here.give(program.state, state)
        here.run(slots)
        after = [here.read(w) for w in program.next]
        state = after if real is None else [a.where(real[t], s) for a, s in zip(after, state, strict=True)]
    values.gather(steps, [*(i.out for i in slots), *whole_windows(program.state)])
    values.run(tail)
    outputs = tuple(masked(values.read(w), real) for w in program.outputs)
    return Walk(outputs, tuple(s.clone() for s in state), tuple(values.read(w) for w in program.kept if keep))


def backward(recurrence: Recurrence, batch: Batch, walk: Walk, upstream: Upstream, needs: Needs) -> Gradients:
    """The gradients of what a forward call with `keep` returned."""
    program = recurrence.program
    slots = levels(program)[1].slots
    real, fresh, order = real_steps(batch), fresh_steps(batch), order_of(batch)
    values = begin_backward(recurrence, batch, walk, upstream)
    carried = program.upstream[len(program.outputs) :]
    B = values.rows[1]
    carry = [or_zeros(g, (B, v.width), values.like) for g, v in zip(upstream.final, carried, strict=True)]
    restart = [c.new_zeros(c.shape[1:]) for c in carry]
    steps: list[Values] = [values] * len(order)
    for t in reversed(order):
        steps[t] = here = values.at(t)
        here.give(carried, carry)
        here.run(slots)
        before = [
            torch.zeros_like(c) if w is None else here.read(w) for w, c in zip(program.to_state, carry, strict=True)
        ]
        carry = before if real is None else [b.where(real[t], c) for b, c in zip(before, carry, strict=True)]
        if fresh is not None:
            restart = [r + c.where(fresh[t], 0.0).sum(0) for r, c in zip(restart, carry, strict=True)]
            carry = [c.where(~fresh[t], 0.0) for c in carry]
    values.gather(steps, [*(i.out for i in slots), *whole_windows(carried)])
    return finish_backward(recurrence, batch, values, carry, restart, needs)
