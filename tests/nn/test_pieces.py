"""`starts` in models: pieces in a row are worth what they are alone."""

import pytest
import torch

from throughtime import cells
from throughtime.models.sequence_model import SequenceModel

T, LENGTHS, BEGINS = 11, [11, 7, 1], [[0, 4, 5], [3], [0]]
CELLS = ["elman", "lstm", "gru", cells.MGU]


def model_of(cell, **options):
    torch.manual_seed(3)
    return SequenceModel(5, 3, 4, cell=cell, layers=2, dtype=torch.float64, **options)


def packed():
    """x, y, lengths, starts (with a mark in the padding), and (row, first, end) of each piece."""
    torch.manual_seed(4)
    x, y = torch.randn(3, T, 5, dtype=torch.float64), torch.randint(4, (3, T))
    y[0, 2] = -100
    starts = torch.zeros(3, T, dtype=torch.bool)
    pieces = []
    for row, (begins, end) in enumerate(zip(BEGINS, LENGTHS, strict=True)):
        starts[row, begins] = True
        firsts = sorted({0, *begins})
        pieces += [(row, a, b) for a, b in zip(firsts, [*firsts[1:], end], strict=True)]
    starts[1, 9] = True
    return x, y, torch.tensor(LENGTHS), starts, pieces


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_gradients_are_those_of_the_pieces_alone(cell, bidirectional):
    model = model_of(cell, bidirectional=bidirectional)
    x, y, lengths, starts, pieces = packed()
    z = model(x, lengths, starts=starts)
    for row, a, b in pieces:
        torch.testing.assert_close(z[row, a:b], model(x[row : row + 1, a:b])[0])
    whole = model.loss(x, y, lengths, starts=starts)
    parts = torch.stack([model.loss(x[r : r + 1, a:b], y[r : r + 1, a:b]) for r, a, b in pieces]).sum() / 3
    torch.testing.assert_close(whole, parts)
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(whole, list(parameters.values()))
    expected = torch.autograd.grad(parts, list(parameters.values()))
    for name, one, other in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_a_given_state_belongs_to_the_piece_under_way(cell):
    model = model_of(cell)
    x, _, lengths, starts, pieces = packed()
    state = model.initial_state(3)
    given = torch.ones_like(state) if isinstance(state, torch.Tensor) else tuple(map(torch.ones_like, state))
    row_of = lambda s, r: s[:, r : r + 1] if isinstance(s, torch.Tensor) else tuple(p[:, r : r + 1] for p in s)  # noqa: E731
    z, final = model(x, lengths, given, starts=starts, return_state=True)
    for row, a, b in pieces:
        begin = row_of(given, row) if a == 0 and row == 1 else None  # the others' first steps are marked
        alone, last = model(x[row : row + 1, a:b], s0=begin, return_state=True)
        torch.testing.assert_close(z[row, a:b], alone[0])
        if b == LENGTHS[row]:
            torch.testing.assert_close(row_of(final, row), last)


def test_starts_that_do_not_fit_are_refused():
    x, y, _, starts, _ = packed()
    with pytest.raises(TypeError, match=r"starts: expected torch\.bool, found torch\.int64"):
        model_of("gru").loss(x, y, starts=starts.long())
    with pytest.raises(ValueError, match=r"starts: expected shape \[B=3, T=11\], found \[3, 10\]"):
        model_of("gru")(x, starts=starts[:, :10])
    with pytest.raises(ValueError, match="starts: expected None for task 'classify'"):
        model_of("gru", task="classify")(x, starts=starts)
