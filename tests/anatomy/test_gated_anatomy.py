"""The anatomy of LSTM and GRU: each path against autograd through a loop, gates, ways, Jacobians of the full state."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.anatomy import anatomy
from throughtime.anatomy.plots import heat_map, lag_curve, ways_picture

D64 = torch.float64
LENGTHS = torch.tensor([7, 1, 4])


def problem(kind, **options):
    torch.manual_seed(3)
    rnn = getattr(tt.nn, kind)(3, 4, dtype=D64, **options)
    width = (options.get("proj_size") or 4) * (2 if options.get("bidirectional") else 1)
    readout = nn.Linear(width, 5, dtype=D64)
    return rnn, readout, torch.randn(3, 7, 3, dtype=D64), torch.randint(5, (3, 7))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12, equal_nan=True)


def lstm_step(x, h, c, a_of):
    """One step from the pre-activations `a_of(x, h)`, as PyTorch's operations."""
    i, f, g, o = a_of(x, h).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}])
def test_paths_sum_to_the_gradient_of_training(kind, options):
    rnn, readout, x, y = problem(kind, **options)
    states, _ = rnn(x.transpose(0, 1), lengths=LENGTHS)
    z = readout(states).transpose(0, 1)
    real = torch.arange(7) < LENGTHS.unsqueeze(1)
    loss = nn.functional.cross_entropy(z[real], y[real], reduction="sum") / 3
    for layer in range(options.get("num_layers", 1)):
        for direction in range(2 if options.get("bidirectional") else 1):
            a = anatomy(rnn, x, y, LENGTHS, layer=layer, direction=direction, readout=readout)
            assert a.residual < 1e-12
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            names = {"W": f"weight_hh_{suffix}", "U": f"weight_ih_{suffix}"}
            if options.get("bias", True):
                names |= {"b_ih": f"bias_ih_{suffix}", "b_hh": f"bias_hh_{suffix}"}
            assert set(a.weights) == set(names)
            for name, parameter in names.items():
                [expected] = torch.autograd.grad(loss, getattr(rnn, parameter), retain_graph=True)
                close(a.weights[name].total, expected)
                assert float(a.weights[name].shares.nansum()) == pytest.approx(1, abs=1e-10)


def test_each_path_of_an_lstm_is_what_autograd_gives_for_one_use_of_w():
    rnn, readout, x, y = problem("LSTM")
    a = anatomy(rnn, x[:1], y[:1], readout=readout)
    U, W, b_ih, b_hh = rnn.parameters()
    T = 7
    uses = [W.detach().clone().requires_grad_() for _ in range(T)]  # a W of its own for every step
    h = c = torch.zeros(4, dtype=D64)
    losses = []
    for k in range(T):
        h, c = lstm_step(x[0, k], h, c, lambda x, h, k=k: U @ x + uses[k] @ h + b_ih + b_hh)
        losses.append(nn.functional.cross_entropy(readout(h), y[0, k]))
    for t in range(1, T + 1):
        expected = torch.autograd.grad(losses[t - 1], uses[:t], retain_graph=True)
        for k in range(1, t + 1):
            close(a.path(t, k), expected[k - 1])
            assert float(a.norms[t - 1, k - 1]) == pytest.approx(float(expected[k - 1].norm()), abs=1e-12)
            for g, gate in enumerate(("input", "forget", "candidate", "output")):
                part = expected[k - 1][4 * g : 4 * g + 4]
                assert float(a.W.gates[gate].norms[t - 1, k - 1]) == pytest.approx(float(part.norm()), abs=1e-12)
    close(sum(p.shares for p in a.W.gates.values()), a.shares)
    close(torch.cat([p.total for p in a.W.gates.values()]), a.total)


def test_the_carousel_is_what_is_left_where_nothing_comes_back_through_w():
    rnn, readout, x, y = problem("LSTM")
    a = anatomy(rnn, x[:1], y[:1], readout=readout)
    elementwise, product = a.ways["elementwise"], a.ways["product"]
    U, W, b_ih, b_hh = rnn.parameters()
    uses = [W.detach().clone().requires_grad_() for _ in range(7)]
    h = c = torch.zeros(4, dtype=D64)
    losses = []
    for k in range(7):
        h, c = lstm_step(x[0, k], h.detach(), c, lambda x, h, k=k: U @ x + uses[k] @ h + b_ih + b_hh)
        losses.append(nn.functional.cross_entropy(readout(h), y[0, k]))
    for t in range(1, 8):
        for k, expected in enumerate(torch.autograd.grad(losses[t - 1], uses[:t], retain_graph=True), 1):
            assert float(elementwise.norms[t - 1, k - 1]) == pytest.approx(float(expected.norm()), abs=1e-12)
    close(elementwise.total + product.total, a.total)
    close(elementwise.shares + product.shares, a.shares)
    assert torch.equal(product.norms.diagonal(), torch.zeros(7, dtype=D64))  # a step's own path crosses nothing
    assert float(product.norms[6, 1]) > 0


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_ways_sum_to_the_whole_in_every_cell_and_direction(kind, reverse):
    rnn, readout, x, y = problem(kind, bidirectional=True)
    a = anatomy(rnn, x, y, LENGTHS, direction=int(reverse), readout=readout)
    close(sum(p.total for p in a.ways.values()), a.total)
    close(sum(p.shares for p in a.ways.values()), a.shares)


@pytest.mark.parametrize("options", [{"reset_after": False}, {}])
def test_both_forms_of_the_gru(options):
    rnn, readout, x, y = problem("GRU", **options)
    a = anatomy(rnn, x, y, LENGTHS, readout=readout)
    assert a.residual < 1e-12
    for k in range(1, 5):
        assert float(a.norms[2, 3, k - 1]) == pytest.approx(float(a.path(4, k, 2).norm()), abs=1e-12)
    assert set(a.W.gates) == {"reset", "update", "candidate"}


def test_a_projected_lstm_has_paths_to_its_projection():
    rnn, readout, x, y = problem("LSTM", proj_size=2)
    a = anatomy(rnn, x, y, LENGTHS, readout=readout)
    assert set(a.weights) == {"U", "W", "P", "b_ih", "b_hh"}
    assert a.residual < 1e-12


def test_gates_are_open_as_far_as_their_sigmoids_say():
    rnn, readout, x, y = problem("LSTM")
    with torch.no_grad():
        for p in rnn.parameters():
            p.zero_()
        rnn.bias_ih_l0[4:8] = 2.0  # the forget gate
    a = anatomy(rnn, x, y, LENGTHS, readout=readout)
    forget = a.openness["forget"]
    assert forget.shape == (3, 7)
    close(forget[0], torch.full((7,), 1 / (1 + math.exp(-2)), dtype=D64))
    close(a.openness["input"][0], torch.full((7,), 0.5, dtype=D64))
    assert bool(forget[1, 1:].isnan().all())


def test_jacobians_and_exponents_are_those_of_the_full_state():
    rnn, readout, x, y = problem("LSTM")
    a = anatomy(rnn, x[:1], y[:1], readout=readout)
    U, W, b_ih, b_hh = (p.detach() for p in rnn.parameters())
    h = c = torch.zeros(4, dtype=D64)
    steps = []
    for k in range(7):

        def step(state, k=k):
            return torch.cat(lstm_step(x[0, k], state[:4], state[4:], lambda x, own: U @ x + W @ own + b_ih + b_hh))

        steps.append(torch.autograd.functional.jacobian(step, torch.cat([h, c])))
        h, c = step(torch.cat([h, c])).split(4)
    product = steps[5] @ steps[4] @ steps[3]
    assert float(a.jacobian_norms[5, 2]) == pytest.approx(float(torch.linalg.matrix_norm(product, 2)), rel=1e-8)
    frame = torch.linalg.qr(torch.randn(8, 8, dtype=D64, generator=torch.Generator().manual_seed(0)))[0]
    logs = []
    for k, J in enumerate(steps):
        frame, R = torch.linalg.qr(J @ frame)
        if k >= 7 // 4:
            logs.append(R.diagonal().abs().log())
    close(a.lyapunov.sort()[0], torch.stack(logs).mean(0).sort()[0])


def test_an_lstm_that_forgets_nothing_keeps_its_gradient_on_the_carousel():
    rnn, readout, x, y = problem("LSTM")
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(0.1)
        rnn.bias_ih_l0[4:8] = 20.0  # f = 1
    a = anatomy(rnn, x[:1], y[:1], readout=readout)
    assert float(a.ways["elementwise"].shares.nansum()) > 0.9
    assert abs(float(a.lyapunov[0])) < 0.05


def shown_as(image, expected):
    """Whether an image holds an array; what lies below its scale, or nowhere, aside."""
    drawn, expected = np.ma.asarray(image.get_array()).filled(np.nan), expected.numpy()
    seen = expected >= image.norm.vmin
    assert seen.any()
    np.testing.assert_allclose(drawn[seen], expected[seen])
    assert not (drawn[~seen] > image.norm.vmin).any()


def test_pictures_and_page_of_a_gated_cell(tmp_path):
    rnn, readout, x, y = problem("GRU")
    a = anatomy(rnn, x, y, LENGTHS, readout=readout)
    text = str(a.derivation(5))
    assert "new_h" in text
    assert "δ_5,k" in text
    assert a.arrays()["W_norms"].shape == (3, 7, 7)
    map_image = heat_map(a, instance=2).axes[0].images[0]
    shown_as(map_image, a.W.norms[2, : LENGTHS[2], : LENGTHS[2]])
    bars = [bar.get_height() for bar in lag_curve(a).axes[0].containers[0]]
    assert bars == pytest.approx((100 * a.by_lag).tolist())
    figure = ways_picture(a, instance=2)
    figure.savefig(tmp_path / "ways.png")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["elementwise way", "product way"]
    for axes, paths in zip(figure.axes, a.ways.values(), strict=False):
        shown_as(axes.images[0], paths.norms[2, : LENGTHS[2], : LENGTHS[2]])
    assert {line.get_label() for line in figure.axes[2].lines} == {"reset", "update"}
    for line in figure.axes[2].lines:
        assert line.get_ydata().tolist() == a.openness[line.get_label()][2, : LENGTHS[2]].tolist()
    a.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for name in ("W reset", "W update", "W candidate", "W, elementwise way", "W, product way"):
        assert f'"{name}"' in page


def test_a_watch_follows_a_gated_model():
    rnn, readout, x, y = problem("LSTM")
    watch = tt.anatomy.Watch(x, y, LENGTHS, readout=readout, budget=1)
    row = {"epoch": 1.0, "seconds": 1.0}
    watch(rnn, row)
    assert watch.looks[0].horizon == row["horizon"] == anatomy(rnn, x, y, LENGTHS, readout=readout).horizon()


class Leaky(nn.Module):
    """Two matrices by call-level arithmetic, a state of one part."""

    def __init__(self, n, d):
        super().__init__()
        self.U, self.W = nn.Linear(n, d, dtype=D64), nn.Linear(d, d, bias=False, dtype=D64)

    def forward(self, x, h):
        return 0.7 * h + 0.3 * torch.tanh(self.U(x) + self.W(h))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_cell_of_ones_own(reverse):
    torch.manual_seed(1)
    layer = tt.nn.Recurrent(lambda n: Leaky(n, 4), 3, bidirectional=True, state_size=4)
    readout = nn.Linear(8, 5, dtype=D64)
    x, y = torch.randn(3, 7, 3, dtype=D64), torch.randint(5, (3, 7))
    a = anatomy(layer, x, y, LENGTHS, readout=readout, direction=int(reverse))
    states, _ = layer(x.transpose(0, 1), lengths=LENGTHS)
    z = readout(states).transpose(0, 1)
    real = torch.arange(7) < LENGTHS.unsqueeze(1)
    loss = nn.functional.cross_entropy(z[real], y[real], reduction="sum") / 3
    [expected] = torch.autograd.grad(loss, layer.cells[int(reverse)].W.weight)
    close(a.total, expected)
    close(sum(p.total for p in a.ways.values()), a.total)


def test_what_is_no_program_or_reads_drives_is_refused():
    readout = nn.Linear(4, 5, dtype=D64)
    x, y = torch.randn(3, 7, 3, dtype=D64), torch.randint(5, (3, 7))
    layer = tt.nn.Recurrent(Leaky(3, 4), engine="loop", state_size=4)
    with pytest.raises(ValueError, match="net: expected cells that run as programs; no program: asked for"):
        anatomy(layer, x, y, readout=readout)
    with pytest.raises(ValueError, match="readout.weight: expected shape"):
        anatomy(tt.nn.Recurrent(Leaky(3, 4), state_size=4), x, y, readout=nn.Linear(3, 5, dtype=D64))
