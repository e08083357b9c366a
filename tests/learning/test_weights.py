"""Weights of sequences, steps and classes: beside a loop over single steps, and beside sequences that are repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from problems import assert_close
from torch import Tensor

import throughtime as tt
from throughtime.data import Sequences
from throughtime.data.batches import collate, schedule
from throughtime.data.weighting import weighted
from throughtime.learning.windows import weight_of
from throughtime.models.sequence_model import OF_ROWS, OF_VALUES, TASKS, SequenceModel

B, T, N, K = 4, 5, 3, 3
LENGTHS = torch.tensor([5, 1, 3, 4])


def problem(task: str) -> tuple[Tensor, Tensor]:
    """x and y, with a target that is left out."""
    torch.manual_seed(3)
    axes = (B,) if task in OF_ROWS else (B, T)
    if task in OF_VALUES:
        y = torch.randn(*axes, K, dtype=torch.float64)
        y[0].view(-1, K)[0, 1], y[2].view(-1, K)[0] = torch.nan, torch.nan
    else:
        y = torch.randint(K, axes)
        y[2].view(-1)[0] = -100
    return torch.randn(B, T, N, dtype=torch.float64), y


def looped(z: Tensor, y: Tensor, weights: Tensor, task: str, reduction: str) -> Tensor:
    """Step by step: Σ w L, over the mean weights of the rows or the weights of the targets that count."""
    total, rows, targets = torch.zeros((), dtype=torch.float64), 0.0, 0.0
    for i in range(B):
        steps = 1 if task in OF_ROWS else int(LENGTHS[i])
        of_row = []
        for t in range(steps):
            found, wanted = (z[i], y[i]) if task in OF_ROWS else (z[i, t], y[i, t])
            w = float(weights[i] if weights.dim() == 1 else weights[i, t])
            of_row.append(w)
            if task in OF_VALUES:
                known = ~wanted.isnan()
                if known.any():
                    total, targets = total + w * (found - wanted)[known].square().mean(), targets + w
            elif wanted != -100:
                total, targets = total - w * found.log_softmax(-1)[wanted], targets + w
        rows += sum(of_row) / steps
    return total / (rows if reduction == "sequence" else targets)


@pytest.mark.parametrize("reduction", ["sequence", "token"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("per_step", [False, True])
def test_loss_and_gradients_are_the_loops(task: str, reduction: str, per_step: bool) -> None:
    if per_step and task in OF_ROWS:
        return
    (x, y), model = problem(task), SequenceModel(N, 6, K, task=task, dtype=torch.float64)
    weights = torch.rand(B, T) if per_step else torch.tensor([2, 0, 1, 3])
    found = model.loss(x, y, LENGTHS, reduction, sample_weight=weights)
    expected = looped(model(x, LENGTHS), y, weights, task, reduction)
    assert_close(found, expected, 1e-13, "loss")
    for (name, p), a, b in zip(
        model.named_parameters(),
        torch.autograd.grad(found, list(model.parameters())),
        torch.autograd.grad(expected, list(model.parameters())),
        strict=True,
    ):
        assert p.shape == a.shape
        assert_close(a, b, 1e-12, name)
    same = model.loss(x, y, LENGTHS, reduction, sample_weight=torch.full((B,), 0.3))
    assert_close(same, model.loss(x, y, LENGTHS, reduction), 1e-6, "equal weights")  # 0.3 is rounded to float32
    assert model.loss(x, y, LENGTHS, reduction, sample_weight=torch.zeros(B)) == 0


@pytest.mark.parametrize("reduction", ["sequence", "token"])
def test_an_elman_network_weighs_as_a_sequence_model_does(reduction: str) -> None:
    x, y = problem("tag")
    net, weights = tt.ElmanNetwork(N, 6, K, dtype=torch.float64), torch.rand(B, T)
    found = net.loss(x, y, LENGTHS, reduction, sample_weight=weights)
    assert_close(found, looped(net(x, LENGTHS), y, weights, "tag", reduction), 1e-13, "loss")
    y[0, 0] = K
    with pytest.raises(ValueError, match="y: label in row 0, step 0"):
        net.loss(x, y, LENGTHS, reduction, sample_weight=weights)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.ones(3), ValueError, r"sample_weight: expected shape \[B=4\] or \[B=4, T=5\], found \[3\]"),
        (-torch.ones(4), ValueError, "sample_weight: expected finite numbers of 0 or more"),
        (torch.full((4,), torch.nan), ValueError, "sample_weight: expected finite numbers of 0 or more"),
        (torch.ones(4, dtype=torch.bool), TypeError, "sample_weight: expected numbers, found torch.bool"),
    ],
)
def test_wrong_weights_of_a_loss_are_named(weights: Tensor, error: type[Exception], message: str) -> None:
    x, y = problem("tag")
    with pytest.raises(error, match=message):
        SequenceModel(N, 6, K, dtype=torch.float64).loss(x, y, LENGTHS, sample_weight=weights)


def ragged(task: str) -> tuple[list[np.ndarray], Any]:
    x, y = problem(task)
    cut = [y[i] if task in OF_ROWS else y[i, :n] for i, n in enumerate(LENGTHS)]
    return [x[i, :n].numpy() for i, n in enumerate(LENGTHS)], [own.numpy() for own in cut]


@pytest.mark.parametrize("reduction", ["sequence", "token"])
@pytest.mark.parametrize("task", ["tag", "classify", "forecast"])
def test_a_weight_does_what_repeating_does(task: str, reduction: str) -> None:
    (x, y), models = ragged(task), []
    rows, options = [0, 0, 2, 3, 3, 3], {"optimizer": "gd", "lr": 0.1, "epochs": 3, "reduction": reduction}
    for data, weights in (((x, y), [2, 0, 1, 3]), (([x[i] for i in rows], [y[i] for i in rows]), None)):
        torch.manual_seed(1)
        models.append(SequenceModel(N, 6, K, task=task, dtype=torch.float64))
        history = tt.fit(models[-1], data, sample_weight=weights, **options)
        models[-1].losses = history["train_loss"]
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert_close(a, b, 1e-12, name)
    assert models[0].losses == pytest.approx(models[1].losses, rel=1e-12)


def test_balanced_classes_weigh_the_same() -> None:
    x = [np.zeros((n, 2), np.float32) for n in (3, 2, 1)]
    y = [np.array([0, 0, 2]), np.array([0, -100]), np.array([0])]
    sequences = Sequences.from_arrays(x, y)
    assert weighted(sequences, None, None) is sequences
    found = weighted(sequences, None, "balanced")
    np.testing.assert_allclose(found.weights, [5 / 8, 5 / 8, 5 / 2, 5 / 8, 1, 5 / 8])
    np.testing.assert_allclose(weighted(sequences, [1, 0, 3], {2: 4}).weights, [1, 1, 4, 0, 0, 3])
    np.testing.assert_allclose(found.take([2, 0]).weights, [5 / 8, 5 / 8, 5 / 8, 5 / 2])
    batch = collate(found, schedule(found.lengths, 3, shuffle=False)[0])
    assert weight_of(batch, "token") == pytest.approx(5)
    assert weight_of(batch, "sequence") == pytest.approx(15 / 4 / 3 + (5 / 8 + 1) / 2 + 5 / 8)


def test_weights_are_carried_through_windows() -> None:
    """With nothing learned (η tiny), the loss over windows is that of the whole sequences."""
    data, losses = ragged("tag"), []
    for truncate in (None, 2):
        torch.manual_seed(1)
        model, weights = SequenceModel(N, 6, K, dtype=torch.float64), [np.arange(n) + 0.5 for n in LENGTHS.tolist()]
        losses.append(
            tt.fit(model, data, sample_weight=weights, class_weight=[1, 2, 3], lr=1e-15, epochs=1, truncate=truncate)
        )
    assert losses[0]["train_loss"] == pytest.approx(losses[1]["train_loss"], rel=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sample_weight": [1, 2]}, ValueError, "sample_weight: expected 4, one for each sequence, found 2"),
        ({"sample_weight": 1}, ValueError, "sample_weight: expected 4, one for each sequence, found one number"),
        ({"sample_weight": [1, 2, -1, 0]}, ValueError, "sample_weight: expected finite numbers of 0 or more, found -1"),
        ({"sample_weight": [0, 0, 0, 0]}, ValueError, "sample_weight: expected a weight above 0, found none"),
        ({"sample_weight": ["a"] * 4}, TypeError, r"sample_weight: expected numbers \[S=4\]"),
        (
            {"sample_weight": [[1]] * 4},
            ValueError,
            r"sample_weight\[0\]: expected 5, one for each step, found shape \[1\]",
        ),
        (
            {"class_weight": "balance"},
            ValueError,
            "class_weight: expected 'balanced', a mapping or numbers, found 'bal",
        ),
        ({"class_weight": [1.0]}, ValueError, "class_weight: expected at least 3 numbers, one for each label"),
        ({"class_weight": {0: -1}}, ValueError, "class_weight: expected finite numbers of 0 or more, found -1"),
    ],
)
def test_wrong_weights_of_a_training_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tt.fit(SequenceModel(N, 6, K, dtype=torch.float64), ragged("tag"), epochs=1, **options)


def test_values_have_no_classes_to_weigh() -> None:
    model = SequenceModel(N, 6, K, task="forecast", dtype=torch.float64)
    with pytest.raises(TypeError, match="class_weight: expected None, as the targets are no labels"):
        tt.fit(model, ragged("forecast"), class_weight="balanced", epochs=1)


def test_a_model_whose_loss_takes_no_weights_is_refused() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = SequenceModel(N, 6, K, dtype=torch.float64)

        def loss(self, x, y, lengths):
            return self.own.loss(x, y, lengths)

    with pytest.raises(TypeError, match=r"expected .loss to take \(x, y, lengths, sample_weight=\)"):
        tt.fit(Plain(), ragged("tag"), sample_weight=[1, 2, 3, 4], epochs=1)
