"""`starts` in models: pieces in a row are worth what they are alone."""

import pytest
import torch

from throughtime import cells
from throughtime.models.model import ElmanNetwork, bptt
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


@pytest.mark.parametrize("reduction", ["sequence", "token"])
@pytest.mark.parametrize("given", [False, True])
def test_an_elman_network_learns_its_initial_state_from_every_piece(reduction, given):
    torch.manual_seed(5)
    net = ElmanNetwork(5, 3, 4, initial_state="learned", dtype=torch.float64)
    x, y, lengths, starts, pieces = packed()
    x.requires_grad_()
    s0 = torch.randn(3, 3, dtype=torch.float64, requires_grad=True) if given else None
    state_of = lambda row, a: None if s0 is None or a or row != 1 else s0[row : row + 1]  # noqa: E731
    alone = [(x[r : r + 1, a:b], y[r : r + 1, a:b], None, "sequence", state_of(r, a)) for r, a, b in pieces]
    count = 3 if reduction == "sequence" else int(sum((own[1] != -100).sum() for own in alone))
    expected = torch.stack([net.loss(*own[:4], s0=own[4]) for own in alone]).sum() / count
    whole, final = net.loss(x, y, lengths, reduction, s0=s0, starts=starts, return_state=True)
    weighted = net.loss(x, y, lengths, reduction, s0=s0, starts=starts, sample_weight=torch.ones(3))
    z, same = net(x, lengths, s0, starts=starts, return_state=True)
    for row, a, b in pieces:
        torch.testing.assert_close(z[row, a:b], net(x[row : row + 1, a:b], None, state_of(row, a))[0])
    torch.testing.assert_close(final, same.detach())
    wanted = [*net.parameters(), x, *([] if s0 is None else [s0])]
    gradients = torch.autograd.grad(expected, wanted)
    value, found = bptt(net, x, y, lengths, reduction, s0=s0, starts=starts)
    by_hand = [getattr(found, name) for name, _ in net.named_parameters()] + [found.x]
    if given:  # what the network's own state adds is not among what `bptt` returns
        learned = [name for name, _ in net.named_parameters()].index("s0")
        by_hand = [gradients[learned] if i == learned else g for i, g in enumerate(by_hand)] + [found.s0]
    else:
        by_hand = [g.sum(0) if g is found.s0 else g for g in by_hand]
    for name, loss, own in (("loss", whole, None), ("weighted", weighted, None), ("by hand", value, by_hand)):
        torch.testing.assert_close(loss, expected.detach() if own else expected)
        own = torch.autograd.grad(loss, wanted) if own is None else own
        for one, other in zip(own, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12, msg=name)
