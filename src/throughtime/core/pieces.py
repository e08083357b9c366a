"""Rows of several pieces, such as episodes, as rows of their own: what `starts` means, spelled out.

A piece begins at a row's first step and at every marked one; it ends before the next piece, or with its row. Marks in the
padding mean nothing. What a call begins with belongs to a row's first piece, unless that piece's first step is marked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pieces(NamedTuple):
    """P pieces, row by row, in time; on the CPU."""

    row: Tensor
    """int64 [P]: the row of each."""
    first: Tensor
    """int64 [P]: its first step."""
    length: Tensor
    """int64 [P]: how many steps it has, at least 1."""
    opens: Tensor
    """bool [P]: whether it is its row's first."""
    closes: Tensor
    """bool [P]: whether it is its row's last."""
    marked: Tensor
    """bool [P]: whether its first step is marked."""

    def steps(self, T: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where a padded batch of pieces lies in rows of T steps: rows [P, 1], steps [P, L], and which are real [P, L]."""
        step = torch.arange(int(self.length.max()))
        return self.row.unsqueeze(1), (self.first.unsqueeze(1) + step).clamp_max(T - 1), step < self.length.unsqueeze(1)


def pieces_of(starts: Tensor, lengths: Tensor | None) -> Pieces:
    """The pieces of rows marked by starts, bool [B, T]; lengths int64 [B] on the CPU, or None for whole rows."""
    marks = starts.cpu()
    B, T = marks.shape
    step = torch.arange(T)
    ends = torch.full((B,), T) if lengths is None else lengths
    row, first = ((marks | (step == 0)) & (step < ends.unsqueeze(1))).nonzero(as_tuple=True)
    one = torch.ones(1, dtype=torch.bool)
    opens = torch.cat([one, row.diff() != 0])
    closes = torch.cat([opens[1:], one])
    length = torch.where(closes, ends[row], first.roll(-1)) - first
    return Pieces(row, first, length, opens, closes, marks[row, first])
