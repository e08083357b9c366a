"""One cell over time, in one direction: traced to a program where it can be one, looped over where it cannot.

tensors of the cell ─ what depends on them alone, once a call ─▶ weights ─┐
x, drives, state ────────────────────────────────────────────────────────┴▶ run_program ─▶ outputs, last state
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from throughtime.core.weights import dtype_of
from throughtime.nn.cell_calls import Result, Structure, own_structure, sizes_of, split, state_of
from throughtime.nn.cell_loop import walk
from throughtime.operators import ops
from throughtime.operators.program_ops import run_program
from throughtime.tracing import CannotTraceError, Naming, Shape, Signature, Traced, trace
from throughtime.tracing.module_state import Held, all_buffers, exchanged, held, hooked, loose, settings

_OWN_FILES = (str(Path(__file__).parents[1]), str(Path(str(torch.__file__)).parent))
STATE_NAMES = {1: ("h",), 2: ("h", "c")}


class Run(NamedTuple):
    """What a cell runs over: x, then the drives, [T, B, …] each; the parts of the initial state [B, …], or None for zero."""

    inputs: tuple[Tensor, ...]
    initial: list[Tensor] | None
    lengths: Tensor | None = None
    starts: Tensor | None = None
    reverse: bool = False


class OverTime:
    """A cell's loop. What was traced is kept by what it depends on; a copy of this object starts without it."""

    def __init__(self, cell: nn.Module, state_size: Any, engine: str) -> None:
        self.cell, self.state_size, self.engine = cell, state_size, engine
        self.retrace()

    def __reduce__(self) -> tuple[Any, ...]:
        return OverTime, (self.cell, self.state_size, self.engine)

    def retrace(self) -> None:
        """Forget what was traced."""
        self.traces: dict[Any, Traced | str] = {}
        self.structures: dict[Any, tuple[Structure, list[Shape]]] = {}
        self.last: Traced | str | None = None
        self.warned = False

    # --- what the state is

    def structure(self, x: Tensor, drives: Sequence[Tensor]) -> tuple[Structure, list[Shape]]:
        """The structure and shapes of the state where none is given."""
        key = (_shape(x), *map(_shape, drives))
        if key not in self.structures:
            own = any(p.is_floating_point() for p in self.cell.parameters())
            dtype = x.dtype if not own and x.is_floating_point() else dtype_of(self.cell)
            if self.state_size is not None:
                structure, sizes = sizes_of(self.state_size)
                self.structures[key] = structure, [Shape(size, dtype) for size in sizes]
            else:
                given = [_probe(t) for t in (x, *drives)]
                buffers = all_buffers(self.cell)
                copies = [b.tensor.clone() for b in buffers]  # a look changes nothing
                with torch.no_grad(), torch.random.fork_rng(devices=[]), exchanged(buffers, copies):
                    structure, zeros = own_structure(self.cell, given[0], given[1:])
                self.structures[key] = structure, [Shape(tuple(z.shape[1:]), z.dtype) for z in zeros]
        return self.structures[key]

    # --- running

    def __call__(self, run: Run, structure: Structure, shapes: list[Shape]) -> tuple[Tensor, list[Tensor]]:
        """The outputs [T, B, …], and the last state by part."""
        parameters, buffers = held(self.cell)
        traced = self.traced(run, structure, shapes, parameters, buffers)
        if isinstance(traced, str):
            return self.loop(run, structure, shapes)
        if traced.surrogate:
            return _Surrogate.run(self, run, structure, shapes, traced, parameters, buffers)
        return self.program(run, traced, [p.tensor for p in parameters], [b.tensor for b in buffers])

    def traced(
        self, run: Run, structure: Structure, shapes: list[Shape], parameters: list[Held], buffers: list[Held]
    ) -> Traced | str:
        """The program, or why the loop has to do."""
        if self.engine == "loop":
            self.last = "asked for"
            return self.last
        first = parameters[0].tensor if parameters else run.inputs[0]
        if (hook := hooked(self.cell)) != "":
            found: Traced | str = f"{hook} has hooks"
        elif (name := loose(self.cell)) != "":
            found = f"the tensor {name} has a gradient and is no parameter; register it as one"
        elif not first.is_cpu and ops.get_engine() == "auto" and self.engine == "auto":
            found = f"no engine runs programs on {first.device}"
        else:
            key = (
                tuple(map(_shape, run.inputs)), structure, tuple(shapes), settings(self.cell),
                tuple((p.name, p.tensor.shape, p.tensor.dtype, p.tensor.requires_grad) for p in parameters),
                tuple((b.name, b.tensor.shape, b.tensor.dtype) for b in buffers),
            )  # fmt: skip
            if key not in self.traces:
                self.traces[key] = self.trace(run, structure, shapes, parameters, buffers)
            found = self.traces[key]
        self.last = found
        if isinstance(found, str):
            self.tell(found)
        return found

    def tell(self, why: str) -> None:
        """Refuse, where an engine was asked for by name; else warn, once."""
        name = type(self.cell).__name__
        asked = self.engine if self.engine != "auto" else ops.get_engine()
        if asked != "auto":
            raise CannotTraceError(f'{name} cannot run on engine "{asked}": {why}')
        if not self.warned:
            self.warned = True
            message = f"{name} runs step by step through PyTorch, slowly: {why}"
            warnings.warn(message, RuntimeWarning, stacklevel=_users_level())

    def trace(
        self, run: Run, structure: Structure, shapes: list[Shape], parameters: list[Held], buffers: list[Held]
    ) -> Traced | str:
        def step(p: Sequence[Tensor], b: Sequence[Tensor], inputs: Sequence[Tensor], state: Sequence[Tensor]) -> Any:
            with exchanged([*parameters, *buffers], [*p, *b]):
                result = split(self.cell(inputs[0], state_of(structure, state), *inputs[1:]), structure)
            return [result.output], result.parts

        count = len(shapes)
        naming = Naming(
            type(self.cell).__name__,
            _argument_names(self.cell, len(run.inputs)),
            STATE_NAMES.get(count, tuple(f"s{k}" for k in range(count))),
            tuple(p.name for p in parameters),
            tuple(b.name for b in buffers),
        )
        signature = Signature(tuple(map(_shape, run.inputs)), tuple(shapes))
        try:
            return trace(step, [p.tensor for p in parameters], [b.tensor for b in buffers], signature, naming)
        except CannotTraceError as error:
            return str(error)

    def program(
        self, run: Run, traced: Traced, parameters: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        program = traced.program
        weights = traced.weights(parameters, buffers)
        dtype = weights[0].dtype if weights else run.inputs[0].dtype
        inputs = [
            x
            if x.dim() == 2 and not x.is_floating_point()
            else _real(x.flatten(2) if x.dim() > 2 else x.unsqueeze(2), dtype)
            for x in run.inputs
        ]
        initial = [None] * len(program.state) if run.initial is None else [p.flatten(1) for p in run.initial]
        (y,), final = run_program(
            program, weights, inputs, initial, lengths=run.lengths, starts=run.starts, reverse=run.reverse
        )
        [size] = [s.size for s in traced.outputs]
        y = y if len(size) == 1 else y.unflatten(2, size) if size else y.squeeze(2)
        return y, [p if len(s.size) == 1 else p.reshape(-1, *s.size) for p, s in zip(final, traced.state, strict=True)]

    def loop(self, run: Run, structure: Structure, shapes: list[Shape]) -> tuple[Tensor, list[Tensor]]:
        x = run.inputs[0]
        initial = run.initial
        if initial is None:
            initial = [torch.zeros(x.shape[1], *s.size, dtype=s.dtype, device=x.device) for s in shapes]

        def call(inputs: Sequence[Tensor], parts: Sequence[Tensor]) -> Result:
            return split(self.cell(inputs[0], state_of(structure, parts), *inputs[1:]), structure)

        with parametrize.cached():
            return walk(call, run.inputs, initial, run.lengths, run.starts, run.reverse)


class _Surrogate(torch.autograd.Function):
    """A program whose first derivative is the user's own: higher ones are those of the cell's loop, not of its steps."""

    @staticmethod
    def run(
        over: OverTime, run: Run, structure: Structure, shapes: list[Shape], traced: Traced,
        parameters: list[Held], buffers: list[Held],
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
            return over.loop(run, structure, shapes)

        def parted(tensors: Sequence[Any]) -> tuple[list[Tensor], Run]:
            p, k = len(parameters), len(run.inputs)
            initial = None if run.initial is None else list(tensors[p + k :])
            return list(tensors[:p]), run._replace(inputs=tuple(tensors[p : p + k]), initial=initial)

        def program(tensors: Sequence[Any]) -> list[Tensor]:
            own, again = parted(tensors)
            y, final = over.program(again, traced, own, [b.tensor for b in buffers])
            return [y, *final]

        def loop(tensors: Sequence[Any]) -> list[Tensor]:
            own, again = parted(tensors)
            with exchanged(parameters, own):
                y, final = over.loop(again, structure, shapes)
            return [y, *final]

        tensors = [*(p.tensor for p in parameters), *run.inputs, *(run.initial or ())]
        y, *final = _Surrogate.apply(program, loop, *tensors)
        return y, list(final)

    @staticmethod
    def forward(ctx: Any, program: Any, loop: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        own = [t.detach().requires_grad_(need) for t, need in zip(tensors, ctx.needs_input_grad[2:], strict=True)]
        with torch.enable_grad():
            ctx.results = program(own)
        ctx.own, ctx.loop = own, loop
        ctx.save_for_backward(*tensors)
        return tuple(r.detach() for r in ctx.results)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            tensors = list(ctx.saved_tensors)
            results = ctx.loop(tensors)
        else:
            tensors, results = ctx.own, ctx.results
        wanted = [t for t in tensors if t.requires_grad]
        pairs = [(r, g) for r, g in zip(results, upstream, strict=True) if r.requires_grad]
        found = iter(
            torch.autograd.grad(
                [r for r, _ in pairs],
                wanted,
                [g for _, g in pairs],
                allow_unused=True,
                retain_graph=True,
                create_graph=torch.is_grad_enabled(),
            )
        )
        return None, None, *(next(found) if t.requires_grad else None for t in tensors)


def _users_level() -> int:
    """How many calls up, from who asks, the code of a user is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN_FILES):
        frame, level = frame.f_back, level + 1
    return level


def _shape(t: Tensor) -> Shape:
    """Of an input [T, B, …]: what a step sees of it."""
    return Shape(tuple(t.shape[2:]), t.dtype)


def _real(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t if t.dtype == dtype else t.to(dtype)


def _probe(t: Tensor) -> Tensor:
    """Two rows of numbers, shaped like a step's."""
    if not t.is_floating_point():
        return torch.zeros(2, *t.shape[2:], dtype=t.dtype, device=t.device)
    size = 2 * t[0, 0].numel()
    return torch.linspace(-1, 1, size, dtype=t.dtype, device=t.device).reshape(2, *t.shape[2:])


def _argument_names(cell: nn.Module, count: int) -> tuple[str, ...]:
    """What the cell calls x and its drives."""
    try:
        names = [n for n, p in inspect.signature(cell.forward).parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    own = [*names[:1], *names[2:]]
    return tuple((["x"] if not own else own[:1]) + [own[k] if k < len(own) else f"drive{k}" for k in range(1, count)])
