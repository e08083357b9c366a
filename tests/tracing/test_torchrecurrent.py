"""All cells of the package torchrecurrent as programs: their gradients are those of their own loops."""

import pytest
import torch
from tracing.beside_loop import B, T, check_beside_loop

torchrecurrent = pytest.importorskip("torchrecurrent")
NAMES = sorted(name for name in dir(torchrecurrent) if name.endswith("Cell"))


def test_the_package_is_the_one_that_was_meant():
    assert len(NAMES) == 41


@pytest.mark.parametrize("name", NAMES)
def test_cell(name, monkeypatch):
    n, d = (7, 7) if name == "IntersectionRNNCell" else (5, 7)
    if name in ("SGUCell", "DSGUCell"):  # PyTorch's own derivative has 1/6 in float32
        monkeypatch.setattr(torch.nn.functional, "hardsigmoid", lambda v, inplace: torch.clamp(v / 6 + 0.5, 0, 1))
    torch.manual_seed(1)
    cell = getattr(torchrecurrent, name)(n, d).double()
    x = torch.randn(T, B, n, dtype=torch.float64, requires_grad=True)
    layer = check_beside_loop(cell, x)
    widths = (d, n) if name in ("TGRUCell", "TLSTMCell") else (d, d) if cell.uses_double_state() else (d,)
    state = tuple(torch.randn(B, w, dtype=torch.float64, requires_grad=True) for w in widths)
    check_beside_loop(layer, x, state if len(state) > 1 else state[0], lengths=torch.tensor([7, 3, 5]))
