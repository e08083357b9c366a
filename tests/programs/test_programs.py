"""Programs by hand: their text, their checks, and both ways through them against autograd and torch.nn, in float64."""

import pytest
import torch
from programs.mgu import mgu

from throughtime.cells import MGU
from throughtime.engines import reference_program
from throughtime.programs import elman, gru, levels, lstm, parse
from throughtime.programs.calls import Batch, Needs, Recurrence, Upstream

PROGRAMS = {
    "elman": elman(3, 4),
    "elman relu": elman(3, 4, nonlinearity="relu"),
    "elman logistic without bias": elman(2, 1, bias=False, nonlinearity="logistic"),
    "elman identity": elman(1, 3, nonlinearity="identity"),
    "lstm": lstm(3, 4),
    "lstm without bias": lstm(2, 1, bias=False),
    "lstm projected": lstm(3, 5, proj_size=2),
    "gru": gru(3, 4),
    "gru without bias": gru(1, 3, bias=False),
    "gru, reset before": gru(3, 4, reset_after=False),
    "mgu": mgu(3, 4),
}
TINY = """
    tiny
    inputs x[2]
    state s[2]
    matrices W[2, 2]
    parameters
    forward
    new = x + W @ s
    outputs new
    next new
    upstream dy[2] dn[2]
    backward
    d = dy + dn
    ds = W.T @ d
    gradients
    x: d
    s: ds
    W: d @ s.T
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_its_text(name):
    program = PROGRAMS[name]
    again = parse(program.text)
    assert again == program
    assert again.text == program.text
    assert hash(again) == hash(program)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("pieces", [False, True])
def test_the_way_back_is_the_derivative_of_the_way_forward(name, reverse, ragged, pieces):
    program = PROGRAMS[name]
    torch.manual_seed(len(name))
    T, B, random = 7, 5, {"dtype": torch.float64, "requires_grad": True}
    weights = [torch.randn(m.rows, m.columns, **random) for m in program.matrices]
    weights += [torch.randn(p.width, **random) for p in program.parameters]
    x = torch.randn(T, B, program.inputs[0].width, **random)
    initial = [torch.randn(B, s.width, **random) for s in program.state]
    restart = [torch.randn(s.width, **random) for s in program.state] if pieces else []
    lengths = torch.tensor([7, 1, 4, 6, 7]) if ragged else None
    starts = torch.rand(T, B) < 0.3 if pieces else None
    recurrence = Recurrence(program, tuple(weights))
    batch = Batch((x,), tuple(initial), lengths, starts, tuple(restart), reverse)
    walk = reference_program.forward(recurrence, batch, True)
    upstream = Upstream(tuple(map(torch.randn_like, walk.outputs)), tuple(map(torch.randn_like, walk.final)))
    loss = sum((out * g).sum() for out, g in zip(walk.outputs + walk.final, upstream.outputs + upstream.final))
    tensors = [x, *weights, *initial, *restart]
    expected = torch.autograd.grad(loss, tensors)
    needs = Needs((True,), (True,) * len(weights), (True,) * len(initial), (True,) * len(restart))
    with torch.no_grad():
        kept = reference_program.forward(recurrence, batch, True)
        found = reference_program.backward(recurrence, batch, kept, upstream, needs)
    for gradient, by_autograd in zip((*found.inputs, *found.weights, *found.initial, *found.restart), expected):
        torch.testing.assert_close(gradient, by_autograd, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_pieces_are_run_as_if_they_were_alone(reverse):
    program, T = lstm(3, 4), 9
    weights = tuple(torch.randn(s, dtype=torch.float64) for s in ((16, 3), (16, 4), (16,), (16,)))
    x = torch.randn(T, 1, 3, dtype=torch.float64)
    initial = tuple(torch.randn(1, 4, dtype=torch.float64) for _ in range(2))
    starts = torch.zeros(T, 1, dtype=torch.bool)
    starts[[4, 7]] = True
    recurrence = Recurrence(program, weights)
    whole = reference_program.forward(recurrence, Batch((x,), initial, None, starts, (), reverse), False)
    cuts = [(0, 4), (4, 7), (7, 9)]
    first = cuts[-1] if reverse else cuts[0]
    for begin, end in cuts:
        own = initial if (begin, end) == first else (None, None)
        alone = reference_program.forward(recurrence, Batch((x[begin:end],), own, reverse=reverse), False)
        torch.testing.assert_close(whole.outputs[0][begin:end], alone.outputs[0], rtol=1e-14, atol=1e-14)
        if (begin, end) == (cuts[0] if reverse else cuts[-1]):
            for found, expected in zip(whole.final, alone.final):
                torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
def test_marks_in_the_padding_mean_nothing(reverse):
    program = gru(3, 4)
    recurrence = Recurrence(
        program, tuple(torch.randn(s, dtype=torch.float64) for s in ((12, 3), (12, 4), (12,), (12,)))
    )
    x, initial = torch.randn(6, 2, 3, dtype=torch.float64), (torch.randn(2, 4, dtype=torch.float64),)
    lengths = torch.tensor([3, 6])
    starts = torch.zeros(6, 2, dtype=torch.bool)
    marked = starts.clone()
    marked[3:, 0] = True
    plain, with_marks = (
        reference_program.forward(recurrence, Batch((x,), initial, lengths, s, (), reverse), False)
        for s in (starts, marked)
    )
    assert torch.equal(plain.final[0], with_marks.final[0])
    assert torch.equal(plain.outputs[0], with_marks.outputs[0])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_the_cells_are_those_of_torch(kind):
    layer = getattr(torch.nn, kind)(3, 4, dtype=torch.float64)
    program = {"LSTM": lstm, "GRU": gru, "RNN": elman}[kind](3, 4)
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    recurrence = Recurrence(program, tuple(layer.parameters()))
    walk = reference_program.forward(recurrence, Batch((x,), (None,) * len(program.state)), False)
    states, final = layer(x)
    torch.testing.assert_close(walk.outputs[0], states, rtol=1e-14, atol=1e-14)
    for found, expected in zip(walk.final, final if kind == "LSTM" else (final,)):
        torch.testing.assert_close(found, expected[0], rtol=1e-14, atol=1e-14)


def test_symbols_are_one_hot_vectors():
    program = gru(5, 4)
    weights = tuple(torch.randn(s, dtype=torch.float64) for s in ((12, 5), (12, 4), (12,), (12,)))
    symbols = torch.randint(0, 5, (6, 3))
    hot = torch.nn.functional.one_hot(symbols, 5).double()
    found, expected = (
        reference_program.forward(Recurrence(program, weights), Batch((x,), (None,)), True) for x in (symbols, hot)
    )
    torch.testing.assert_close(found.outputs[0], expected.outputs[0], rtol=0, atol=1e-15)
    needs = Needs((False,), (True,) * 4, (True,))
    up = Upstream((torch.randn(6, 3, 4, dtype=torch.float64),), (None,))
    by_symbol, by_vector = (
        reference_program.backward(Recurrence(program, weights), Batch((x,), (None,)), found, up, needs)
        for x in (symbols, hot)
    )
    for a, b in zip(by_symbol.weights, by_vector.weights):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_levels_put_early_what_no_state_reaches_and_late_what_no_state_needs():
    program = parse(
        TINY.replace("outputs new", "y = new * 2.0\noutputs y").replace("d = dy + dn", "e = dy * 2.0\nd = e + dn")
    )
    forward, back = levels(program)
    assert [i.out.vector for i in forward.slots] == ["new"]
    assert [i.out.vector for i in forward.tail] == ["y"]
    assert [i.out.vector for i in back.head] == ["e"]
    assert [i.out.vector for i in back.slots] == ["d", "ds"]
    forward, back = levels(gru(3, 4))
    assert [i.out.vector for i in forward.head] == ["a", "xn"]  # the input's part of a is summed early
    assert [i.out.vector for i in back.tail] == ["dx"]


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("W @ s", "V @ s", "expected a matrix, found 'V'"),
        ("x + W @ s", "z + W @ s", "unknown vector 'z'"),
        ("x + W @ s", "W @ s + twice(x)", "unknown operation twice of 1 operands"),
        ("matrices W[2, 2]", "matrices W[2, 3]", "expected 3 units, found 2"),
        ("outputs new", "outputs x", "'x' is given; expected a vector that an instruction writes"),
        ("new = x + W @ s", "new = x + W @ s\nnew = x * x", "new\\[0:2\\] is written twice"),
        ("upstream dy[2] dn[2]", "upstream dy[2] dn[3]", "expected 2 units, found 3|expected 3 units, found 2"),
        ("next new", "next new new", "next: expected 1 parts, found 2"),
        ("W: d @ s.T", "W: d[0:1] @ s.T", "the gradient of W: expected 2 units, found 1"),
        (
            "new = x + W @ s",
            "new[1:2] = x[0:1] * 2.0\nq = new * 1.0",
            "new\\[0:2\\] is read before it is written|outside",
        ),
    ],
)
def test_a_program_that_no_engine_could_run_is_refused(line, instead, message):
    assert line in TINY
    with pytest.raises(ValueError, match=message):
        parse(TINY.replace(line, instead))


def test_the_minimal_gated_unit_is_the_cell_of_this_name():
    cell, T, B = MGU(3, 4).double(), 5, 2
    weights = (cell.U.weight, torch.cat([cell.W_f.weight, cell.W_n.weight]), cell.U.bias)
    x, h = torch.randn(T, B, 3, dtype=torch.float64), torch.randn(B, 4, dtype=torch.float64)
    walk = reference_program.forward(Recurrence(mgu(3, 4), weights), Batch((x,), (h,)), False)
    for x_t, found in zip(x, walk.outputs[0]):
        h = cell(x_t, h)
        torch.testing.assert_close(found, h, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_instruction_of_a_way_back_counts(name):
    """Each made wrong in turn, by a factor: some gradient is no longer the derivative."""
    program = PROGRAMS[name]
    torch.manual_seed(len(name))
    random = {"dtype": torch.float64, "requires_grad": True}
    weights = tuple(torch.randn(m.rows, m.columns, **random) for m in program.matrices)
    weights += tuple(torch.randn(p.width, **random) for p in program.parameters)
    x = torch.randn(4, 3, program.inputs[0].width, **random)
    initial = tuple(torch.randn(3, s.width, **random) for s in program.state)
    batch, tensors = Batch((x,), initial), [x, *weights, *initial]
    walk = reference_program.forward(Recurrence(program, weights), batch, True)
    upstream = Upstream(tuple(map(torch.randn_like, walk.outputs)), tuple(map(torch.randn_like, walk.final)))
    loss = sum((out * g).sum() for out, g in zip(walk.outputs + walk.final, upstream.outputs + upstream.final))
    expected = torch.autograd.grad(loss, tensors)
    needs = Needs((True,), (True,) * len(weights), (True,) * len(initial))
    lines = program.text.splitlines()
    first, last = lines.index("backward") + 1, lines.index("gradients")
    for i in range(first, last):
        target, _, value = lines[i].partition(" = ")
        broken = parse("\n".join([*lines[:i], f"right = {value}", f"{target} = right * 1.25", *lines[i + 1 :]]))
        with torch.no_grad():
            recurrence = Recurrence(broken, weights)
            kept = reference_program.forward(recurrence, batch, True)
            found = reference_program.backward(recurrence, batch, kept, upstream, needs)
        gradients = (*found.inputs, *found.weights, *found.initial)
        assert not all(torch.allclose(g, e) for g, e in zip(gradients, expected, strict=True)), lines[i]
