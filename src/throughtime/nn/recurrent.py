"""`Recurrent`: the loop of any cell over time, compiled.

A cell is a module of one step, `forward(x_t, state, *drives) -> new state`, or `(output, new state)`. The layer traces it once
to a program (`throughtime.tracing`), which the compiled sweep runs forward and back; what cannot be one runs step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime.core.dispatch import tracing, untraceable
from throughtime.core.notation import check_choice, check_lengths, check_positive, check_size, check_starts
from throughtime.nn.cell_calls import parts_of, split, state_of, structure_of
from throughtime.nn.over_time import OverTime, Run
from throughtime.programs import Program
from throughtime.tracing import Shape, Traced
from throughtime.tracing.module_state import held

ENGINES = ("auto", "program", "loop")


class Recurrent(nn.Module):
    """Any cell over sequences, in stacks and both directions: exact, and as fast as the built-in layers.

    A cell is any module with `forward(x_t, state, *drives)`: x_t [B, …], a state that is a tensor [B, …] or a tuple of states.
    It returns the new state, whose first part is then the output, as torch.nn's cells do, or a pair (output, new state).

    The cell is traced once for all batch sizes, lengths and values of its parameters, and again when shapes, dtypes, flags or
    other plain attributes of it change. Noise and masks come as drives. What cannot run in the compiled sweep (a branch on
    values, random numbers drawn inside a step, a sum over the batch) runs step by step under autograd, and says so once.

    Args:
        cell: the cell; or, for stacks and both directions, a function that makes one for inputs of a given size.
        input_size: n, the size of an input [B, n]; only with a function.
        num_layers: recurrences on top of each other; each reads the outputs of the one below.
        bidirectional: whether each layer also walks the sequences from their ends, as a second half of its outputs.
        dropout: probability of zeroing each output between two layers while training.
        batch_first: whether input and output are [B, T, …] rather than [T, B, …]; states never are.
        state_size: the state's size, for a cell that cannot be called without a state: an int d for [B, d], a list of ints for
            a part of several axes, a tuple of those for a tuple. Found out by calling the cell where None.
        engine: "auto", the compiled sweep or else, with a warning, the cell's own loop; "program", an error where the cell is
            none; "loop", the cell's own loop.

    Attributes:
        cell: the very cell that was given; `cells` where a function was: layer by layer, forward before backward.

    Raises: TypeError, ValueError: arguments of the wrong kind or value.
    """

    def __init__(
        self,
        cell: nn.Module | Callable[[int], nn.Module],
        input_size: int | None = None,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        state_size: Any = None,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.num_layers = check_positive("num_layers", num_layers)
        check_choice("engine", engine, ENGINES)
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout: expected a probability, found {dropout!r}")
        self.bidirectional, self.dropout, self.batch_first = bool(bidirectional), float(dropout), batch_first
        self.state_size, self._wanted = state_size, engine
        if isinstance(cell, nn.Module):
            if num_layers != 1 or bidirectional or input_size is not None:
                raise TypeError(
                    "cell: expected a function that makes cells for num_layers, bidirectional or input_size, found one cell"
                )
            self.cell = cell
            made = [cell]
        else:
            if not callable(cell):
                raise TypeError(f"cell: expected a module or a function that makes one, found {type(cell).__name__}")
            made = self._make(cell, check_size("input_size", input_size))
            self.cells = nn.ModuleList(made)
        self._loops = [OverTime(c, state_size, engine) for c in made]

    def _make(self, factory: Callable[[int], nn.Module], n: int) -> list[nn.Module]:
        """The cells of all layers and directions; each layer's inputs are the outputs below."""
        made: list[nn.Module] = []
        for _ in range(self.num_layers):
            layer = [factory(n) for _ in range(1 + self.bidirectional)]
            if any(other is cell for k, cell in enumerate(layer) for other in (*made, *layer[:k])):
                raise ValueError("cell: expected a new cell for every layer and direction, found the same one twice")
            made += layer
            if len(made) < self.num_layers * len(layer):
                n = sum(self._width(cell, n) for cell in layer)
        return made

    def _width(self, cell: nn.Module, n: int) -> int:
        loop = OverTime(cell, self.state_size, "loop")
        p = next(cell.parameters(), torch.empty(0))
        x = torch.zeros(1, 2, n, dtype=p.dtype, device=p.device)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            y, _ = loop(Run((x,), None), *loop.structure(x, ()))
        return y.shape[-1]

    # --- what runs

    @property
    def engine(self) -> str:
        """Who runs the cells, and why: after a call, as that one went."""
        told = []
        for loop in self._loops:
            if loop.last is None:
                told.append(f"{self._wanted}: not run yet")
            elif isinstance(loop.last, Traced):
                told.append("program")
            else:
                told.append(f"loop: {loop.last}")
        return "; ".join(dict.fromkeys(told))

    @property
    def program(self) -> Program:
        """The program that the last call ran (that of the first layer, of a stack).

        Raises: RuntimeError: no call yet, or the cell is no program.
        """
        return self.recurrences()[0][0]

    def recurrences(self) -> list[tuple[Program, tuple[Tensor, ...]]]:
        """The program of every layer and direction as the last call ran it, and its weights in the program's order: what the
        cells' tensors give before any step.

        Raises: RuntimeError: no call yet, or a cell that is no program.
        """
        found = []
        for loop in self._loops:
            if not isinstance(loop.last, Traced):
                raise RuntimeError("no program: " + (loop.last or "the layer has not run yet"))
            parameters, buffers = held(loop.cell)
            weights = loop.last.weights([p.tensor for p in parameters], [b.tensor for b in buffers])
            found.append((loop.last.program, weights))
        return found

    def __prepare_scriptable__(self) -> Any:
        """What torch.jit.script calls."""
        raise RuntimeError(
            "torch.jit.script: throughtime.nn.Recurrent is not written in TorchScript; torch.compile and torch.export take it"
        )

    def retrace(self) -> None:
        """Trace anew at the next call: for changes that cannot be seen, within objects that the cell holds."""
        for loop in self._loops:
            loop.retrace()

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
        drives: Sequence[Tensor] = (),
    ) -> tuple[Any, Any]:
        """Run the cells over sequences.

        Args:
            x: [T, B, …] ([B, T, …] with `batch_first`), a `PackedSequence`, or symbols [T, B] for a cell that embeds them.
            state: the state before the first step walked, [B, …] by part; a list of them for a stack. Zero where None.
            lengths: [B], each in 1..T: later steps are padding, which is not read, and whose outputs are zero.
            starts: bool [T, B] ([B, T] with `batch_first`): the first steps, in time, of pieces that know nothing of what lies
                before them. Not with a `PackedSequence`.
            drives: further inputs of every step, laid out as x (an axis of T may have stride 0: one mask a sequence).

        Returns: the outputs, [T, B, …], and the last state: of the cell's structure, or a list of those for a stack.

        Raises: RuntimeError, TypeError, ValueError: a wrong shape, dtype or length, or a cell that returns something else.
        """
        if tracing():
            raise untraceable()
        if isinstance(x, PackedSequence):
            return self._over_packed(x, state, lengths, starts, drives)
        if x.dim() < 2:
            raise ValueError(f"x: expected [T, B, …], found {list(x.shape)}")
        if self.batch_first:
            x, drives = x.transpose(0, 1), [d.transpose(0, 1) for d in drives]
            starts = None if starts is None else starts.T
        over = self._uncompiled if torch.compiler.is_compiling() else self._over
        y, last = over(x, state, lengths, starts, drives)
        return y.transpose(0, 1) if self.batch_first else y, last

    def _over_packed(
        self, packed: PackedSequence, state: Any, lengths: Any, starts: Any, drives: Any
    ) -> tuple[Any, Any]:
        for name, given in (("lengths", lengths), ("starts", starts), ("drives", drives or None)):
            if given is not None:
                raise ValueError(f"{name}: expected None with a PackedSequence, found {type(given).__name__}")
        x, steps = pad_packed_sequence(packed)
        y, last = self._over(x, state, steps, None, ())
        if packed.sorted_indices is not None:
            y = y.index_select(1, packed.sorted_indices)
        data = torch.cat([y[t, :b] for t, b in enumerate(packed.batch_sizes.tolist())])
        return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices), last

    def _uncompiled(self, *arguments: Any) -> Any:
        """`_over`, out of a graph that torch.compile makes."""
        import torch._dynamo  # slow to import, and there already where anything compiles

        return torch._dynamo.disable(self._over)(*arguments)

    _uncompiled._torchdynamo_disable = True  # type: ignore[attr-defined]

    def _over(
        self, x: Tensor, state: Any, lengths: Tensor | None, starts: Tensor | None, drives: Sequence[Tensor]
    ) -> tuple[Tensor, Any]:
        T, B = x.shape[:2]
        if T == 0:
            raise RuntimeError("x: expected at least one step, found T = 0")
        lengths = check_lengths(lengths, B, T)
        if starts is not None:
            check_starts(starts, (T, B), False)
        for k, drive in enumerate(drives):
            if drive.shape[:2] != (T, B):
                raise ValueError(f"drives[{k}]: expected [T={T}, B={B}, …], found {list(drive.shape)}")
        one = hasattr(self, "cell")
        states = [state] if one else [None] * len(self._loops) if state is None else list(state)
        if len(states) != len(self._loops):
            raise ValueError(f"state: expected a list of {len(self._loops)}, found {len(states)}")
        finals, outputs = [], [x]
        for i, loop in enumerate(self._loops):
            reverse = self.bidirectional and i % 2 == 1
            if not reverse:
                x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
                x = F.dropout(x, self.dropout, self.training) if i else x
                outputs = []
            y, last = _run(loop, Run((x, *drives), None, lengths, starts, reverse), states[i])
            outputs.append(y)
            finals.append(last)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1), finals[0] if one else finals

    def step(self, x: Tensor, state: Any = None, *drives: Tensor) -> tuple[Tensor, Any]:
        """One step, without gradients, as for a stream: what the next step of the sequence is.

        Args:
            x: [B, …]. state: as for a call, or as the step before returned it; zero where None. drives: [B, …] each.

        Returns: the output [B, …], and the new state.

        Raises: ValueError: a layer of both directions, which would have to know the end.
        """
        if self.bidirectional:
            raise ValueError("step: expected a layer of one direction, found both")
        one = hasattr(self, "cell")
        states = [state] if one else [None] * len(self._loops) if state is None else list(state)
        finals = []
        with torch.no_grad():
            for loop, before in zip(self._loops, states, strict=True):
                if before is None:
                    structure, shapes = loop.structure(x.unsqueeze(0), [d.unsqueeze(0) for d in drives])
                    before = state_of(structure, [x.new_zeros(len(x), *s.size, dtype=s.dtype) for s in shapes])
                else:
                    structure = structure_of(before)
                x, parts = split(loop.cell(x, before, *drives), structure)
                finals.append(state_of(structure, parts))
        return x, finals[0] if one else finals

    def extra_repr(self) -> str:
        told = {
            "num_layers": (self.num_layers, 1),
            "bidirectional": (self.bidirectional, False),
            "dropout": (self.dropout, 0.0),
        }
        told |= {"batch_first": (self.batch_first, False), "engine": (self._wanted, "auto")}
        return ", ".join(f"{name}={value!r}" for name, (value, plain) in told.items() if value != plain)


def _run(loop: OverTime, run: Run, state: Any) -> tuple[Tensor, Any]:
    """One recurrence of a stack: its outputs, and its last state in the cell's structure."""
    B = run.inputs[0].shape[1]
    if state is None:
        structure, shapes = loop.structure(run.inputs[0], run.inputs[1:])
    else:
        structure, parts = structure_of(state), parts_of(state)
        for k, part in enumerate(parts):
            if part.dim() < 1 or part.shape[0] != B:
                raise ValueError(f"state: expected [B={B}, …] in part {k}, found {list(part.shape)}")
        shapes = [Shape(tuple(p.shape[1:]), p.dtype) for p in parts]
        run = run._replace(initial=parts)
    y, final = loop(run, structure, shapes)
    return y, state_of(structure, final)
