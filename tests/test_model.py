"""ElmanNetwork: counts, descriptions, kinds of input, and one clear line for every bad one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from problems import assert_close
from torch import nn

import throughtime as tt


@pytest.fixture
def net() -> tt.ElmanNetwork:
    return tt.ElmanNetwork(3, 5, 4)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 7, 3)


@pytest.fixture
def y() -> torch.Tensor:
    return torch.randint(4, (2, 7))


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (3, 17, 5), (102, 128, 7)])
def test_number_of_parameters_is_the_formula(n: int, d: int, k: int) -> None:
    net = tt.ElmanNetwork(n, d, k)
    assert net.num_parameters == d * n + d * d + k * d + d + k
    assert tt.ElmanNetwork(n, d, k, initial_state="learned").num_parameters == net.num_parameters + d
    table = net.describe()
    assert [line.split()[0] for line in table.splitlines()[1:6]] == ["U", "W", "V", "b", "c"]
    assert table.splitlines()[-1] == f"d·n + d·d + k·d + d + k = {net.num_parameters:,}"
    assert f"{d} × {n}" in table


def test_initial_weights() -> None:
    torch.manual_seed(3)
    net = tt.ElmanNetwork(4, 100, 6)
    torch.manual_seed(3)
    assert torch.equal(net.U, tt.ElmanNetwork(4, 100, 6).U)
    assert all(p.abs().max() <= 0.1 for p in net.parameters())
    W = tt.ElmanNetwork(4, 100, 6, initialization="orthogonal", dtype=torch.float64).W
    assert_close(W @ W.T, torch.eye(100), 1e-12, "W Wᵀ")


def test_symbols_are_one_hot_vectors(net: tt.ElmanNetwork, y: torch.Tensor, engine: str) -> None:
    symbols = torch.randint(3, (2, 7))
    one_hot = F.one_hot(symbols, 3).float()
    for found in (symbols, symbols.int(), symbols.to(torch.uint8)):
        assert_close(net(found), net(one_hot), 1e-6, "z")
    net.loss(symbols, y).backward()
    grads = [p.grad for p in net.parameters()]
    net.zero_grad()
    net.loss(one_hot, y).backward()
    for grad, p in zip(grads, net.parameters(), strict=True):
        assert_close(grad, p.grad, 1e-5, "gradient")


def test_feed_forward_network_is_the_recurrent_one_with_one_step(engine: str) -> None:
    """One hidden layer: with T = 1 and s_0 = 0 nothing comes through W, and every other gradient is the same."""
    net = tt.ElmanNetwork(4, 6, 3, dtype=torch.float64)
    hidden, out = nn.Linear(4, 6, dtype=torch.float64), nn.Linear(6, 3, dtype=torch.float64)
    pairs = [(net.U, hidden.weight), (net.b, hidden.bias), (net.V, out.weight), (net.c, out.bias)]
    with torch.no_grad():
        for ours, theirs in pairs:
            theirs.copy_(ours)
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,))
    F.cross_entropy(out(torch.tanh(hidden(x))), y).backward()
    net.loss(x.unsqueeze(1), y.unsqueeze(1)).backward()
    for name, (ours, theirs) in zip("UbVc", pairs, strict=True):
        assert_close(ours.grad, theirs.grad, 1e-12, name)
    assert (net.W.grad == 0).all()


def test_state_is_carried(net: tt.ElmanNetwork, x: torch.Tensor, engine: str) -> None:
    first, state = net(x[:, :4], return_state=True)
    second = net(x[:, 4:], s0=state)
    assert_close(torch.cat([first, second], 1), net(x), 1e-6, "z")
    _, final = net.loss(x, torch.zeros(2, 7, dtype=torch.int64), return_state=True)
    assert not final.requires_grad
    assert_close(final, net(x, return_state=True)[1], 1e-6, "final state")


def test_copies_and_dtypes(net: tt.ElmanNetwork, x: torch.Tensor) -> None:
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(x), net(x))
    double = copy.deepcopy(net).double()
    assert double(x.double()).dtype == torch.float64
    assert_close(net(x), double(x.double()), 1e-5, "z")


BAD_CALLS = {
    "list": (lambda n, x, y: n([1]), TypeError, r"^x: expected a tensor, found list$"),
    "dims": (lambda n, x, y: n(x[0]), ValueError, r"^x: expected shape \[B, T, n=3\], found \[7, 3\]$"),
    "inputs": (lambda n, x, y: n(x[..., :2]), ValueError, r"^x: expected shape \[B, T, n=3\], found \[2, 7, 2\]$"),
    "dtype": (lambda n, x, y: n(x.double()), TypeError, r"^x: expected torch.float32 .* found torch.float64$"),
    "complex": (lambda n, x, y: n(x.cfloat()), TypeError, r"^x: expected torch.float32 .* found torch.complex64$"),
    "no instance": (
        lambda n, x, y: n(x[:0]),
        ValueError,
        r"^x: expected at least one instance .* found shape \[0, 7, 3\]$",
    ),
    "no step": (lambda n, x, y: n(x[:, :0]), ValueError, r"^x: expected at least one instance and one step"),
    "nan": (
        lambda n, x, y: n.loss(x.index_fill(1, torch.tensor(5), torch.nan), y),
        ValueError,
        r"^x in row 0, step 5, input 0: expected a finite number, found nan$",
    ),
    "inf": (
        lambda n, x, y: n(x / 0),
        ValueError,
        r"^x in row 0, step 0, input 0: expected a finite number, found -?inf$",
    ),
    "symbol": (
        lambda n, x, y: n(torch.tensor([[0, 1, 3]])),
        ValueError,
        r"^x: symbol in row 0, step 2: expected 0 to 2, found 3$",
    ),
    "negative symbol": (lambda n, x, y: n(torch.tensor([[-1]])), ValueError, r"expected 0 to 2, found -1$"),
    "label": (
        lambda n, x, y: n.loss(x, y + 4),
        ValueError,
        r"^y: label in row 0, step 0: expected 0 to 3 \(or -100, ignored\), found \d$",
    ),
    "label dtype": (
        lambda n, x, y: n.loss(x, y.float()),
        TypeError,
        r"^y: expected integer labels, found torch.float32$",
    ),
    "steps of y": (
        lambda n, x, y: n.loss(x, y[:, :6]),
        ValueError,
        r"^y: expected shape \[B=2, T=7\], found \[2, 6\]$",
    ),
    "lengths too long": (
        lambda n, x, y: n(x, torch.tensor([7, 8])),
        ValueError,
        r"^lengths: expected 1 to T=7 steps, found 8 in row 1$",
    ),
    "length 0": (lambda n, x, y: n(x, [0, 7]), ValueError, r"^lengths: expected 1 to T=7 steps, found 0 in row 0$"),
    "lengths not B": (lambda n, x, y: n(x, [7]), ValueError, r"^lengths: expected shape \[B=2\], found \[1\]$"),
    "lengths beyond 64 bits": (
        lambda n, x, y: n(x, [7, 2**64]),
        ValueError,
        r"^lengths: expected whole numbers from 1 to T=7, found \[7, 18446744073709551616\]$",
    ),
    "lengths beyond int64": (
        lambda n, x, y: n(x, torch.tensor([7, 2**64 - 1], dtype=torch.uint64)),
        ValueError,
        r"^lengths: expected whole numbers from 1 to T=7, found \[7, 18446744073709551615\]$",
    ),
    "lengths that are none": (lambda n, x, y: n(x, [7, None]), ValueError, r"^lengths: .*, found \[7, None\]$"),
    "lengths of fit": (
        lambda n, x, y: tt.fit(n, (x, y, [7, 2**64]), progress=False),
        ValueError,
        r"^train: lengths\[1\]: expected 1 to 7 steps, found 18446744073709551616$",
    ),
    "seed of fit": (lambda n, x, y: tt.fit(n, (x, y), seed=-1, progress=False), ValueError, r"^seed: .* found -1$"),
    "seed of load": (
        lambda n, x, y: tt.data.load((x, y), seed=2**63),
        ValueError,
        r"^seed: .*, found 9223372036854775808$",
    ),
    "float lengths": (lambda n, x, y: n(x, [7.0, 3.0]), TypeError, r"^lengths: expected whole numbers"),
    "s0": (
        lambda n, x, y: n(x, s0=torch.zeros(5)),
        ValueError,
        r"^s0: expected shape \[B=2, d=5\], found \[5\]$",
    ),
    "reduction": (
        lambda n, x, y: n.loss(x, y, reduction="mean"),
        ValueError,
        r"^reduction: expected one of 'sequence', 'token', found 'mean'$",
    ),
    "nonlinearity": (
        lambda n, x, y: tt.ElmanNetwork(1, 1, 1, "sigmoid"),
        ValueError,
        r"^nonlinearity: expected one of 'tanh', .* found 'sigmoid'; did you mean 'logistic'\?$",
    ),
    "size 0": (lambda n, x, y: tt.ElmanNetwork(3, 0, 4), ValueError, r"^d: expected at least 1, found 0$"),
    "size": (lambda n, x, y: tt.ElmanNetwork(3, 2**64, 4), ValueError, r"^d: expected at most 2\^63 − 1, found 1844"),
    "size of a model": (
        lambda n, x, y: tt.SequenceModel(2**64, 3, 4),
        ValueError,
        r"^n: expected at most .* found 1844",
    ),
    **{
        f"size of {layer.__name__}": (
            lambda n, x, y, layer=layer: layer(3, 2**64),
            ValueError,
            r"^hidden_size: expected at most 2\^63 − 1, found 18446744073709551616$",
        )
        for layer in (tt.nn.RNN, tt.nn.LSTM, tt.nn.GRU, tt.nn.RNNCell, tt.nn.LSTMCell, tt.nn.GRUCell)
    },
    **{
        f"size {size!r} of {layer.__name__}": (
            lambda n, x, y, layer=layer, size=size: layer(size, 4),
            TypeError,
            rf"^input_size should be of type int, got: {type(size).__name__}$",
        )
        for layer in (tt.nn.RNN, tt.nn.LSTMCell)
        for size in (True, 2.5, "3", None)
    },
    **{
        f"layers of {layer.__name__}": (
            lambda n, x, y, layer=layer: layer(3, 4, num_layers=2**64),
            ValueError,
            r"^num_layers: expected at most 2\^63 − 1, found 18446744073709551616$",
        )
        for layer in (tt.nn.RNN, tt.nn.LSTM, tt.nn.GRU)
    },
    "projection": (
        lambda n, x, y: tt.nn.LSTM(3, 4, proj_size=2**64),
        ValueError,
        r"^proj_size: expected at most 2\^63 − 1, found 18446744073709551616$",
    ),
    "size type": (lambda n, x, y: tt.ElmanNetwork(3, 2.0, 4), TypeError, r"^d: expected a whole number, found 2.0"),
    "engine": (lambda n, x, y: tt.set_engine("fast"), ValueError, r"^engine: expected one of 'auto', .* found 'fast'$"),
    "bptt": (lambda n, x, y: tt.bptt(n, x, y[:1]), ValueError, r"^y: expected shape \[B=2, T=7\], found \[1, 7\]$"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_clear_line(name: str, net: tt.ElmanNetwork, x: torch.Tensor, y: torch.Tensor) -> None:
    call, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=message) as caught:
        call(net, x, y)
    assert "\n" not in str(caught.value)


def test_padding_may_hold_anything(net: tt.ElmanNetwork, x: torch.Tensor, y: torch.Tensor, engine: str) -> None:
    expected = net.loss(x[:, :4], y[:, :4])
    x[:, 4:] = torch.inf
    y[:, 4:] = 99
    assert_close(net.loss(x, y, torch.tensor([4, 4])), expected, 1e-6, "loss")


def test_engine_is_chosen_explicitly() -> None:
    assert tt.get_engine() == "auto"
    with tt.engine("reference"):
        assert tt.get_engine() == "reference"
        with pytest.raises(ValueError, match="engine"), tt.engine("fast"):
            pass
    assert tt.get_engine() == "auto"


def test_threads_are_chosen() -> None:
    """More threads sum the weights' gradients in another order, so their last bits may differ, and no more."""
    net = tt.ElmanNetwork(8, 32, 4)
    x, y = torch.randn(64, 50, 8), torch.randint(4, (64, 50))
    found = []
    try:
        for threads in (1, 2, 3, None):
            tt.set_num_threads(threads)
            found.append(tt.bptt(net, x, y)[1].W)
    finally:
        tt.set_num_threads(None)
    assert torch.equal(found[0], found[3])  # the tests run with one thread
    for W in found:
        assert_close(W, found[0], 1e-5, "W")
    with pytest.raises(ValueError, match=r"^threads: expected at least 1, found 0$"):
        tt.set_num_threads(0)


@pytest.mark.parametrize("kind", ["ElmanNetwork", "elman", "lstm", "gru"])
def test_weights_begin_anywhere_within_their_bound(kind):
    torch.manual_seed(0)
    if kind == "ElmanNetwork":
        drawn = dict(tt.ElmanNetwork(50, 100, 40).named_parameters())
    else:
        model = tt.SequenceModel(50, 100, 40, cell=kind)
        drawn = {name: p for name, p in model.named_parameters() if name != "rnn.bias_ih_l0" or kind != "lstm"}
    for name, p in drawn.items():
        if kind == "lstm" and name == "rnn.bias_hh_l0":  # of the forget gate 0
            p = torch.cat([p[:100], p[200:]])
        bound = 100**-0.5
        assert p.abs().max() <= bound, name
        assert p.max() > 0.9 * bound, name
        assert p.min() < -0.9 * bound, name
        assert abs(p.std() / (bound / 3**0.5) - 1) < 0.2, name


def test_states_are_what_the_readout_reads(engine):
    net, x, lengths = tt.ElmanNetwork(3, 5, 2, dtype=torch.float64), torch.randn(2, 4, 3).double(), torch.tensor([4, 2])
    s0 = torch.randn(2, 5).double()
    states = net.states(x, lengths, s0)
    assert torch.equal(states @ net.V.T + net.c, net(x, lengths, s0))
    assert not states[1, 2:].any()
    assert torch.allclose(states[0, 0], torch.tanh(net.U @ x[0, 0] + net.W @ s0[0] + net.b), rtol=1e-12)
