"""The Jacobians of a recurrence's steps, J_t = ∂s_t/∂s_{t−1}, as what they do to vectors.

`Slopes` are those of an Elman recurrence, diag(σ'(a_t)) W, never formed; `Matrices` those of any other, formed. Both are in
walking order, so that "before" is the step walked before, and zero in padded steps. Rows are [n, B, m, D]: m row
vectors for each of n steps and B instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Jacobians(Protocol):
    """J_t of T steps, B instances and D units."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, B, D)."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    def back(self, rows: Tensor, steps: slice, size: Tensor | None = None) -> Tensor:
        """l J_t for rows l, over `size` [n, B] where it is given."""
        ...

    def ahead(self, rows: Tensor, steps: slice) -> Tensor:
        """(J_t rᵀ)ᵀ for rows r."""
        ...

    def of(self, instances: slice) -> Jacobians:
        """Those of some instances."""
        ...

    def double(self) -> Jacobians:
        """The same in float64."""
        ...


def walking_order(lengths: tuple[int, ...], T: int, reverse: bool) -> Tensor:
    """The step that each row walks at each turn, [T, B]; padded turns hold 0."""
    turn = torch.arange(T).unsqueeze(1)
    length = torch.tensor(lengths)
    step = length - 1 - turn if reverse else turn
    return step.where(turn < length, 0)


@dataclass(frozen=True)
class Slopes:
    """diag(σ'(a_t)) W, of slopes [T, B, d] and W [d, d]."""

    slopes: Tensor
    W: Tensor

    @classmethod
    def walked(cls, slopes: Tensor, W: Tensor, lengths: tuple[int, ...], reverse: bool) -> Slopes:
        """Of σ'(a) [T, B, d] in the order of time."""
        T = slopes.shape[0]
        order = walking_order(lengths, T, reverse)
        real = torch.arange(T).unsqueeze(1) < torch.tensor(lengths)
        return cls(slopes.gather(0, order.unsqueeze(-1).expand_as(slopes)) * real.unsqueeze(-1), W)

    @property
    def shape(self) -> tuple[int, int, int]:
        T, B, d = self.slopes.shape
        return T, B, d

    @property
    def dtype(self) -> torch.dtype:
        return self.W.dtype

    def back(self, rows: Tensor, steps: slice, size: Tensor | None = None) -> Tensor:
        factor = self.slopes[steps] if size is None else self.slopes[steps] / size[:, :, None]
        return (rows * factor[:, :, None]) @ self.W

    def ahead(self, rows: Tensor, steps: slice) -> Tensor:
        return (rows @ self.W.T) * self.slopes[steps][:, :, None]

    def of(self, instances: slice) -> Slopes:
        return Slopes(self.slopes[:, instances].contiguous(), self.W)

    def double(self) -> Slopes:
        return Slopes(self.slopes.double(), self.W.double())


@dataclass(frozen=True)
class Matrices:
    """J [T, B, D, D], formed."""

    J: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        T, B, D, _ = self.J.shape
        return T, B, D

    @property
    def dtype(self) -> torch.dtype:
        return self.J.dtype

    def back(self, rows: Tensor, steps: slice, size: Tensor | None = None) -> Tensor:
        return (rows if size is None else rows / size[:, :, None, None]) @ self.J[steps]

    def ahead(self, rows: Tensor, steps: slice) -> Tensor:
        return rows @ self.J[steps].mT

    def of(self, instances: slice) -> Matrices:
        return Matrices(self.J[:, instances])

    def double(self) -> Matrices:
        return Matrices(self.J.double())
