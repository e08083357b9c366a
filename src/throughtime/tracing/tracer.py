"""From a step to a program and what fills it with numbers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from throughtime.tracing.call_level import CallLevel
from throughtime.tracing.capture import BATCHES, capture, compare
from throughtime.tracing.emit import Names, emit
from throughtime.tracing.interpret import interpret
from throughtime.tracing.signature import Naming, Signature, Step, Traced
from throughtime.tracing.simplify import simplify


def trace(
    step: Step, parameters: Sequence[Tensor], buffers: Sequence[Tensor], signature: Signature, naming: Naming
) -> Traced:
    """See `throughtime.tracing.trace`."""
    captured = capture(step, parameters, buffers, signature, BATCHES[0])
    simple = simplify(interpret(captured))
    compare(captured, capture(step, parameters, buffers, signature, BATCHES[1]))
    given = dict(zip((*captured.parameters, *captured.buffers), (*naming.parameters, *naming.buffers), strict=True))
    tensors = [q.meta["val"] if "val" in q.meta else getattr(captured.module, str(q.target)) for q in simple.weights]
    names = Names(
        naming.program,
        naming.inputs,
        naming.state,
        tuple(given.get(q) or q.name for q in simple.weights),
        tuple(tuple(t.shape) for t in tensors),
    )
    trained = frozenset(simple.weights[g.weight.of] for g in simple.gradients)
    emitted = emit(simple, names)
    weights = CallLevel(captured, simple.weights, emitted, trained)
    return Traced(emitted.program, weights, *captured.shapes, captured.surrogate)
