"""What the layers that take the place of torch.nn's share: stacks, directions, packing, dropout, and the checks of arguments.

Parameters are built and initialised by torch's own base class, so names, order, and the values drawn from a seed are torch's;
the recurrence of each layer and direction is the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.core.dispatch import readable, tracing
from throughtime.core.notation import check_lengths, check_starts, check_symbol_range, is_symbols
from throughtime.core.randomness import dropout
from throughtime.nn import fused
from throughtime.nn.checks import check_sizes
from throughtime.operators.program_ops import run_program
from throughtime.programs import Program

State = tuple[Tensor, ...]


class Pass(NamedTuple):
    """What a recurrence, or a whole stack, runs over: x [T, B, n] or symbols [T, B], the parts of the initial state [B, width]
    ([layers · directions, B, width] of a stack), and how. With `batch_first`, T and B trade places in x, `starts`, states."""

    x: Tensor
    initial: State | None
    lengths: Tensor | None
    starts: Tensor | None
    reverse: bool
    batch_first: bool


class Layers(nn.RNNBase):
    """A stack of recurrences over sequences, in one or both directions.

    A subclass says what one recurrence is, `_program`, and how its state looks from outside.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *args: Any,
        proj_size: int = 0,
        **options: Any,
    ) -> None:
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers, "proj_size": proj_size}
        check_sizes(**sizes)
        super().__init__(mode, input_size, hidden_size, num_layers, *args, proj_size=proj_size, **options)
        sizes = [self.input_size] + [self.state_widths[0] * self._directions] * (self.num_layers - 1)
        self._programs = [program for n in sizes for program in [self._program(n)] * self._directions]

    state_parts: tuple[str, ...] = ("h",)
    """The names of the parts of a state."""

    def _program(self, n: int) -> Program:
        """One recurrence over n inputs."""
        raise NotImplementedError

    @property
    def state_widths(self) -> tuple[int, ...]:
        """The units of each part of the state; the first part is what the next layer reads."""
        return (self.hidden_size,)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _parts(self, hx: Any) -> State:
        """The parts of an initial state that was given."""
        return (hx,)

    def _whole(self, parts: State) -> Any:
        """A state as the layer returns it."""
        return parts[0]

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run the stack over sequences.

        Args:
            input: [T, B, n] ([B, T, n] with `batch_first`), [T, n] for one sequence, a `PackedSequence`, or integer symbols in
                0..n−1 with the last axis left out.
            hx: the initial state, as torch.nn's layer of this name takes it: h_0 [layers · directions, B, d] (without B for one
                sequence), for an LSTM the pair (h_0, c_0); zero where None.
            lengths: [B], each in 1..T, for padded input: the simpler and faster way to pass sequences of different lengths.
                Later steps are padding, which is never read and whose states are zero.
            starts: bool, laid out as the input without its last axis: the first steps, in time, of pieces that know nothing of
                what lies before them, such as episodes. Results and gradients are those of the pieces run apart, each from
                zero. `hx` belongs to the piece that is walked first; forwards, to none where the very first step is marked.
                Marks in the padding mean nothing. Not with a `PackedSequence`.

        Returns:
            The states of the last layer, shaped like the input with directions · d in place of n, and the final states of every
            layer and direction, shaped like the initial ones.

        Raises: RuntimeError, TypeError, ValueError: a wrong shape, dtype, length or symbol.
        """
        state = None if hx is None else self._parts(hx)
        if isinstance(input, PackedSequence):
            for name, given in (("lengths", lengths), ("starts", starts)):
                if given is not None:
                    raise ValueError(f"{name}: expected None with a PackedSequence, found {type(given).__name__}")
            return self._over_packed(input, state)
        axes = 2 if is_symbols(input) else 3
        batched = input.dim() == axes
        if not batched and input.dim() != axes - 1:
            what = "integer symbols" if axes == 2 else "input"
            name = type(self).__name__
            raise ValueError(f"{name}: Expected {what} to be {axes - 1}D or {axes}D, got {input.dim()}D tensor instead")
        for part in state or ():
            if part.dim() != 2 + batched:
                kind, axes = ("batched", 3) if batched else ("unbatched", 2)
                raise RuntimeError(f"For {kind} input, hx should be {axes}-D but got {part.dim()}-D tensor")
        if batched:
            states, final = self._over(input, state, lengths, starts, self.batch_first)
            return states, self._whole(final)
        if lengths is not None:
            raise ValueError("lengths: expected None with unbatched input, which is one whole sequence")
        state = None if state is None else tuple(part.unsqueeze(1) for part in state)
        starts = starts.unsqueeze(1) if isinstance(starts, Tensor) else starts
        states, final = self._over(input.unsqueeze(1), state, None, starts)
        return states.squeeze(1), self._whole(tuple(part.squeeze(1) for part in final))

    def _over_packed(self, packed: PackedSequence, state: State | None) -> tuple[PackedSequence, Any]:
        """Spread the packed steps over a padded [T, B], run, and gather the states of the real steps again.

        A padded entry repeats the real one before it: the recurrence never reads it, and its gradient is zero.
        """
        data, sizes, order, _ = packed
        if data.dim() != (1 if is_symbols(data) else 2):
            raise RuntimeError(f"input must have 2 dimensions (1 for integer symbols), got {data.dim()}")
        whole = False
        if readable(sizes):
            steps = sizes.tolist()
            if sum(steps) != len(data) or steps != sorted(steps, reverse=True):
                raise ValueError(f"batch_sizes: expected sizes that never grow and add to {len(data)}, found {steps}")
            whole = steps[-1] == steps[0]
        if state is not None and order is not None:
            state = tuple(part.index_select(1, order) for part in state)
        if tracing() and fused.serves(self, self._weights()[0][1], data, *(state or ())):
            states, final = fused.run_packed(self, self._weights(), data, sizes, state)
            return self._packed(packed, states, final)
        T, B = len(sizes), int(sizes[0])
        if whole:  # every row has all steps: packed is not ragged
            states, final = self._over(data.unflatten(0, (T, B)), state)
            states = states.flatten(0, 1)
        else:
            real = torch.arange(B) < sizes.unsqueeze(1)
            source = (real.flatten().cumsum(0) - 1).to(data.device)
            target = real.flatten().nonzero().squeeze(1).to(data.device)
            x = data.index_select(0, source).unflatten(0, (T, B))
            states, final = self._over(x, state, real.sum(0), packing=(source, target))
            states = states.flatten(0, 1).index_select(0, target)
        return self._packed(packed, states, final)

    def _packed(self, like: PackedSequence, states: Tensor, final: State) -> tuple[PackedSequence, Any]:
        """The results of packed steps, packed as these were."""
        _, sizes, order, inverse = like
        if inverse is not None:
            final = tuple(part.index_select(1, inverse) for part in final)
        return PackedSequence(states, sizes, order, inverse), self._whole(final)

    def _over(
        self,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
        batch_first: bool = False,
        packing: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, State]:
        """The stack over x [T, B, n] or symbols [T, B]: states [T, B, directions · d], finals [layers · directions, B, d] by
        part. With `batch_first`, T and B trade places in x, `starts` and the states. `packing`: the packed entry of each
        padded one, and the padded one of each packed."""
        weights = self._weights()
        lengths = self._check(x, state, lengths, batch_first, weights[0][1])
        if starts is not None:
            check_starts(starts, x.shape[:2], batch_first)
        over = Pass(x, state, lengths, starts, False, batch_first)
        if fused.serves(self, weights[0][1], x, *(state or ())):
            return fused.run(self, weights, over)
        return self._stack(weights, over, packing)

    def _stack(
        self, weights: Sequence[Sequence[Tensor]], over: Pass, packing: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, State]:
        """The stack layer by layer, by any engine but torch's."""
        x, state, lengths, starts, _, batch_first = over
        finals: list[State] = []
        outputs: list[Tensor] = []
        for i, own in enumerate(weights):
            reverse = self.bidirectional and i % 2 == 1
            if i and not reverse:
                x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
                if self.dropout and self.training:
                    x = self._drop(x, batch_first, packing)
                outputs = []
            initial = None if state is None else tuple(part[i] for part in state)
            states, final = self._one(i, own, Pass(x, initial, lengths, starts, reverse, batch_first))
            outputs.append(states)
            finals.append(final)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        final = tuple(p[0] if len(p) == 1 else torch.cat(p) for p in zip(*finals, strict=True))
        if torch._C._is_any_autocast_enabled():
            dtype = self._autocast_dtype(x)
            return x.to(dtype), tuple(part.to(dtype) for part in final)
        return x, final

    def _autocast_dtype(self, states: Tensor) -> torch.dtype:
        """The dtype of the results under autocast, that of torch.nn's layer. They are computed in float32 all the same."""
        device = states.device.type
        lowered = states.dtype == torch.float32 and device not in self._autocast_passes_by
        return torch.get_autocast_dtype(device) if lowered and torch.is_autocast_enabled(device) else states.dtype

    _autocast_passes_by: tuple[str, ...] = ()
    """The devices where autocast leaves torch.nn's layer of this name as it is."""

    def __prepare_scriptable__(self) -> Any:
        """What torch.jit.script calls."""
        name = type(self).__name__
        raise RuntimeError(
            f"torch.jit.script: throughtime.nn.{name} is not written in TorchScript; torch.compile and torch.export take it as "
            f"it is, and torch.nn.{name} takes its state_dict"
        )

    def _one(self, i: int, weights: Sequence[Tensor], over: Pass) -> tuple[Tensor, State]:
        """Recurrence i of the stack: its states, contiguous, and its final state by part [1, B, width]."""
        program = self._programs[i]
        x, starts = over.x.contiguous(), over.starts
        if over.batch_first:
            x, starts = x.transpose(0, 1), None if starts is None else starts.T
        (states,), final = run_program(
            program,
            self._ordered(weights),
            (x,),
            over.initial or (None,) * len(program.state),
            lengths=over.lengths,
            starts=starts,
            reverse=over.reverse,
            stacked=True,
        )
        return states.transpose(0, 1).contiguous() if over.batch_first else states, final

    def recurrences(self) -> list[tuple[Program, tuple[Tensor, ...]]]:
        """The program of every layer and direction, and its weights in the program's order."""
        return [(p, self._ordered(w)) for p, w in zip(self._programs, self._weights(), strict=True)]

    def _ordered(self, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The weights of one recurrence, in torch's order, in the program's: matrices first (torch has weight_hr last)."""
        U, W, *others = weights
        return U, W, *others[2 * self.bias :], *others[: 2 * self.bias]

    def _weights(self) -> Sequence[Sequence[Tensor]]:
        """The weights of every layer and direction, in torch's order."""
        own: dict[str, Any] = self._parameters
        try:  # past the attributes, whose lookup is slow
            return [[own[name] for name in names] for names in self._all_weights]
        except KeyError:  # pruned or parametrized: an attribute that is computed
            return self.all_weights

    def _drop(self, x: Tensor, batch_first: bool, packing: tuple[Tensor, Tensor] | None) -> Tensor:
        """Dropout, laid out as torch.nn's layers have it, steps first and packed where they were, so that the random numbers
        fall alike."""
        if packing is not None:
            source, target = packing
            steps = dropout(x.flatten(0, 1).index_select(0, target), self.dropout)
            return steps.index_select(0, source).view_as(x)
        steps = dropout((x.transpose(0, 1) if batch_first else x).contiguous(), self.dropout)
        return steps.transpose(0, 1) if batch_first else steps

    def _check(
        self, x: Tensor, state: State | None, lengths: Tensor | None, batch_first: bool, weight: Tensor
    ) -> Tensor | None:
        """Refuse what does not fit, with the types of error of torch.nn's layers. Returns the lengths as the engines take
        them."""
        if x.layout is not torch.strided:
            raise TypeError(f"input: expected a dense tensor, found {x.layout}")
        B, T = x.shape[:2] if batch_first else x.shape[1::-1]
        if lengths is not None and x.numel():
            lengths = check_lengths(lengths, B, T)
        if is_symbols(x):
            if readable(x) and x.numel():
                check_symbol_range(x if batch_first else x.T, self.input_size, lengths)
        else:
            self.check_input(x, None)
        if x.device != weight.device:
            raise _elsewhere("input", x, weight)
        if T == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if state is not None:
            layers = self.num_layers * self._directions
            for i, (part, width) in enumerate(zip(state, self.state_widths, strict=True)):
                if part.device != weight.device:
                    raise _elsewhere("hidden", part, weight)
                which = "" if len(state) == 1 else f"[{i}]"
                self.check_hidden_size(part, (layers, B, width), f"Expected hidden{which} size {{}}, got {{}}")
                if part.dtype != weight.dtype and not torch._C._is_any_autocast_enabled():
                    raise RuntimeError(f"hidden dtype ({part.dtype}) does not match weight dtype ({weight.dtype})")
        return lengths


def _elsewhere(what: str, tensor: Tensor, weight: Tensor) -> RuntimeError:
    return RuntimeError(f"{what} and weights are on different devices: {tensor.device} and {weight.device}")
