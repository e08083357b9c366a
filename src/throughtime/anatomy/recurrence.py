"""One direction of one layer run on a batch and laid open: δ of each product, what each matrix multiplied, and how the state of
one step depends on that of the step before.

    ∂L/∂M = Σ_t Σ_k δ_{t,k} v_kᵀ        δ_{t,k} = ∂L_t/∂(result of the product with M at step k)

`Elman` takes δ from the engine that trains; `Programmed` runs the way back of any program (see `throughtime.programs`), one row
for each loss, by the reference's operations. A route back from L_t to step k is *elementwise* where it crosses no product with
a matrix (in an LSTM the carousel: the product of forget gates), else it goes *through products*.

Layout: time first. K steps, R losses, D units of all state parts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.anatomy.jacobians import Jacobians, Matrices, Slopes, walking_order
from throughtime.core import contraction
from throughtime.engines.values import Values, begin_backward
from throughtime.operators import ops
from throughtime.programs import Program, gates, levels
from throughtime.programs.calls import Batch, Upstream, Walk
from throughtime.programs.calls import Recurrence as Call
from throughtime.programs.program import Elementwise, Instruction, Product, Window, vectors_of


class Use(NamedTuple):
    """Where a parameter is used: the block of it, the δ of what it makes, and what it multiplies there."""

    parameter: str
    rows: slice
    columns: slice | None  # None: of a vector
    delta: Window
    inputs: Tensor | None  # [T, B, columns], symbols [T, B], or None for 1


class Deltas(NamedTuple):
    """What one sweep back finds for the losses of one instance."""

    by_window: Mapping[Window, Tensor]  # δ [K, R, width] for each `Use.delta`
    inputs: Tensor  # ∂L/∂x [K, R, n]; empty for symbols


@dataclass(frozen=True)
class Elman:
    """s_t = σ(U x_t + W s_{t−1} + b)."""

    x: Tensor  # [T, B, n], or symbols [T, B]
    weights: dict[str, Tensor]  # U [d, n], W [d, d], b [d]
    initial: tuple[Tensor | None, ...]  # [B, d]
    states: Tensor  # [T, B, d]
    lengths: tuple[int, ...]
    nonlinearity: str
    reverse: bool

    main = "W"
    """The parameter through which the state acts on the next one: what horizon and truncation speak of."""
    gates: tuple[tuple[str, slice], ...] = ()
    formulas: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.states.shape[2]

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        W, U = self.weights["W"], self.weights["U"]
        d, delta = slice(0, W.shape[0]), Window("a", 0, W.shape[0])
        before = contraction.previous_states(self.states, self.initial[0], torch.tensor(self.lengths), self.reverse)
        return (
            Use("W", d, d, delta, before),
            Use("U", d, slice(0, U.shape[1]), delta, self.x),
            Use("b", d, None, delta, None),
        )

    def sweep(self, dstates: Tensor, instance: int, steps: slice, elementwise: bool = False) -> Deltas:
        """δ of R losses of one instance, from what each sends to the states of K steps; dstates [K, R, d].

        `elementwise`: along routes that cross no product alone.
        """
        states = self.states[steps, instance : instance + 1].expand(-1, dstates.shape[1], -1)
        if elementwise:
            delta = dstates * ops.slopes(states, self.nonlinearity)
        else:
            delta = ops.backward_sweep(dstates.contiguous(), states, self.weights["W"], self.nonlinearity, self.reverse)
        return Deltas({Window("a", 0, self.width): delta}, delta @ self.weights["U"])

    @cached_property
    def jacobians(self) -> Jacobians:
        """∂s_t/∂s_{t−1} = diag(σ'(a_t)) W, in walking order."""
        return Slopes.walked(ops.slopes(self.states, self.nonlinearity), self.weights["W"], self.lengths, self.reverse)

    def openness(self) -> dict[str, Tensor]:
        """An Elman recurrence has no gates."""
        return {}


@dataclass(frozen=True)
class Programmed:
    """Any program."""

    program: Program
    x: Tensor
    weights: dict[str, Tensor]
    initial: tuple[Tensor | None, ...]
    walk: Walk
    lengths: tuple[int, ...]
    reverse: bool

    @property
    def states(self) -> Tensor:
        return self.walk.outputs[0]

    @property
    def width(self) -> int:
        return self.states.shape[2]

    @property
    def gates(self) -> tuple[tuple[str, slice], ...]:
        return gates.rows(self.program)

    @property
    def formulas(self) -> tuple[str, ...]:
        """The program, line by line."""
        return tuple(self.program.text.splitlines())

    @cached_property
    def main(self) -> str:
        """The first matrix that multiplies what depends on the state; without one, the first weight."""
        late = vectors_of(i.out for i in levels(self.program)[0].slots) | {s.name for s in self.program.state}
        found = [c.block.matrix for c in self.program.contractions if c.vector.vector in late]
        return found[0] if found else next(iter(self.weights))

    @cached_property
    def values(self) -> Values:
        """What the forward direction left, and what the way back makes of it alone, for all steps [T, B]: upstream is zero."""
        batch = Batch((self.x,), self.initial, self._ragged, reverse=self.reverse)
        nothing = Upstream((None,) * len(self.program.outputs), (None,) * len(self.program.state))
        values = begin_backward(Call(self.program, tuple(self.weights.values())), batch, self.walk, nothing)
        carried = self.program.upstream[1:]
        values.give(carried, [values.zeros(v.width) for v in carried])
        _, slots, tail = levels(self.program)[1]
        values.run(slots)
        values.run(tail)
        return values

    @property
    def _ragged(self) -> Tensor | None:
        return None if min(self.lengths) == len(self.x) else torch.tensor(self.lengths)

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        found = [
            Use(c.block.matrix, slice(c.block.row, c.block.row + c.block.rows),
                slice(c.block.column, c.block.column + c.block.columns), c.delta, self.values.read(c.vector))
            for c in self.program.contractions
        ]  # fmt: skip
        found += [
            Use(s.parameter.vector, slice(s.parameter.start, s.parameter.stop), None, s.delta, None)
            for s in self.program.sums
        ]
        return tuple(found)

    def sweep(self, dstates: Tensor, instance: int, steps: slice, elementwise: bool = False) -> Deltas:
        """As `Elman.sweep`."""
        program = self.program
        head, slots, tail = levels(program)[1]
        K, R = dstates.shape[:2]
        here = self.values.cut((steps, slice(instance, instance + 1)), (K, R))
        here.give(program.upstream[:1], [dstates])
        here.run(head)
        if elementwise:
            slots = tuple(map(_closed, slots))
        carried = program.upstream[1:]
        carry = [dstates.new_zeros(R, v.width) for v in carried]
        walked: list[Values] = [here] * K
        for k in range(K) if self.reverse else range(K - 1, -1, -1):
            walked[k] = at = here.at(k)
            at.give(carried, carry)
            at.run(slots)
            carry = [torch.zeros_like(c) if w is None else at.read(w) for w, c in zip(program.to_state, carry)]
        here.gather(walked, [*(i.out for i in slots), *(Window(v.name, 0, v.width) for v in carried)])
        here.run(tail)
        back = program.to_inputs[0]
        into = dstates.new_zeros(K, R, 0) if back is None or not self.x.is_floating_point() else here.read(back)
        return Deltas({use.delta: here.read(use.delta) for use in self.uses}, into)

    @cached_property
    def jacobians(self) -> Jacobians:
        """∂(state after)/∂(state before) of every step [T, B, D, D], in walking order: the way back of one step, from each unit
        of the state after."""
        program = self.program
        T, B = self.x.shape[:2]
        D = sum(v.width for v in program.state)
        one = torch.eye(D, dtype=self.states.dtype)
        head, slots, _ = levels(program)[1]
        found = self.states.new_zeros(T, B, D, D)
        for t in range(T):
            here = self.values.at(t).widened(D)  # [B, D, …]: a row for each unit
            here.give(program.upstream[:1], [self.states.new_zeros(B, D, self.width)])
            here.run(head)
            here.give(
                program.upstream[1:], [p.expand(B, D, -1) for p in one.split([v.width for v in program.state], 1)]
            )
            here.run(slots)
            parts = [
                here.zeros(v.width) if w is None else here.read(w) for w, v in zip(program.to_state, program.state)
            ]
            found[t] = torch.cat(parts, -1)
        order = walking_order(self.lengths, T, self.reverse)
        real = torch.arange(T).unsqueeze(1) < torch.tensor(self.lengths)
        found = found.gather(0, order[:, :, None, None].expand_as(found)) * real[:, :, None, None]
        return Matrices(found)

    def openness(self) -> dict[str, Tensor]:
        """The mean of each gate over its units, [T, B] by name."""
        return {name: self.values.read(w).mean(-1) for name, w in gates.openings(self.program).items()}


Recurrence = Elman | Programmed


def _closed(i: Instruction) -> Instruction:
    """A product that no route may cross: what is added to it is left."""
    if not isinstance(i, Product):
        return i
    return Product(i.out, (), i.addends) if i.addends else Elementwise("copy", i.out, (0.0,))
