"""From any cell written in PyTorch to a program.

capture       the step and its way back as one graph of PyTorch's core operations
interpret     tensors become arrays of unit numbers (views cost nothing), operations instructions over units
simplify      cut, flatten, merge, drop
saving        what the way forward leaves for the way back, by a least cut
emit          homes and names for what is left: a `Program`
call_level    what depends on parameters alone stays with PyTorch and autograd
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from throughtime.tracing.refusal import CannotTraceError
from throughtime.tracing.signature import Naming, Shape, Signature, Step, Traced

__all__ = ["CannotTraceError", "Naming", "Shape", "Signature", "Step", "Traced", "trace"]


def trace(
    step: Step, parameters: Sequence[Tensor], buffers: Sequence[Tensor], signature: Signature, naming: Naming
) -> Traced:
    """Trace one step.

    Args:
        step: step(parameters, buffers, inputs, state) -> (outputs, parts of the new state), of rows [B, …].
        parameters, buffers: the tensors that the step reads besides; those that require gradients get them.
        signature: the shapes of the inputs (x, then the drives) and of the state's parts.
        naming: what they are called in the program.

    Raises: CannotTraceError: the step is no program; the message tells the operation, the line, and what to do instead.
    """
    from throughtime.tracing import tracer  # what it needs of PyTorch takes a second to import

    return tracer.trace(step, parameters, buffers, signature, naming)
