"""Cells drawn at random, traced, beside autograd through their loops: outputs, states and every gradient.

THROUGHTIME_FUZZ=10000 draws so many; a few where it is not set.
"""

import os

import pytest
import torch
from tracing.beside_loop import B, check_beside_loop
from tracing.random_cells import RandomCell

COUNT = int(os.environ.get("THROUGHTIME_FUZZ", "20"))
T = 4


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_cell(seed):
    cell = RandomCell(seed).double()
    torch.manual_seed(seed)
    x = torch.randn(T, B, cell.n, dtype=torch.float64, requires_grad=True)
    parts = tuple(torch.randn(B, w, dtype=torch.float64, requires_grad=True) for w in cell.widths)
    lengths = torch.tensor([T, 1, 2]) if seed % 2 else None
    starts = torch.rand(T, B) < 0.3 if seed % 3 == 0 else None
    check_beside_loop(cell, x, parts if len(parts) > 1 else parts[0], lengths=lengths, starts=starts)
