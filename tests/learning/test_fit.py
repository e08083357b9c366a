"""The recipe of learning: exact updates, carried states, stopping, repeatability, and bad arguments."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from problems import assert_close
from torch import nn

import throughtime as tt
from throughtime.data import Sequences
from throughtime.learning import NonFiniteError, predict_logits


@pytest.fixture(autouse=True)
def _engine(engine: str) -> None:
    """Every test here runs on every engine."""


def network(**options) -> tt.ElmanNetwork:
    torch.manual_seed(1)
    return tt.ElmanNetwork(3, 6, 4, dtype=torch.float64, **options)


def ragged(S: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    x, y = torch.randn(S, 9, 3, dtype=torch.float64), torch.randint(4, (S, 9))
    return x, y, torch.randint(1, 10, (S,))


@pytest.mark.parametrize("initial_state", ["zero", "learned"])
def test_gradient_descent_is_exactly_the_textbooks(initial_state: str) -> None:
    """θ ← θ − η ∇θ over the full batch, for every parameter, three times."""
    net, (x, y, lengths) = network(initial_state=initial_state), ragged()
    theta = {name: p.detach().clone() for name, p in net.named_parameters()}
    for _ in range(3):
        shadow = network(initial_state=initial_state)
        shadow.load_state_dict(theta)
        _, grads = tt.bptt(shadow, x, y, lengths)
        for name in theta:
            g = getattr(grads, name)
            theta[name] = theta[name] - 0.3 * (g.sum(0) if name == "s0" else g)
    tt.fit(net, (x, y, lengths), optimizer="gd", lr=0.3, epochs=3)
    for name, p in net.named_parameters():
        assert_close(p, theta[name], 1e-14, name)


def test_carried_state_is_truncated_bptt() -> None:
    """Windows of 3 over one sequence of 8: the state goes on, the gradient stops at the edge; one update per window."""
    net, by_hand = network(), network()
    x, y = torch.randn(1, 8, 3, dtype=torch.float64), torch.randint(4, (1, 8))
    update, state = torch.optim.SGD(by_hand.parameters(), lr=0.1), None
    for start in (0, 3, 6):
        update.zero_grad()
        loss, state = by_hand.loss(x[:, start : start + 3], y[:, start : start + 3], s0=state, return_state=True)
        loss.backward()
        update.step()
    tt.fit(net, (x, y), optimizer="sgd", lr=0.1, epochs=1, truncate=3, clip_norm=None)
    for name, p in net.named_parameters():
        assert_close(p, by_hand.get_parameter(name), 1e-13, name)


def test_lanes_keep_their_own_states() -> None:
    """With nothing learned (η tiny), the loss over carried windows is that of the whole sequences."""
    net, (x, y, lengths) = network(initial_state="learned"), ragged()
    nn.init.normal_(net.s0)
    whole = tt.evaluate(net, (x, y, lengths))
    for batch_size in (1, 2, 3, 10):
        carried = tt.evaluate(net, (x, y, lengths), truncate=2, batch_size=batch_size)
        assert carried.loss == pytest.approx(whole.loss, rel=1e-12)
        assert (carried.accuracy, carried.count) == (whole.accuracy, whole.count)
        history = tt.fit(net, (x, y, lengths), optimizer="sgd", lr=1e-15, epochs=1, truncate=2, batch_size=batch_size)
        assert history["train_loss"][0] == pytest.approx(whole.loss, rel=1e-9)
    sequences = Sequences.from_arrays([row[:n].numpy() for row, n in zip(x, lengths, strict=True)], dtype=np.float64)
    for z, zt, row, n in zip(
        predict_logits(net, sequences), predict_logits(net, sequences, truncate=4), x, lengths, strict=True
    ):
        expected = net(row[None, :n])[0]
        assert_close(z, expected, 1e-12, "z")
        assert_close(zt, expected, 1e-12, "z over windows")


def test_evaluation_counts_each_label_once() -> None:
    net, (x, y, lengths) = network(), ragged()
    y[0, 0] = -100
    z = net(x, lengths).detach()
    real = (torch.arange(9) < lengths.unsqueeze(1)) & (y != -100)
    found = tt.evaluate(net, (x, y, lengths), batch_size=2)
    assert found.count == int(real.sum())
    assert found.accuracy == pytest.approx(float((z.argmax(-1) == y)[real].double().mean()))
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(z[real], y[real])))


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_every_optimizer_learns(name: str) -> None:
    net, data = network(), ragged()
    history = tt.fit(net, data, optimizer=name, lr=0.01, epochs=30, reduction="token", batch_size=3)
    assert history["train_loss"][-1] < 0.9 * history["train_loss"][0]


def test_optimizer_factory_and_defaults() -> None:
    data = ragged()
    named, made = network(), network()
    tt.fit(named, data, epochs=2)
    tt.fit(made, data, optimizer=functools.partial(torch.optim.Adam, fused=True), lr=1e-3, epochs=2)
    assert torch.equal(named.W, made.W)


def test_same_seed_same_bits_and_the_callers_generator_is_left_alone() -> None:
    train, valid, runs = ragged(), ragged(3), []
    for seed in (5, 5, 6):
        net = network()
        torch.manual_seed(99)
        history = tt.fit(net, train, valid, epochs=3, batch_size=2, truncate=4, seed=seed)
        after = torch.rand(1)
        torch.manual_seed(99)
        assert torch.equal(torch.rand(1), after)
        runs.append((net.W.detach(), history["valid_loss"]))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(runs[0][0], runs[2][0])


def test_clipping_scales_the_whole_gradient() -> None:
    net, by_hand, (x, y, lengths) = network(), network(), ragged()
    _, g = tt.bptt(by_hand, x, y, lengths)
    norm = torch.cat([g.U.flatten(), g.W.flatten(), g.b, g.V.flatten(), g.c]).norm()
    assert norm > 0.5
    history = tt.fit(net, (x, y, lengths), optimizer="sgd", lr=1.0, epochs=1, clip_norm=0.5)
    assert history["gradient_norm"][0] == pytest.approx(float(norm))
    assert_close(by_hand.W - net.W, g.W * 0.5 / norm, 1e-5, "update of W")


def test_early_stopping_restores_the_best_weights() -> None:
    """Random labels cannot be learned: the validation loss rises while the training loss falls."""
    net, weights = network(), []
    history = tt.fit(
        net, ragged(), ragged(5)[:2], lr=0.05, epochs=60, patience=4, watch=lambda m, row: weights.append(m.W.clone())
    )
    assert history.stopped_early
    assert len(history) == history.best_epoch + 4
    assert torch.equal(net.W, weights[history.best_epoch - 1])


def test_cosine_schedule_ends_at_zero() -> None:
    net = network()
    moved = []
    before = net.W.detach().clone()

    def watch(model, row) -> None:
        nonlocal before
        moved.append((model.W - before).norm().item())
        before = model.W.detach().clone()

    tt.fit(net, ragged(), lr=0.01, lr_schedule="cosine", epochs=20, watch=watch)
    assert moved[-1] < 0.05 * moved[0]


def test_watcher_adds_to_the_history(tmp_path) -> None:
    history = tt.fit(network(), ragged(), epochs=2, watch=lambda model, row: row.update(norm_W=model.W.norm().item()))
    assert len(history["norm_W"]) == 2
    history.to_csv(tmp_path / "metrics.csv")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,train_loss,gradient_norm,seconds,norm_W"
    assert len(lines) == 3


def test_non_finite_gradient_stops_and_keeps_the_weights() -> None:
    net, (x, y, lengths) = network(nonlinearity="identity"), ragged()
    with torch.no_grad():
        net.W.fill_(1e200)
    before = net.V.detach().clone()
    with pytest.raises(NonFiniteError, match=r"^epoch 1, update 1 of 1: expected a finite loss and gradient, found"):
        tt.fit(net, (x, y, lengths), epochs=1)
    assert torch.equal(net.V, before)


X, Y = torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.int64)
BAD_ARGUMENTS = {
    "model": ((nn.Linear(3, 4), (X, Y)), {}, TypeError, "model: expected a module with .loss"),
    "no module": ((lambda x: x, (X, Y)), {}, TypeError, "model: expected a module with .loss.*, found function"),
    "LBFGS": (
        (None, (X, Y)),
        {"optimizer": torch.optim.LBFGS},
        TypeError,
        "optimizer: expected one that steps by a gradient.*, found LBFGS, whose step evaluates the loss itself",
    ),
    "data": ((None, X), {}, TypeError, "train: expected Sequences"),
    "empty": ((None, (X[:0], Y[:0])), {}, ValueError, "train: x: expected at least one sequence, found none"),
    "length 0": ((None, (X, Y, [0, 5])), {}, ValueError, r"train: lengths\[0\]: expected 1 to 5 steps, found 0"),
    "too long": ((None, (X, Y, [6, 5])), {}, ValueError, r"train: lengths\[0\]: expected 1 to 5 steps, found 6"),
    "lengths": ((None, (X, Y, [5])), {}, ValueError, "train: lengths: expected 2"),
    **{
        f"lengths {given}": (
            (None, (X, Y, given)),
            {},
            TypeError,
            r"train: lengths: expected whole numbers, .*, found ",
        )
        for given in ([5, None], [5, 4.5], [5, "4"], torch.tensor([5.0, 4.0]), np.array([5, None]), 5)
    },
    "y short": ((None, (X, Y[:, :4])), {}, ValueError, r"train: y\[0\]: expected 5 steps"),
    "fewer y": ((None, (X, Y[:1])), {}, ValueError, "train: expected as many targets y as sequences x, 2, found 1"),
    "nan": ((None, (X / 0, Y)), {}, ValueError, r"train: x\[0\], step 0.*: expected a finite number, found nan"),
    "valid": ((None, (X, Y), (X, Y[:, :4])), {}, ValueError, r"valid: y\[0\]: expected 5 steps"),
    "optimizer": ((None, (X, Y)), {"optimizer": "adamm"}, ValueError, "optimizer: expected one of 'gd'"),
    "lr": ((None, (X, Y)), {"lr": -1.0}, ValueError, "lr: expected a positive number, found -1.0"),
    **{
        f"{name} {value}": ((None, (X, Y)), {name: value}, TypeError, f"{name}: expected .*, found .* of type ")
        for name in ("lr", "clip_norm", "optimizer")
        for value in ([1], {}, True)
    },
    "lr of digits": ((None, (X, Y)), {"lr": "3"}, TypeError, "lr: expected a positive number, found '3' of type str"),
    "seed": (
        (None, (X, Y)),
        {"seed": 1 << 63},
        ValueError,
        "seed: expected a whole number from 0 to 2.63 − 1, found 9",
    ),
    "negative seed": ((None, (X, Y)), {"seed": -1}, ValueError, "seed: expected a whole number from 0 .*, found -1"),
    "epochs": ((None, (X, Y)), {"epochs": 0}, ValueError, "epochs: expected at least 1, found 0"),
    "batch": ((None, (X, Y)), {"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
    "gd batch": ((None, (X, Y)), {"optimizer": "gd", "batch_size": 1}, ValueError, "full batch"),
    "gd window": ((None, (X, Y)), {"optimizer": "gd", "truncate": 2}, ValueError, "full batch"),
    "clip": ((None, (X, Y)), {"clip_norm": 0.0}, ValueError, "clip_norm: expected a positive number"),
    "patience": ((None, (X, Y)), {"patience": 3}, ValueError, "patience: expected validation sequences"),
    "schedule": (
        (None, (X, Y)),
        {"lr_schedule": "step"},
        ValueError,
        "lr_schedule: expected one of 'constant', 'cosine'",
    ),
    "reduction": ((None, (X, Y)), {"reduction": "sum"}, ValueError, "reduction: expected one of 'sequence', 'token'"),
    "label": ((None, (X, Y + 9)), {}, ValueError, "label in row 0, step 0: expected 0 to 3"),
}


def test_sequences_of_another_precision_become_the_models() -> None:
    """float32 sequences and a model in float64, or the other way round: as if they had been made in the model's own."""
    x, y, lengths = ragged()
    rows = [row[:n].numpy() for row, n in zip(x, lengths, strict=True)]
    labels = [row[:n].numpy() for row, n in zip(y, lengths, strict=True)]
    for model, made in ((torch.float64, np.float32), (torch.float32, np.float64)):
        own = np.float64 if model == torch.float64 else np.float32
        found = []
        for values in (rows, [row.astype(made) for row in rows]):
            same = [row.astype(made).astype(own) for row in rows] if values is rows else values
            data = Sequences.from_arrays(same, labels, dtype=own if values is rows else made)
            net = network().to(model)
            history = tt.fit(net, data, data, epochs=2, truncate=3)
            assert predict_logits(net, data)[0].dtype == model
            found.append((net.W, history["valid_loss"]))
        assert torch.equal(found[0][0], found[1][0])
        assert found[0][1] == found[1][1]


def test_inputs_that_require_gradients(engine: str) -> None:
    """Data may come out of another network; what is learned is the same, and no gradient reaches it."""
    (x, y, lengths), found = ragged(), []
    for data in (x, (x * 1).requires_grad_(), (x.clone().requires_grad_() * 1)):
        net = network()
        tt.fit(net, (data, y, lengths), (data, y, lengths), epochs=2)
        value, gradients = tt.bptt(net, data, y, lengths)
        assert not value.requires_grad
        assert not gradients.x.requires_grad
        found.append(net.W.detach())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    through = x.clone().requires_grad_()
    net.loss(through * 2, y, lengths).backward()
    assert_close(through.grad, 2 * tt.bptt(net, x * 2, y, lengths)[1].x, 1e-12, "x")


class OnlyLoss(nn.Module):
    """Nothing but parameters and a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([network()])

    def loss(self, x, y, lengths):
        return self.inner[0].loss(x, y, lengths)


def test_a_model_with_only_a_loss_is_judged_by_it() -> None:
    model, data = OnlyLoss(), ragged()
    history = tt.fit(model, data, ragged(4), epochs=3, patience=2)
    found, expected = tt.evaluate(model, ragged(4)), tt.evaluate(model.inner[0], ragged(4))
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert (found.accuracy, found.count) == (None, expected.count)
    assert history["valid_loss"][-1] == pytest.approx(expected.loss, rel=1e-12)
    assert "valid_accuracy" not in history.rows[0]


class NoLengths(OnlyLoss):
    def loss(self, x, y):
        return None


class NoLengthsInForward(OnlyLoss):
    def forward(self, x):
        return None


class NoInitialState(OnlyLoss):
    def loss(self, x, y, lengths, s0=None, return_state=False):
        return None


WRONG_MODELS = {
    "loss": (NoLengths, {}, r"model: expected \.loss to take \(x, y, lengths\), found \(x, y\): too many"),
    "reduction": (
        OnlyLoss,
        {"reduction": "token"},
        r"\.loss to take \(x, y, lengths, reduction=\), found .* 'reduction'",
    ),
    "truncate": (OnlyLoss, {"truncate": 3}, r"\.loss to take \(x, y, lengths, s0=, return_state=\), found .* 's0'"),
    "state": (
        NoInitialState,
        {"truncate": 3},
        r"expected \.initial_state\(B\) for truncate, found none in NoInitialState",
    ),
    "forward": (NoLengthsInForward, {}, r"model: expected forward to take \(x, lengths\), found \(x\): too many"),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_what_a_model_lacks_is_told_before_the_first_epoch(name: str) -> None:
    kind, options, message = WRONG_MODELS[name]
    with pytest.raises(TypeError, match=message):
        tt.fit(kind(), ragged(), ragged(4), **options)


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_are_one_clear_line(name: str) -> None:
    (model, *data), options, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message) as caught:
        tt.fit(model or tt.ElmanNetwork(3, 6, 4), *data, **options)
    assert "\n" not in str(caught.value)
