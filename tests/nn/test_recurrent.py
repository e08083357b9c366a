"""`Recurrent`: cells of users, beside their own loops; state, stacks, pieces, drives, and what is refused."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence
from tracing.beside_loop import B, T, cells_gradients, check_beside_loop

import throughtime as tt
from throughtime.tracing import CannotTraceError

n, d = 5, 6


class Leaky(nn.Module):
    """A matrix that is computed of parameters, and one rate per unit."""

    def __init__(self, n=n, d=d):
        super().__init__()
        self.U, self.W, self.rate = nn.Linear(n, d), nn.Parameter(torch.randn(d, d) / 2), nn.Parameter(torch.rand(d))
        self.leak = 0.1

    def forward(self, x, h):
        W = self.W - self.W.T - self.leak * torch.eye(len(self.W), dtype=self.W.dtype)
        return (1 - self.rate) * h + self.rate * torch.tanh(self.U(x) + h @ W.T)


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        return g / (1 + 5 * v.abs()) ** 2


class Spiking(nn.Module):
    def __init__(self):
        super().__init__()
        self.U, self.W, self.decay = nn.Linear(n, d), nn.Linear(d, d, False), nn.Parameter(torch.tensor(0.9))

    def forward(self, x, state):
        z, v = state
        v = self.decay * v * (1 - z) + self.U(x) + self.W(z)
        return Spike.apply(v - 0.5), (Spike.apply(v - 0.5), v)


class Heads(nn.Module):
    """A state of two axes, block-diagonal products, an output of its own, a norm over units."""

    def __init__(self):
        super().__init__()
        self.R, self.U, self.norm = nn.Parameter(torch.randn(2, 3, 3)), nn.Linear(n, 6), nn.LayerNorm(6)
        self.V = nn.Linear(6, 4)

    def forward(self, x, h):
        a = self.U(x).unflatten(1, (2, 3)) + torch.einsum("bhi,hij->bhj", h, self.R)
        h = torch.tanh(self.norm(a.flatten(1))).unflatten(1, (2, 3))
        return self.V(h.flatten(1)).softmax(-1), h


class Symbols(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell = nn.Embedding(9, n), nn.GRUCell(n, d)

    def forward(self, x, h=None):
        return self.cell(self.embed(x), h)


class Noisy(nn.Module):
    """Two drives: a number that is added, and a mask of truth values."""

    def __init__(self):
        super().__init__()
        self.cell = nn.RNNCell(n, d)

    def forward(self, x, h, noise, mask):
        return torch.where(mask, self.cell(x, h) + noise, h)


def inputs(*shape, dtype=torch.float64):
    torch.manual_seed(3)
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def state_of(*sizes):
    torch.manual_seed(4)
    parts = tuple(torch.randn(B, *size, dtype=torch.float64, requires_grad=True) for size in sizes)
    return parts if len(parts) > 1 else parts[0]


@pytest.mark.parametrize(
    ("cell", "sizes"),
    [
        (nn.RNNCell(n, d), [[d]]),
        (nn.GRUCell(n, d), [[d]]),
        (nn.LSTMCell(n, d), [[d], [d]]),
        (Leaky(), [[d]]),
        (Spiking(), [[d], [d]]),
        (Heads(), [[2, 3]]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_results_and_gradients_are_the_loops(cell, sizes):
    layer = check_beside_loop(cell.double(), inputs(T, B, n), state_of(*sizes))
    starts = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.3
    lengths = torch.tensor([T, 2, 5])
    check_beside_loop(layer, inputs(T, B, n), state_of(*sizes), lengths=lengths, starts=starts)
    check_beside_loop(layer, inputs(1, B, n), state_of(*sizes))


def test_symbols_are_embedded_within_the_cell():
    x = torch.randint(9, (T, B))
    layer = check_beside_loop(Symbols().double(), x, lengths=torch.tensor([T, 2, 5]))
    assert layer.program.inputs[0].width == 9


def test_drives_are_further_inputs():
    mask = (torch.rand(1, B, d) < 0.5).expand(T, B, d)  # one mask a sequence
    check_beside_loop(Noisy().double(), inputs(T, B, n), state_of([d]), drives=(inputs(T, B, d), mask))


def test_pieces_are_those_run_apart():
    layer = tt.nn.Recurrent(nn.GRUCell(n, d).double(), engine="program")
    x = inputs(T, B, n)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[3] = True
    y, last = layer(x, starts=starts)
    first, second = layer(x[:3])[0], layer(x[3:])
    torch.testing.assert_close(y, torch.cat([first, second[0]]))
    torch.testing.assert_close(last, second[1])


def test_stacks_and_both_directions_are_torchs():
    ours = tt.nn.Recurrent(lambda n: nn.LSTMCell(n, d), n, num_layers=2, bidirectional=True, batch_first=True).double()
    torchs = nn.LSTM(n, d, num_layers=2, bidirectional=True, batch_first=True).double()
    for i, cell in enumerate(ours.cells):
        suffix = f"l{i // 2}" + ("_reverse" if i % 2 else "")
        cell.load_state_dict({k: getattr(torchs, f"{k}_{suffix}").detach() for k in cell.state_dict()})
    x, lengths = inputs(B, T, n), torch.tensor([T, 2, 5])
    y, last = ours(x, lengths=lengths)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, (h, c) = torchs(packed)
    ours.batch_first = False
    found, last_packed = ours(packed)
    torch.testing.assert_close(found.data, expected.data)
    assert torch.equal(found.batch_sizes, expected.batch_sizes)
    for i, (one, other) in enumerate(zip(last, last_packed, strict=True)):
        torch.testing.assert_close(one, (h[i], c[i]))
        torch.testing.assert_close(one, other)
    assert not y[1, 2:].any()


def test_the_cell_stays_the_users():
    cell = Leaky().double()
    layer = tt.nn.Recurrent(cell, state_size=d)
    assert layer.cell is cell
    assert list(layer.state_dict()) == ["cell.W", "cell.rate", "cell.U.weight", "cell.U.bias"]
    y, _ = layer(inputs(T, B, n))
    with torch.no_grad():
        cell.U.weight.mul_(2)
    again, _ = layer(inputs(T, B, n))
    assert not torch.equal(y, again)
    assert len(layer._loops[0].traces) == 1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not twin._loops[0].traces
        assert twin._loops[0].cell is twin.cell
        assert torch.equal(twin(inputs(T, B, n))[0], again)


def test_what_a_trace_bakes_in_is_seen():
    cell = Leaky().double()
    layer = tt.nn.Recurrent(cell, state_size=d, engine="program")
    loop = tt.nn.Recurrent(cell, state_size=d, engine="loop")
    x = inputs(T, B, n)
    for change in (lambda: setattr(cell, "leak", 0.7), lambda: cell.eval(), lambda: cell.W.requires_grad_(False)):
        layer(x)
        before = len(layer._loops[0].traces)
        change()
        torch.testing.assert_close(layer(x)[0], loop(x)[0])
        assert len(layer._loops[0].traces) == before + 1
    layer(inputs(2, 17, n))  # neither length nor batch
    assert len(layer._loops[0].traces) == before + 1
    layer.retrace()
    assert not layer._loops[0].traces


def test_parametrizations_run_once_a_call_and_may_draw():
    class Drop(nn.Module):
        def forward(self, W):
            self.calls = getattr(self, "calls", 0) + 1
            return nn.functional.dropout(W, 0.5)

    cell = nn.RNNCell(n, d).double()
    parametrize.register_parametrization(cell, "weight_hh", Drop())
    layer = tt.nn.Recurrent(cell, engine="program")
    layer(inputs(T, B, n))
    drop = cell.parametrizations.weight_hh[0]
    drop.calls = 0
    torch.manual_seed(7)
    found = cells_gradients(layer, inputs(T, B, n), None, 1)
    assert drop.calls == 1
    torch.manual_seed(7)
    with parametrize.cached():
        loop = tt.nn.Recurrent(cell, engine="loop")
        loop._loops[0].structures = layer._loops[0].structures
        expected = cells_gradients(loop, inputs(T, B, n), None, 1)
    for name, e in expected.items():
        torch.testing.assert_close(found[name], e)


class Branch(nn.Module):
    def forward(self, x, h):
        return h + x if h.sum() > 0 else h - x


class Random(nn.Module):
    def forward(self, x, h):
        return nn.functional.dropout(h + x, 0.5)


class Mixing(nn.Module):
    def forward(self, x, h):
        return h + (x - x.mean(0))


class Counting(nn.Module):
    def forward(self, x, h):
        return h + x / len(x)


class Hidden(nn.Module):
    """Something made of parameters that a function of the user's own takes."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(n, dtype=torch.float64))

    def forward(self, x, h):
        return h + Times.apply(x, 2 * self.w)


class Loose(nn.Module):
    """A tensor that learns and is no parameter."""

    def __init__(self):
        super().__init__()
        self.extra = torch.ones(n, dtype=torch.float64, requires_grad=True)

    def forward(self, x, h):
        return h + x * self.extra


OUTSIDE = torch.ones(n, dtype=torch.float64, requires_grad=True)


class Outer(nn.Module):
    def forward(self, x, h):
        return h + x * OUTSIDE


class Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, (g * x).sum(0)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (Branch(), "a branch on a tensor's values .test_recurrent.py.*h.sum.*torch.where"),
        (Random(), "random numbers drawn inside a step .test_recurrent.py.*dropout.*drives"),
        (Mixing(), "mean over the batch .test_recurrent.py.*x.mean.*each row"),
        (Counting(), "depends on the number of rows .test_recurrent.py.*len.x"),
        (Outer(), "a tensor that has a gradient and is no parameter of the cell .test_recurrent.py.*OUTSIDE"),
        (Loose(), "the tensor extra has a gradient and is no parameter; register it"),
        (Hidden(), "register it as a parametrization|after its sum over rows"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_no_program_can_be_is_told_and_looped_over(cell, told):
    x = inputs(T, B, n)
    with pytest.raises(CannotTraceError, match=told):
        tt.nn.Recurrent(cell, state_size=n, engine="program")(x)
    layer = tt.nn.Recurrent(cell, state_size=n)
    with pytest.warns(RuntimeWarning, match=told) as caught:
        layer(x)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once
        y, _ = layer(x)
    assert y.shape == x.shape
    assert layer.engine.startswith("loop: ")
    with tt.engine("reference"), pytest.raises(CannotTraceError, match='engine "reference"'):
        layer(x)


def test_hooks_are_called():
    cell, calls = nn.GRUCell(n, d), []
    cell.register_forward_hook(lambda *_: calls.append(1))
    with pytest.warns(RuntimeWarning, match="hooks"):
        tt.nn.Recurrent(cell)(inputs(T, B, n, dtype=torch.float32))
    assert len(calls) >= T


def test_a_cells_own_start_must_be_zero():
    class One(nn.Module):
        def forward(self, x, h=None):
            return x + (torch.ones_like(x) if h is None else h)

    with pytest.raises(ValueError, match="starts from another state than zero"):
        tt.nn.Recurrent(One())(inputs(T, B, n))
    with pytest.raises(ValueError, match="cannot be called without a state.*state_size"):
        tt.nn.Recurrent(Leaky().double())(inputs(T, B, n))


def test_second_derivatives_are_the_loops():
    for cell, sizes in ((nn.GRUCell(n, d).double(), [[d]]), (Spiking().double(), [[d], [d]])):
        x, state = inputs(3, 2, n), tuple(torch.randn(2, *s, dtype=torch.float64) for s in sizes)
        found = []
        for engine in ("program", "loop"):
            layer = tt.nn.Recurrent(cell, engine=engine)
            y, _ = layer(x, state if len(sizes) > 1 else state[0])
            (g,) = torch.autograd.grad((y * y.detach().cos()).sum(), x, create_graph=True)
            found.append(torch.autograd.grad((g**2).sum(), [x, *cell.parameters()], allow_unused=True))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own forward mode uses it
def test_transforms_and_forward_mode():
    cell = nn.GRUCell(n, d).double()
    layer = tt.nn.Recurrent(cell, engine="program")
    x, tangent = inputs(T, B, n).detach(), torch.randn(T, B, n, dtype=torch.float64)

    def loss(x, engine="program"):
        return tt.nn.Recurrent(cell, engine=engine)(x)[0].pow(2).sum()

    layer(x)
    torch.testing.assert_close(torch.func.grad(loss)(x), torch.func.grad(lambda x: loss(x, "loop"))(x))
    one, other = (torch.func.jvp(lambda x, e=e: loss(x, e), (x,), (tangent,)) for e in ("program", "loop"))
    torch.testing.assert_close(one, other)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo looks at it
def test_compiled_code_leaves_it_as_it_is():
    layer = tt.nn.Recurrent(nn.GRUCell(n, d), engine="program")
    x = inputs(T, B, n, dtype=torch.float32).detach()
    compiled = torch.compile(lambda x: layer(x * 2)[0].sum() + 1, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x * 2)[0].sum() + 1)


def test_steps_are_the_sequence():
    layer = tt.nn.Recurrent(lambda n: nn.LSTMCell(n, d), n, num_layers=2)
    x, state = inputs(T, B, n, dtype=torch.float32), None
    y, last = layer(x)
    for t in range(T):
        one, state = layer.step(x[t], state)
        torch.testing.assert_close(one, y[t])
        assert not one.requires_grad
    torch.testing.assert_close(state, last)


def test_bad_arguments_are_told():
    with pytest.raises(TypeError, match="expected a function that makes cells"):
        tt.nn.Recurrent(nn.GRUCell(n, d), num_layers=2)
    one = nn.GRUCell(d, d)
    with pytest.raises(ValueError, match="a new cell for every layer and direction"):
        tt.nn.Recurrent(lambda n: one, d, num_layers=2)
    layer = tt.nn.Recurrent(nn.GRUCell(n, d))
    x = inputs(T, B, n, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"state: expected \[B=3, …\] in part 0, found \[4, 6\]"):
        layer(x, torch.zeros(4, d))
    with pytest.raises(ValueError, match=r"drives\[0\]: expected \[T=7, B=3, …\]"):
        layer(x, drives=(x[:2],))
    with pytest.raises(RuntimeError, match="T = 0"):
        layer(x[:0])
    with pytest.raises(RuntimeError, match="not run yet"):
        _ = layer.program
