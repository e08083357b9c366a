"""Which way a call of the library's operators takes, and the way back that serves them all. Nothing here knows a cell.

    at once      plain tensors, and nobody has to see the operator: an engine, within one autograd.Function
    operator     through PyTorch's dispatcher: for compilers and exporters, modes (of fake tensors, of FLOP counters), profilers
    composite    the reference's operations, which are PyTorch's own: for the transforms of torch.func, forward mode, batched
                 gradients (but for the first derivative, see `one_by_one`) and wrapper subclasses (DTensor, MaskedTensor,
                 TwoTensor …), all of which know them
    traced       what torch.jit.trace and the exporter that builds on it can keep

The two trips through PyTorch's dispatcher, forward and back, are half of what a small call costs; hence the first way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

AT_ONCE, OPERATOR, COMPOSITE, TRACED = "at once", "operator", "composite", "traced"

_OF_NO_SUBCLASS = frozenset((Tensor, torch.nn.Parameter, type(None))).issuperset
_transformed = torch._C._are_functorch_transforms_active
tracing = torch._C._get_tracing_state
"""What torch.jit.trace records to while it runs."""
_modes = torch._C._len_torch_dispatch_stack
_profiled = torch._C._autograd._profiler_enabled  # type: ignore[attr-defined]
_wrap, _unwrap = torch._add_batch_dim, torch._remove_batch_dim  # type: ignore[reportPrivateImportUsage]
_BATCHED = torch._C._dispatch_key_parse("Batched")
_enter_batching, _leave_batching = torch._C._vmapmode_increment_nesting, torch._C._vmapmode_decrement_nesting


def way(tensors: Iterable[Tensor | None]) -> str:
    """The way of a call of these tensors (None is passed over): AT_ONCE, OPERATOR, COMPOSITE or TRACED."""
    if unwatched():
        if forward_ad._current_level >= 0:
            return COMPOSITE
        if _OF_NO_SUBCLASS(map(type, tensors)):
            return AT_ONCE
        return COMPOSITE if any(map(_is_wrapper, tensors)) else OPERATOR
    if _transformed():
        return COMPOSITE
    if torch.compiler.is_compiling():
        return OPERATOR
    if tracing():
        return TRACED
    return COMPOSITE if forward_ad._current_level >= 0 or _batching() else OPERATOR


def unwatched() -> bool:
    """Whether no tracer, transform, mode or profiler has to see the operator."""
    return not (torch.compiler.is_compiling() or _transformed() or _modes() or _batching() or tracing() or _profiled())


def readable(t: Tensor) -> bool:
    """Whether a check may look at the values of a tensor: there are values, the same at every later run of what is being
    recorded now."""
    if torch.compiler.is_compiling() or _transformed() or _modes() or _batching() or tracing():
        return False
    return type(t) is Tensor and (t.is_cpu or not _without_values(t))


def _without_values(t: Tensor) -> bool:
    return t.is_meta or (t.is_cuda and torch.cuda.is_current_stream_capturing())


def _batching() -> bool:
    """Whether PyTorch computes batched gradients: it then calls with tensors that look plain and have no memory, and nothing
    but the level of their nesting tells. (`is_grads_batched` and `vectorize=True` do not use torch.func.)"""
    level = _enter_batching()
    _leave_batching()
    return level > 1


def _is_wrapper(t: Tensor | None) -> bool:
    """Whether a tensor consists of other tensors, which only PyTorch's operations find."""
    return t is not None and torch._C._dispatch_keys(t).has(torch._C.DispatchKey.Python)


def untraceable() -> RuntimeError:
    """What a call is refused with that `torch.jit.trace` cannot keep."""
    return RuntimeError(
        "torch.jit.trace and torch.onnx.export(dynamo=False) would keep the number of steps of their example: "
        "expected torch.export or throughtime.export"
    )


def one_by_one(
    back: Callable[..., Sequence[Any]], upstream: Sequence[Any], saved: Sequence[Any]
) -> tuple[Any, ...] | None:
    """A way back for batched upstream gradients, by the engine: `back(*upstream)` of each of the N, which an engine takes at
    once, sooner than any batch of PyTorch's operations. The same bits as a loop over them.

    Returns: the results, batched as the upstream gradients are; None where something else is batched, or recorded too.
    """
    level = _enter_batching() - 1
    _leave_batching()
    special = torch.is_grad_enabled() or _transformed() or _modes() or tracing() or forward_ad._current_level >= 0
    if level != 1 or special or any(map(_is_batched, saved)):
        return None
    batched = [_is_batched(t) for t in upstream]
    plain = [_unwrap(t, level, 1, 0) if own else t for t, own in zip(upstream, batched, strict=True)]
    count = max((len(t) for t, own in zip(plain, batched, strict=True) if own), default=0)
    _leave_batching()
    try:
        found = [back(*(t[i] if own else t for t, own in zip(plain, batched, strict=True))) for i in range(count)]
    finally:
        _enter_batching()
    if not found:
        return None
    return tuple(None if own[0] is None else _wrap(torch.stack(own), 0, level) for own in zip(*found, strict=True))


def _is_batched(t: Any) -> bool:
    """Whether a tensor is one of those of `_batching`."""
    return isinstance(t, Tensor) and torch._C._dispatch_keys(t).has(_BATCHED)


def untransformed(function: type[torch.autograd.Function]) -> Any:
    """`function.apply` for where no transform of `torch.func` is active. Function.apply itself prepares for them, at a tenth of
    the cost of a small call."""
    return super(torch.autograd.Function, function).apply  # type: ignore[misc]


def saved_apart(outputs: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[Tensor]]:
    """How a way back can save its own outputs where these may be changed in place.

    Returns: for each output a tensor, of no memory, that shares its count of changes and goes on to do so: `_version` is 0 as
    long as there was none; and what to save, the same memory with a count of its own. Of tensors of another class, such as a
    compiler's, no counts and the outputs.
    """
    if type(outputs[0]) is not Tensor:
        return [], outputs
    counts, apart = [], []
    known = not _modes()  # a mode may not know what follows
    for t in outputs:
        count = t.detach()
        if known:
            count.data = _NOTHING if t.is_cpu else t.new_empty(0)
        counts.append(count)
        apart.append(t.data)
    return counts, apart


def has_changed(counts: Sequence[Tensor]) -> bool:
    """Whether one of the outputs of `saved_apart` has been changed in place since."""
    return any(count._version for count in counts)


class Aside(NamedTuple):
    """Arguments that the first derivative does not read, such as biases: they may be changed in place before it, as torch.nn's,
    for autograd does not save them. What computes the outputs anew needs them as they were."""

    tensors: tuple[Tensor | None, ...]
    versions: list[int]

    def unchanged(self) -> tuple[Tensor | None, ...]:
        """The tensors. Raises: RuntimeError: one was changed since."""
        if self.versions != _versions(self.tensors):
            raise RuntimeError(
                "a bias that was needed to compute the outputs anew has been modified by an inplace operation: the way back "
                "needs it for second derivatives, batched ones, and where an output was changed, too"
            )
        return self.tensors


def set_aside(*tensors: Tensor | None) -> Aside:
    """Tensors with their counts of changes."""
    return Aside(tensors, _versions(tensors))


def _versions(tensors: Sequence[Tensor | None]) -> list[int]:
    return [t._version for t in tensors if t is not None]


_NOTHING = torch.empty(0)


def derivatives(
    run: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Any],
    needs: Sequence[bool],
    upstream: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients of `run(*inputs)`, computed anew under autograd: right for every upstream gradient (batched, dual, of any
    class) and, with create_graph=True, for every order.

    Args:
        run: of PyTorch's differentiable operations.
        inputs: its arguments, tensors and others.
        needs: for each argument, whether its gradient is asked for.
        upstream: what reaches each result; None for nothing.

    Returns: a gradient for each argument that needs one and is reached, else None.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # A node of its own for each input, so that a path from one to another is not followed here: autograd will follow it.
        # With create_graph the history stays attached behind those nodes.
        nodes = [
            (t.view_as(t) if create_graph else t.detach().requires_grad_()) if need else t
            for t, need in zip(inputs, needs, strict=True)
        ]
        reached = [(r, up) for r, up in zip(run(*nodes), upstream, strict=True) if up is not None]
        found = iter(
            torch.autograd.grad(
                [r for r, _ in reached],
                [t for t, need in zip(nodes, needs, strict=True) if need],
                [up for _, up in reached],
                create_graph=create_graph,
                allow_unused=True,
            )
        )
    return [next(found) if need else None for need in needs]
