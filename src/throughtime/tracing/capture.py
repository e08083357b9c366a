"""A cell's step and its way back as one graph of PyTorch's core operations.

    call level   what depends on parameters and buffers alone        (it is computed once a call, and its gradient by autograd)
    rows         what depends on the inputs or the state

Where a tensor of the call level enters an operation on rows, the graph of derivatives is cut: the tensor is replaced by a leaf,
and ∂L/∂(that leaf) is asked for. So the way back ends at the matrices and vectors that the rows meet, whatever made them.

The graph is made twice, at two batch sizes, and must be the same: a step that mixes rows or counts them is refused.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor, dispatch_functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from throughtime.tracing.refusal import CannotTraceError, line_of_error, line_of_trace, refuse
from throughtime.tracing.signature import Shape, Signature, Step

aten = torch.ops.aten

BATCHES = (4099, 5003)
"""The batch sizes while tracing: primes, so that a size divisible by one is the batch, or the batch times something."""

_LOCK = threading.RLock()  # making a graph patches PyTorch for the whole process

_DECOMPOSED = [
    aten.native_layer_norm, aten.native_layer_norm_backward, aten.native_group_norm, aten.native_group_norm_backward,
    aten.var_mean, aten.linalg_vector_norm, aten.norm,
    aten._softmax, aten._softmax_backward_data, aten._log_softmax, aten._log_softmax_backward_data, aten.logsumexp,
    aten.softplus, aten.softplus_backward, aten.log_sigmoid_forward, aten.log_sigmoid_backward,
    aten.hardsigmoid, aten.hardsigmoid_backward, aten.hardswish, aten.hardswish_backward, aten.hardtanh, aten.hardtanh_backward,
    aten.gelu, aten.gelu_backward, aten.silu, aten.silu_backward, aten.mish, aten.mish_backward, aten.elu, aten.elu_backward,
    aten.leaky_relu, aten.leaky_relu_backward, aten.celu, aten.softshrink, aten.hardshrink,
    aten.rsub, aten.addcmul, aten.addcdiv, aten.lerp, aten.addmv, aten.mv, aten.dot,
    aten.slice_backward, aten.select_backward, aten.stack, aten.masked_fill, aten.square, aten.logaddexp, aten.sinc,
    aten.unsafe_split, aten.split, aten.unsafe_chunk, aten.xlogy, aten.heaviside, aten.logit, aten._prelu_kernel,
]  # fmt: skip


class Capture(NamedTuple):
    """The graph, and the nodes that play a part in it. A gradient is None where nothing depends on the tensor."""

    module: fx.GraphModule
    batch: int
    parameters: list[fx.Node]
    buffers: list[fx.Node]
    inputs: list[fx.Node]
    state: list[fx.Node]
    upstream: list[fx.Node]  # ∂L/∂ each output, then ∂L/∂ each part of the new state
    outputs: list[fx.Node]
    next: list[fx.Node]
    leaves: list[fx.Node]  # trained parameters, then the tensors where the graph of derivatives was cut
    to_leaves: list[fx.Node | None]
    to_inputs: list[fx.Node | None]
    to_state: list[fx.Node | None]
    shapes: tuple[list[Shape], list[Shape]]  # of the outputs and of the new state
    surrogate: bool  # whether a derivative is the user's own, not that of the step


def capture(
    step: Step, parameters: Sequence[Tensor], buffers: Sequence[Tensor], signature: Signature, batch: int
) -> Capture:
    """The graph of one step of so many rows.

    Raises: CannotTraceError: the step branches on values, or PyTorch cannot follow it.
    """
    with (
        _LOCK,
        temporarily_clear_interpreter_stack(),  # the call may lie within a transform, or another mode
        torch.inference_mode(False),
        torch.autocast("cpu", enabled=False),
    ):
        return _Tracing(step, parameters, buffers, signature, batch).run()


class _Tracing:
    """One graph, at one batch size."""

    def __init__(
        self, step: Step, parameters: Sequence[Tensor], buffers: Sequence[Tensor], signature: Signature, batch: int
    ) -> None:
        self.step, self.batch = step, batch
        self.trained = [p.requires_grad for p in parameters]
        self.floating = [s.dtype.is_floating_point for s in signature.inputs]
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        device = next((t.device for t in (*parameters, *buffers)), torch.device("cpu"))
        with self.fake:
            self.parameters, self.buffers = (
                [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=t.device) for t in tensors]
                for tensors in (parameters, buffers)
            )
            self.inputs, self.state = (
                [torch.empty(batch, *s.size, dtype=s.dtype, device=device) for s in shapes]
                for shapes in (signature.inputs, signature.state)
            )
        self.signature = signature

    def run(self) -> Capture:
        try:
            self.upstream = self._upstream()
            given = (self.parameters, self.buffers, self.inputs, self.state, self.upstream)
            traced = dispatch_functionalize(self._joint)
            module = make_fx(traced, decomposition_table=_decompositions(), record_stack_traces=True)(*given)
        except CannotTraceError:
            raise
        except Exception as error:
            raise _explain(error) from error
        module.graph.eliminate_dead_code()
        nodes = iter([q for q in module.graph.nodes if q.op == "placeholder"])
        roles = [[next(nodes) for _ in group] for group in given]
        [result] = next(q for q in reversed(module.graph.nodes) if q.op == "output").args
        found = iter(result)
        outputs, after, leaves, to_leaves, to_inputs, to_state = ([next(found) for _ in range(k)] for k in self.counts)
        for buffer in roles[1]:
            changed = [u for u in buffer.users if u.op == "call_function" and u.target is aten.copy_.default]
            if changed:
                raise refuse("a step that changes a buffer", instead="keep it in the state")
        given_roles = dict(zip(("parameters", "buffers", "inputs", "state", "upstream"), roles, strict=True))
        return Capture(
            module,
            self.batch,
            **given_roles,
            outputs=outputs,
            next=after,
            leaves=leaves,
            to_leaves=to_leaves,
            to_inputs=to_inputs,
            to_state=to_state,
            shapes=self.shapes,
            surrogate=self.surrogate,
        )

    def _upstream(self) -> list[Tensor]:
        """Tensors shaped like what the step returns."""
        with self.fake, torch.no_grad():
            outputs, after = self.step(self.parameters, self.buffers, self.inputs, self.state)
            found = [torch.empty_like(o) for o in (*outputs, *after)]
        for what, tensors in (("output", outputs), ("new state", after)):
            for o in tensors:
                if not o.dim() or o.shape[0] != self.batch:
                    shape = [str(k).replace(str(self.batch), "B") for k in o.shape]
                    raise refuse(f"{what}: expected the shape [B, …], found [{', '.join(shape)}]")
        for o, s in zip(after, self.signature.state, strict=True):
            if tuple(o.shape[1:]) != s.size or o.dtype != s.dtype:
                raise refuse(
                    f"new state: expected a part {[*s.size]} of {s.dtype}, found {[*o.shape[1:]]} of {o.dtype}"
                )
        shapes = [[Shape(tuple(o.shape[1:]), o.dtype) for o in tensors] for tensors in (outputs, after)]
        self.shapes = shapes[0], shapes[1]
        return found

    def _joint(
        self,
        parameters: list[Tensor],
        buffers: list[Tensor],
        inputs: list[Tensor],
        state: list[Tensor],
        upstream: list[Tensor],
    ) -> tuple[Tensor | None, ...]:
        parameters = [p.detach().requires_grad_(trained) for p, trained in zip(parameters, self.trained, strict=True)]
        inputs = [x.detach().requires_grad_(f) for x, f in zip(inputs, self.floating, strict=True)]
        state = [s.detach().requires_grad_() for s in state]
        cut = _Cut(self.batch, [*inputs, *state])
        with torch.enable_grad():
            with cut:
                outputs, after = self.step(parameters, buffers, inputs, state)
            leaves = [*(p for p in parameters if p.requires_grad), *cut.leaves]
            wanted = [*leaves, *(x for x in inputs if x.requires_grad), *state]
            pairs: dict[
                int, tuple[Tensor, Tensor]
            ] = {}  # an output may be a part of the state, too: it has both gradients
            for o, g in zip([*outputs, *after], upstream, strict=True):
                if o.requires_grad:
                    pairs[id(o)] = (o, pairs[id(o)][1] + g if id(o) in pairs else g)
            self.surrogate = any(_has_own_derivative(o) for o, _ in pairs.values())
            gradients: list[Tensor | None] = [None] * len(wanted)
            if pairs:
                reached, arriving = zip(*pairs.values(), strict=True)
                gradients = list(torch.autograd.grad(reached, wanted, arriving, allow_unused=True))
        to_leaves, rest = gradients[: len(leaves)], iter(gradients[len(leaves) :])
        to_inputs = [next(rest) if x.requires_grad else None for x in inputs]
        groups = [outputs, after, leaves, to_leaves, to_inputs, list(rest)]
        self.counts = [len(group) for group in groups]
        return tuple(t for group in groups for t in group)


class _Cut(TorchFunctionMode):
    """Cuts the graph of derivatives where tensors of the call level enter operations on rows."""

    def __init__(self, batch: int, rows: Sequence[Tensor]) -> None:
        super().__init__()
        self.batch = batch
        self.rows = {id(t): t for t in rows}  # the tensors are held, so that no id is given twice
        self.cuts: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def leaves(self) -> list[Tensor]:
        return [leaf for _, leaf in self.cuts.values()]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        if any(t.requires_grad and not isinstance(t, FunctionalTensor) for t in given):
            where = line_of_trace("".join(traceback.format_stack()))
            raise refuse("a tensor that has a gradient and is no parameter of the cell", where, "register it as one")
        name = getattr(func, "__name__", "")
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
        if not any(id(t) in self.rows for t in given):
            result = func(*args, **kwargs)
            if not any(k and k % self.batch == 0 for t in _tensors(result) for k in t.shape):
                return result
            if not any(self.is_cut(t) for t in given):
                self.rows |= {id(t): t for t in _tensors(result)}
                return result
        kept, rest = (args[:1], args[1:]) if in_place else ((), args)
        result = func(*kept, *self.cut(rest), **self.cut(kwargs))
        self.rows |= {id(t): t for t in _tensors((kept, result))}
        return result

    def is_cut(self, t: Tensor) -> bool:
        return t.requires_grad and not t.is_leaf and id(t) not in self.rows

    def cut(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            if not self.is_cut(value):
                return value
            if id(value) not in self.cuts:
                self.cuts[id(value)] = (value, value.detach().requires_grad_())
            return self.cuts[id(value)][1]
        if isinstance(value, list | tuple):
            return type(value)(map(self.cut, value)) if type(value) in (list, tuple) else value
        if isinstance(value, dict):
            return {k: self.cut(v) for k, v in value.items()}
        return value


def _tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


@lru_cache(maxsize=1)
def _decompositions() -> dict[Any, Any]:
    return dict(get_decompositions(_DECOMPOSED))


def _has_own_derivative(tensor: Tensor) -> bool:
    """Whether an `autograd.Function` lies among what a tensor was made by."""
    todo, seen = [tensor.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return True
        todo += [parent for parent, _ in node.next_functions]
    return False


def _explain(error: Exception) -> CannotTraceError:
    where = line_of_error(error)
    kind = type(error).__name__
    if "DataDependent" in kind or "Unsupported" in kind:
        return refuse("a branch on a tensor's values", where, "use torch.where, or engine='loop'")
    first = str(error).strip().split("\n")[0]
    return refuse(f"the step cannot be followed: {kind}: {first}", where)


def compare(first: Capture, second: Capture) -> None:
    """Refuse a step whose graph is another one at another batch size."""
    one, two = (list(c.module.graph.nodes) for c in (first, second))
    numbers = [{q: i for i, q in enumerate(nodes)} for nodes in (one, two)]
    for a, b in zip(one, two, strict=False):
        plain = [_plain((q.op, str(q.target), q.args, q.kwargs), c.batch, n)
                 for q, c, n in zip((a, b), (first, second), numbers, strict=True)]  # fmt: skip
        if plain[0] != plain[1]:
            raise refuse(
                "a step that depends on the number of rows",
                line_of_trace(a.stack_trace),
                "each row has to stand for itself",
            )
    if len(one) != len(two):
        raise refuse("a step that depends on the number of rows", instead="each row has to stand for itself")


def _plain(value: Any, batch: int, numbers: dict[fx.Node, int], depth: int = 0) -> Any:
    """A graph's argument in a form that can be compared between batch sizes. Only a list holds sizes, of which one may be the
    batch; as a number of its own, the batch is something to count with."""
    if isinstance(value, fx.Node):
        return ("node", numbers[value])
    if isinstance(value, list | tuple):
        return tuple(_plain(v, batch, numbers, depth + 1) for v in value)
    if isinstance(value, dict):
        return tuple((k, _plain(v, batch, numbers, depth + 1)) for k, v in value.items())
    if depth > 2 and isinstance(value, int) and not isinstance(value, bool) and value and value % batch == 0:
        return ("batch", value // batch)
    return repr(value)
