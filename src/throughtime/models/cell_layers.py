"""The layers of a `SequenceModel` whose cell is a module of the user's: `tt.nn.Recurrent`, called and carried as built-in ones.

A state that is carried is, for each part of the cell's state, a tensor [layers · directions, B, size], the axes of a part laid
out as one: what `tt.nn.LSTM` has as (h, c).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.core.weights import dtype_of
from throughtime.models.states import State, parts
from throughtime.nn import Recurrent
from throughtime.nn.cell_calls import parts_of, state_of

CellFactory = Callable[[int, int], nn.Module]
"""A class or function (n, d) -> a cell that reads n inputs and puts out d states."""


def cell_name(cell: Any) -> str:
    """What a cell is called: a built-in one by its name, a class or function as package.module:Class."""
    if isinstance(cell, str):
        return cell
    named = cell if hasattr(cell, "__qualname__") else type(cell)
    return f"{named.__module__}:{named.__qualname__}"


class CellLayers(Recurrent):
    """Cells over sequences [B, T, m], or symbols [B, T] below m, which they read as one-hot vectors.

    Args:
        cell: (n, d) -> a cell.
        m: inputs of the first layer.
        d: outputs of each layer and direction.
        num_layers, bidirectional, dropout: as in `Recurrent`.
        dtype: that the cells are turned to; their own where None.

    Raises: TypeError, ValueError: what `cell` makes is no module, cannot be called without a state, or has not d outputs.
    """

    def __init__(
        self, cell: CellFactory, m: int, d: int, num_layers: int, *, bidirectional: bool, dropout: float, dtype: Any
    ) -> None:
        def made(n: int) -> nn.Module:
            found = cell(n, d)
            if not isinstance(found, nn.Module):
                raise TypeError(f"cell: expected a module from cell({n}, {d}), found {type(found).__name__}")
            if (width := self._width(found.to(dtype), n)) != d:
                raise ValueError(f"cell: expected d = {d} outputs of {type(found).__name__}({n}, {d}), found {width}")
            return found

        self.input_size, self.hidden_size = m, d
        super().__init__(made, m, num_layers=num_layers, bidirectional=bidirectional, dropout=dropout, batch_first=True)

    def _width(self, cell: nn.Module, n: int) -> int:
        """Without memory a cell that looks at values cannot run: what is built so, to be measured, is taken at its word."""
        without_memory = next(cell.parameters(), torch.empty(0)).is_meta
        return self.hidden_size if without_memory else super()._width(cell, n)

    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The trailing shape of each part of a cell's state."""
        return tuple(shape.size for shape in self._structure()[1])

    def _structure(self) -> tuple[Any, Any]:
        like = next(self.parameters(), torch.empty(0))
        return self._loops[0].structure(like.new_zeros(1, 1, self.input_size, dtype=dtype_of(self)), ())

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        state: State | None = None,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The outputs [B, T, directions · d], and the final states as they are carried."""
        if not x.is_floating_point():
            x = F.one_hot(x.long().clamp(0, self.input_size - 1), self.input_size).to(dtype_of(self))
        structure, shapes = self._structure()
        begin = None
        if state is not None:
            own = zip(parts(state), shapes, strict=True)
            layered = [part.unflatten(-1, shape.size) if shape.size else part.squeeze(-1) for part, shape in own]
            begin = [state_of(structure, [part[i] for part in layered]) for i in range(len(self._loops))]
        y, last = super().forward(x, begin, lengths=lengths, starts=starts)
        final = [torch.stack([p.reshape(len(p), -1) for p in own]) for own in zip(*map(parts_of, last), strict=True)]
        return y, final[0] if len(final) == 1 else tuple(final)

    def initial_state(self, B: int) -> State:
        """The state that `B` sequences start from: zero."""
        like, count = next(self.parameters(), torch.empty(0)), len(self._loops)
        zeros = [like.new_zeros(count, B, math.prod(s), dtype=dtype_of(self)) for s in self.state_sizes()]
        return zeros[0] if len(zeros) == 1 else tuple(zeros)

    def last_outputs(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        """What each direction put out last, [B, directions · d], of outputs y [B, T, directions · d]."""
        rows = torch.arange(len(y), device=y.device)
        ends = y[:, -1] if lengths is None else y[rows, lengths.to(y.device) - 1]
        return torch.cat([ends[:, : self.hidden_size], y[:, 0, self.hidden_size :]], -1)
