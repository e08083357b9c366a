"""The operator that runs a program over time (see `throughtime.programs`), dispatched to an engine and known to PyTorch.

    throughtime::program            inputs, weights, initial states -> outputs, final states (and what the way back needs)
    throughtime::program_backward   ∂L/∂outputs, ∂L/∂final -> ∂L/∂ what went in, as far as it is needed

Both carry the program as its text, so that an exported graph is whole. The first derivative is the program's own way back, also
where a graph of it is kept; the second and higher ones are taken through the reference engine, from the inputs again. What is
saved beyond inputs and outputs are outputs of the operator, and nothing is saved where no gradient is wanted.

Layout (time first): inputs [T, B, width] or symbols [T, B]; outputs [T, B, width], which lie in memory like the first input;
initial, final [B, width] for each part of the state; restart [width] for each part; weights: matrices, then parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from throughtime.core.dispatch import (
    AT_ONCE,
    COMPOSITE,
    OPERATOR,
    TRACED,
    has_changed,
    one_by_one,
    saved_apart,
    set_aside,
    untraceable,
    untransformed,
    unwatched,
    way,
)
from throughtime.core.layout import laid_out_like, new_like
from throughtime.engines import native_program, reference_program
from throughtime.operators import ops
from throughtime.programs import Program, parse
from throughtime.programs.calls import Batch, Gradients, Needs, Recurrence, Upstream, Walk
from throughtime.programs.program import Product

ENGINES = {ops.reference: reference_program, ops.native: native_program}
"""The engine of programs beside each engine of the Elman recurrence."""

_library = torch.library.Library("throughtime", "FRAGMENT")
_library.define(
    "program(str text, Tensor[] inputs, Tensor[] weights, Tensor?[] initial, Tensor?[] restart, Tensor? lengths,"
    " Tensor? starts, bool reverse, bool keep) -> Tensor[]"
)
_library.define(
    "program_backward(str text, Tensor[] inputs, Tensor[] weights, Tensor?[] initial, Tensor?[] restart, Tensor? lengths,"
    " Tensor? starts, bool reverse, Tensor[] outputs, Tensor[] kept, Tensor?[] doutputs, Tensor?[] dfinal, bool[] needs)"
    " -> Tensor[]"
)
_program = torch.ops.throughtime.program.default
_program_backward = torch.ops.throughtime.program_backward.default


def run_program(
    program: Program,
    weights: Sequence[Tensor],
    inputs: Sequence[Tensor],
    initial: Sequence[Tensor | None],
    *,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
    restart: Sequence[Tensor | None] = (),
    reverse: bool = False,
    stacked: bool = False,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A program's outputs at every step and its state after the last one; differentiable any number of times.

    Args:
        program: what runs at each step.
        weights: its matrices, then its parameters, in its order; all of one dtype.
        inputs: [T, B, width] each; the first may be integer symbols [T, B].
        initial: the state before the first step walked, [B, width] for each part; zero where None.
        lengths: int64 [B] on the CPU, each in 1..T, or None. Later steps are padding: zero in the outputs, not read in inputs.
        starts: bool [T, B], or None: the first steps, in time, of pieces that know nothing of what lies before them.
        restart: the state that a piece starts from, [width] for each part; zero where None or left out. `initial` belongs to
            the piece walked first, unless `starts` marks its first step.
        reverse: walk each row from its last step to its first.
        stacked: whether the last states have a leading dimension of 1, as a layer's have: no views, which could not be cut from
            the graph in place.

    Returns: the outputs, [T, B, width] each, and each row's last state, [B, width] ([1, B, width] where stacked) for each part.

    Which way a call takes is told in `dispatch`.

    Raises: RuntimeError: within torch.jit.trace.
    """
    recurrence = Recurrence(program, tuple(weights))
    batch = Batch(tuple(inputs), tuple(initial), lengths, starts, tuple(restart), reverse)
    tensors = _tensors(recurrence, batch)
    chosen = way(tensors)
    if chosen is TRACED:
        raise untraceable()
    if chosen is COMPOSITE:
        outputs, final, _ = reference_program.forward(recurrence, batch, False)
    elif chosen is OPERATOR or torch._C._is_any_autocast_enabled():
        restart = restart or (None,) * len(program.state)  # AOTInductor makes None of an empty list
        found = _program(program.text, batch.inputs, weights, batch.initial, restart, lengths, starts, reverse, False)
        outputs, final = _parted(found, len(program.outputs), len(program.next))
    elif torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        found = _apply_program(_Call(recurrence, batch), True, False, stacked, *tensors)
        outputs, final = _parted(found, len(program.outputs), len(program.next))
        return outputs, final
    else:
        outputs, final, _ = _engine(recurrence, batch).forward(recurrence, batch, False)
    return tuple(outputs), tuple(torch.stack((part,)) for part in final) if stacked else tuple(final)


def _engine(recurrence: Recurrence, batch: Batch) -> ModuleType:
    """The engine for a batch; the reference for an empty one, which leaves nothing to be fast at."""
    if not batch.inputs[0].numel():
        return reference_program
    if ops.get_engine() == "triton":
        return import_module("throughtime.engines.triton")  # on request alone: Triton takes a second to import
    return ENGINES[ops.engine_for(recurrence.weights[0] if recurrence.weights else batch.inputs[0])]


def _tensors(recurrence: Recurrence, batch: Batch) -> tuple[Tensor | None, ...]:
    """Everything that has a gradient, in the order of `Needs` and `Gradients`."""
    return *batch.inputs, *recurrence.weights, *batch.initial, *batch.restart


def _parted(values: Sequence[Any], *counts: int) -> list[tuple[Any, ...]]:
    """The first, the next … of `values`, as many as each count says."""
    parts, first = [], 0
    for count in counts:
        parts.append(tuple(values[first : first + count]))
        first += count
    return parts


class _Call(NamedTuple):
    """What ran, put together again from a list of tensors in the order of `_tensors`."""

    recurrence: Recurrence
    batch: Batch

    @classmethod
    def of(
        cls, program: Program, lengths: Tensor | None, starts: Tensor | None, reverse: bool, tensors: Sequence[Any]
    ) -> _Call:
        inputs, weights, initial, restart = _parted(tensors, *_counts(program), len(program.state))
        return cls(Recurrence(program, weights), Batch(inputs, initial, lengths, starts, restart, reverse))

    def arguments(self) -> tuple[Any, ...]:
        """The arguments that both operators begin with."""
        (program, weights), batch = self
        return (
            program.text, batch.inputs, weights, batch.initial, batch.restart, batch.lengths, batch.starts, batch.reverse,
        )  # fmt: skip


def _counts(program: Program) -> tuple[int, int, int]:
    """How many inputs, weights and parts of the state."""
    return len(program.inputs), len(program.matrices) + len(program.parameters), len(program.state)


def _aside(program: Program) -> tuple[int, int]:
    """Where the parameters that the way back does not read begin and end among `_tensors`."""
    last = len(program.inputs) + len(program.matrices) + len(program.parameters)
    return last - program.forward_parameters, last


def _needs(program: Program, flags: Sequence[bool]) -> Needs:
    return Needs(*_parted(flags, *_counts(program), len(program.state)))


def _all_gradients(found: Gradients) -> tuple[Tensor | None, ...]:
    return *found.inputs, *found.weights, *found.initial, *found.restart


class _Program(torch.autograd.Function):
    """A program's run as autograd sees it: outputs and final states, `stacked` as those of `run_program`; with `keep`, what it
    saved comes after them. The way back runs on the engine of the way there, whichever has been chosen since."""

    @staticmethod
    def forward(ctx, call, at_once, keep, stacked, *tensors):
        (program, _), batch = call
        ctx.engine = engine = _engine(*call) if at_once else None
        if engine is not None:
            outputs, final, kept = engine.forward(*call, True)
            outputs, final = _unaliased(outputs), _unaliased(final)
            if stacked:
                final = tuple(part.resize_(1, *part.shape) for part in final)  # no view, and quicker than torch.stack
        else:
            with ops._below_autograd():
                found = _program(*call.arguments(), True)
            outputs, final, kept = _parted(found, len(program.outputs), len(program.next), len(program.kept))
        ctx.program, ctx.reverse, ctx.stacked, ctx.count = program, batch.reverse, stacked, len(tensors)
        # Saved apart from what is returned, which may be changed in place: then it is computed anew.
        ctx.counts, apart = saved_apart((*outputs, *kept) if keep else outputs)
        series = apart if keep else (*apart, *kept)
        first, last = _aside(program)
        ctx.aside = set_aside(*tensors[first:last])
        ctx.save_for_backward(batch.lengths, batch.starts, *tensors[:first], *tensors[last:], *series)
        ctx.set_materialize_grads(False)
        if not keep:
            return *outputs, *final
        ctx.mark_non_differentiable(*kept)
        return *outputs, *final, *kept

    @staticmethod
    def backward(ctx, *upstream):
        program, flags = ctx.program, ctx.needs_input_grad[4:]
        lengths, starts, *saved = ctx.saved_tensors
        first, _ = _aside(program)
        saved[first:first] = ctx.aside.tensors
        tensors, series = saved[: ctx.count], saved[ctx.count :]
        call = _Call.of(program, lengths, starts, ctx.reverse, tensors)
        outputs, kept = _parted(series, len(program.outputs), len(program.kept))
        up = Upstream(*_parted(upstream, len(program.outputs), len(program.next)))
        if ctx.stacked:
            up = up._replace(final=tuple(None if part is None else part[0] for part in up.final))
        chosen = way((*upstream, *saved))
        if chosen is COMPOSITE:
            found = one_by_one(partial(_Program.backward, ctx), upstream, saved)
            if found is not None:
                return found
        if chosen in (COMPOSITE, TRACED):  # the program's own way back, in PyTorch's operations
            ctx.aside.unchanged()
            walk = reference_program.forward(*call, True)
            found = reference_program.backward(*call, walk, up, _needs(program, flags))
            return None, None, None, None, *_all_gradients(found)
        if has_changed(ctx.counts):
            ctx.aside.unchanged()
            with torch.no_grad():
                outputs, _, kept = (ctx.engine or _engine(*call)).forward(*call, True)
        if chosen is AT_ONCE and not torch.is_grad_enabled():
            needs = _needs(program, flags)
            found = (ctx.engine or _engine(*call)).backward(*call, Walk(outputs, (), kept), up, needs)
            return None, None, None, None, *_all_gradients(found)
        if torch.is_grad_enabled():
            ctx.aside.unchanged()
        found = iter(_program_backward(*call.arguments(), outputs, kept, *up, flags))
        return None, None, None, None, *(next(found) if need else None for need in flags)


_apply_program: Any = untransformed(_Program)


class _ProgramBackward(torch.autograd.Function):
    """The derivative of the way back: autograd through the reference's walk in both directions, from the inputs again."""

    @staticmethod
    def forward(ctx, program, lengths, starts, reverse, needs, count, *tensors):
        *both, outputs, kept, doutputs, dfinal = _parted(
            tensors, count, len(program.outputs), len(program.kept), len(program.outputs), len(program.next)
        )
        call = _Call.of(program, lengths, starts, reverse, both[0])
        with ops._below_autograd():
            found = _program_backward(*call.arguments(), outputs, kept, doutputs, dfinal, needs)
        ctx.program, ctx.reverse, ctx.needs, ctx.count = program, reverse, needs, count
        ctx.save_for_backward(lengths, starts, *both[0], *doutputs, *dfinal)
        return tuple(found)

    @staticmethod
    def backward(ctx, *upstream):
        program, count = ctx.program, ctx.count
        lengths, starts, *saved = ctx.saved_tensors
        held = len(program.outputs) + len(program.kept)
        flags = ctx.needs_input_grad[6:]
        flags = [*flags[:count], *flags[count + held :]]
        wanted = [i for i, need in enumerate(flags) if need]
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # A node of its own for each input, so that a path from one to another is not followed here: autograd will follow
            # it. With create_graph the history stays attached behind those nodes.
            own = [
                None if t is None else t.view_as(t) if create_graph else t.detach().requires_grad_(i in wanted)
                for i, t in enumerate(saved)
            ]
            call = _Call.of(program, lengths, starts, ctx.reverse, own[:count])
            up = Upstream(*_parted(own[count:], len(program.outputs), len(program.next)))
            walk = reference_program.forward(*call, True)
            found = reference_program.backward(*call, walk, up, _needs(program, ctx.needs))
            needed = [g for g in _all_gradients(found) if g is not None]
            pairs = [(g, u) for g, u in zip(needed, upstream, strict=True) if u is not None and g.requires_grad]
            by_input = torch.autograd.grad(
                [g for g, _ in pairs],
                [own[i] for i in wanted],  # type: ignore[arg-type]
                [u for _, u in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
        grads: list[Tensor | None] = [None] * len(flags)
        for i, g in zip(wanted, by_input, strict=True):
            grads[i] = g
        return *(None,) * 6, *grads[:count], *(None,) * held, *grads[count:]


# --- what the operators do by dispatch key ------------------------------------------------------------------------------------


def _own(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Outputs of an operator: none of them is another's memory."""
    return [t.clone() if any(t is other for other in tensors[:i]) else t for i, t in enumerate(tensors)]


def _unaliased(results: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Results that are views of nothing, so that they may be changed and detached in place."""
    return tuple(t.clone(memory_format=torch.contiguous_format) if t._is_view() else t for t in results)


def _forward(text, inputs, weights, initial, restart, lengths, starts, reverse, keep):
    recurrence = Recurrence(parse(text), tuple(weights))
    batch = Batch(tuple(inputs), tuple(initial), lengths, starts, tuple(restart), reverse)
    outputs, final, kept = _engine(recurrence, batch).forward(recurrence, batch, keep)
    outputs = [laid_out_like(inputs[0], o) for o in outputs]
    return _own([*outputs, *(t.contiguous() for t in final), *(t.contiguous() for t in kept)])


def _backward(
    text, inputs, weights, initial, restart, lengths, starts, reverse, outputs, kept, doutputs, dfinal, needs
):
    program = parse(text)
    call = _Call.of(program, lengths, starts, reverse, (*inputs, *weights, *initial, *restart))
    walk, up = Walk(tuple(outputs), (), tuple(kept)), Upstream(tuple(doutputs), tuple(dfinal))
    found = _engine(*call).backward(*call, walk, up, _needs(program, needs))
    to_inputs = [laid_out_like(x, dx) for x, dx in zip(inputs, found.inputs) if dx is not None]
    others = (*found.weights, *found.initial, *found.restart)
    return _own([*to_inputs, *(g.contiguous() for g in others if g is not None)])


def _shapes(text, inputs, weights, initial, restart, lengths, starts, reverse, keep):
    program, x = parse(text), inputs[0]
    like = weights[0] if weights else x
    T, B = x.shape[:2]
    outputs = [new_like(x, like, w.width) for w in program.outputs]
    final = [like.new_empty(B, w.width) for w in program.next]
    return [*outputs, *final, *(like.new_empty(T, B, w.width) for w in program.kept if keep)]


def _backward_shapes(
    text, inputs, weights, initial, restart, lengths, starts, reverse, outputs, kept, doutputs, dfinal, needs
):
    program = parse(text)
    like = weights[0] if weights else inputs[0]
    B = inputs[0].shape[1]
    to_inputs, to_weights, to_initial, to_restart = _needs(program, needs)
    return [
        *(new_like(x, like, v.width) for x, v, need in zip(inputs, program.inputs, to_inputs, strict=True) if need),
        *(w.new_empty(w.shape) for w, need in zip(weights, to_weights, strict=True) if need),
        *(like.new_empty(B, v.width) for v, need in zip(program.state, to_initial, strict=True) if need),
        *(like.new_empty(v.width) for v, need in zip(program.state, to_restart) if need),
    ]


def _flops(text, input_shapes, *_args, **_kwargs) -> int:
    """2 for each weight and step, as for PyTorch's products; a symbol's column costs none."""
    program, (T, B, *width) = parse(text), input_shapes[0]
    symbols = () if width else (program.inputs[0].name,)
    terms = (term for i in program.forward if isinstance(i, Product) for term in i.terms)
    return 2 * T * B * sum(t.block.rows * t.block.columns for t in terms if t.vector.vector not in symbols)


def _backward_flops(
    text,
    input_shapes,
    weights,
    initial,
    restart,
    lengths,
    starts,
    reverse,
    outputs,
    kept,
    doutputs,
    dfinal,
    needs,
    **_kwargs,
) -> int:
    """The same of the way back, for the gradients that are needed."""
    program, (T, B, *width) = parse(text), input_shapes[0]
    to_inputs, to_weights, *_ = _needs(program, needs)
    unneeded = {w.vector for w, need in zip(program.to_inputs, to_inputs, strict=True) if w is not None and not need}
    products = (i for i in program.backward if isinstance(i, Product) and i.out.vector not in unneeded)
    blocks = [term.block for i in products for term in i.terms]
    needed = {m.name for m, need in zip(program.matrices, to_weights) if need}
    symbols = () if width else (program.inputs[0].name,)
    blocks += [c.block for c in program.contractions if c.block.matrix in needed and c.vector.vector not in symbols]
    return 2 * T * B * sum(block.rows * block.columns for block in blocks)


def _with_autograd(text, inputs, weights, initial, restart, lengths, starts, reverse, keep):
    tensors = (*inputs, *weights, *initial, *restart)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        call = _Call.of(parse(text), lengths, starts, reverse, tensors)
        return list(_Program.apply(call, unwatched(), keep, False, *tensors))
    with ops._below_autograd():
        return _program(text, inputs, weights, initial, restart, lengths, starts, reverse, keep)


def _backward_with_autograd(
    text, inputs, weights, initial, restart, lengths, starts, reverse, outputs, kept, doutputs, dfinal, needs
):
    tensors = (*inputs, *weights, *initial, *restart)
    program = parse(text)
    found = _ProgramBackward.apply(
        program, lengths, starts, reverse, needs, len(tensors), *tensors, *outputs, *kept, *doutputs, *dfinal
    )
    return list(found)


_library.impl("program", _forward, "CompositeExplicitAutograd")
_library.impl("program_backward", _backward, "CompositeExplicitAutograd")
_library.impl("program", _with_autograd, "Autograd")
_library.impl("program_backward", _backward_with_autograd, "Autograd")
torch.library.register_fake("throughtime::program", _shapes, lib=_library)
torch.library.register_fake("throughtime::program_backward", _backward_shapes, lib=_library)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("throughtime::program", _device, torch.float32, lib=_library)
register_flop_formula(torch.ops.throughtime.program)(_flops)
register_flop_formula(torch.ops.throughtime.program_backward)(_backward_flops)
