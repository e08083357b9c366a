"""The ready-made cells: each is a program, beside its own loop; LSTM, GRU and RNN are those written by hand."""

import pytest
import torch
from torch import nn
from tracing.beside_loop import B, T, check_beside_loop

import throughtime as tt
from throughtime.programs import CELLS, Program, levels
from throughtime.programs.program import Product

n, d = 5, 6
NAMES = [name for name in tt.cells.__all__ if isinstance(getattr(tt.cells, name), type) and name != "Zoneout"]


def made(name):
    torch.manual_seed(2)
    cell = getattr(tt.cells, name)(n, d).double()
    with torch.no_grad():  # no parameter at a value where a gradient is small, or zero
        for p in cell.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return cell


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_a_program(name):
    x = 2 * torch.randn(T, B, n, dtype=torch.float64)
    layer = check_beside_loop(made(name), x.requires_grad_(), lengths=torch.tensor([T, 2, 5]))
    assert len(layer.program.state) == layer.cell.parts
    assert "Source" in layer.cell.__doc__


def test_options():
    x = torch.randn(T, B, n, dtype=torch.float64, requires_grad=True)
    check_beside_loop(tt.cells.Leaky(n, d, learned=True).double(), x)
    check_beside_loop(tt.cells.SLSTM(n, d, heads=2).double(), x)
    check_beside_loop(tt.cells.CfC(n, d, backbone=3).double(), x)
    with pytest.raises(ValueError, match="alpha: expected a number in"):
        tt.cells.Leaky(n, d, alpha=2)
    with pytest.raises(ValueError, match="heads: expected a divisor of hidden_size=6, found 4"):
        tt.cells.SLSTM(n, d, heads=4)


def test_zoneout_draws_outside_and_means_inside():
    cell = tt.cells.Zoneout(nn.LSTMCell(n, d), 0.4).double()
    x = torch.randn(T, B, n, dtype=torch.float64, requires_grad=True)
    layer = tt.nn.Recurrent(cell, engine="program")
    (mask,) = cell.masks(x, d)
    check_beside_loop(layer, x, drives=(mask,))
    check_beside_loop(layer, x, drives=(torch.ones_like(mask),))
    y, _ = layer(x, drives=(torch.ones_like(mask),))
    assert not y.any()  # everything keeps the zeros that it had
    cell.eval()
    assert cell.masks(x, d) == ()
    check_beside_loop(layer, x)


def test_chrono_start():
    cell = tt.cells.chrono_start(tt.cells.LSTM(n, 400), 100)
    forget = cell.U.bias[400:800].exp()
    assert forget.min() >= 1
    assert forget.max() <= 99
    assert 40 < forget.mean() < 60
    assert torch.equal(cell.U.bias[:400], -cell.U.bias[400:800])


def work(program: Program) -> tuple[int, ...]:
    """What a program costs: the products and their entries, elementwise units in the sweep, and what is saved, by direction."""
    told = []
    for level in levels(program):
        products = [t for i in (*level.head, *level.slots) if isinstance(i, Product) for t in i.terms]
        told.append(sum(t.block.rows * t.block.columns for t in products))
        told.append(sum(i.out.width for i in level.slots if not isinstance(i, Product)))
    return (*told, sum(w.width for w in program.kept))


@pytest.mark.parametrize(("name", "by_hand"), [("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "elman")])
def test_traced_programs_are_as_good_as_those_by_hand(name, by_hand):
    layer = tt.nn.Recurrent(made(name), engine="program")
    layer(torch.randn(2, B, n, dtype=torch.float64))
    hand = CELLS[by_hand](n, d)
    for one, other in zip(work(layer.program), work(hand), strict=True):
        assert one <= other
