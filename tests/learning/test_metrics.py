"""The measures of labels against counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.data import IGNORED, Encoding, Sequences, Vocabulary
from throughtime.learning import metrics

LETTERS = Vocabulary(("a", "b", "c"))


class Fixed(torch.nn.Module):
    """Predicts for symbol i, at every step or at the last one, the logits of row i."""

    def __init__(self, logits: list[list[float]], per_step: bool = True) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor(logits))
        self.per_step = per_step

    def forward(self, x, lengths=None):
        z = self.table[x]
        if self.per_step:
            return z
        last = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        return z[torch.arange(len(x)), last - 1]


def sure(*labels: int) -> list[list[float]]:
    """Logits that are certain of a label for each symbol, among three."""
    return [[4.0 if i == label else 0.0 for i in range(3)] for label in labels]


def test_tags_by_hand():
    # a -> 0, b -> 1, c -> 1, against labels 0 1 2 | 1 0 (one step ignored)
    part = Sequences.from_arrays(
        [np.array([0, 1, 2, 0]), np.array([1, 1])], [np.array([0, 1, 2, IGNORED]), np.array([1, 0])]
    )
    found = metrics.measure_labels(Fixed(sure(0, 1, 1)), part, Encoding("tag", ("x", "y", "z"), vocabulary=LETTERS))
    right, wrong = -4 + math.log(math.exp(4) + 2), math.log(math.exp(4) + 2)
    assert (found["sequences"], found["targets"]) == (2, 5)
    assert found["accuracy"] == pytest.approx(3 / 5, rel=1e-15)
    assert found["loss"] == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-6)
    assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert found["classes"]["x"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "count": 2}
    assert found["classes"]["y"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "count": 2}
    assert found["classes"]["z"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 1}
    assert found["macro_f1"] == pytest.approx(4 / 9)
    assert "spans" not in found


def test_a_class_that_never_occurs_does_not_weigh_on_the_mean():
    part = Sequences.from_arrays([np.array([0, 1])], [np.array([0, 1])])
    found = metrics.measure_labels(Fixed(sure(0, 1, 2)), part, Encoding("tag", ("x", "y", "z"), vocabulary=LETTERS))
    assert (found["macro_f1"], found["classes"]["z"]["count"]) == (1.0, 0)


def test_classes_of_whole_sequences():
    part = Sequences.from_arrays([np.array([0, 1, 2]), np.array([1, 0]), np.array([1])], [2, 0, IGNORED])
    encoding = Encoding("classify", ("x", "y", "z"), vocabulary=LETTERS)
    found = metrics.measure_labels(Fixed(sure(0, 1, 1), per_step=False), part, encoding)
    assert (found["sequences"], found["targets"], found["accuracy"]) == (3, 2, 0.5)


def test_classes_that_look_like_span_tags_have_no_spans():
    """Where the label is that of a whole sequence."""
    encoding = Encoding("classify", ("O", "B-x", "I-x"), vocabulary=LETTERS)
    part = Sequences.from_arrays([np.array([0, 1]), np.array([2])], [1, 2])
    found = metrics.measure_labels(Fixed(sure(0, 1, 2), per_step=False), part, encoding)
    assert "spans" not in found
    assert found["accuracy"] == 1.0


def test_spans_count_whole():
    labels = ("O", "B-P", "I-P")
    assert metrics.is_bio(labels)
    # true: a span of two and a span of one; predicted: the first one cut short, the second right
    part = Sequences.from_arrays([np.array([1, 0, 0, 1])], [np.array([1, 2, 0, 1])])
    found = metrics.measure_labels(Fixed(sure(0, 1, 2)), part, Encoding("tag", labels, vocabulary=LETTERS))
    kind = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 2}
    assert found["spans"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "types": {"P": kind}}


@pytest.mark.parametrize("labels", [("O", "B-P", "X"), ("NOUN", "VERB"), ("O", "B-P"), ("I", "O"), ("B-", "I-", "O")])
def test_labels_that_are_not_bio(labels):
    assert not metrics.is_bio(labels)


def test_a_language_model_in_bits():
    net = tt.ElmanNetwork(3, 2, 3)
    with torch.no_grad():
        net.V.zero_()
        net.c.zero_()  # every symbol equally likely
    text = np.array([0, 1, 2, 0, 1])
    part = Sequences.from_arrays([text[:-1]], [text[1:]])
    with tt.engine("reference"):
        found = metrics.measure_labels(net, part, Encoding("lm", LETTERS.symbols, vocabulary=LETTERS))
    assert found["bits_per_symbol"] == pytest.approx(math.log2(3), rel=1e-6)
    assert found["perplexity"] == pytest.approx(3, rel=1e-6)
    assert (found["targets"], found["unit"]) == (4, "character")


@pytest.mark.parametrize("y", [None, [np.array([IGNORED, IGNORED])]])
def test_sequences_without_targets_are_refused(y):
    part = Sequences.from_arrays([np.array([0, 1])], y)
    with pytest.raises(ValueError, match="expected targets to compare with, found none"):
        metrics.measure_labels(Fixed(sure(0, 1, 2)), part, Encoding("tag", ("x", "y", "z"), vocabulary=LETTERS))


def test_the_interval_of_the_accuracy_is_over_sequences():
    right = [np.zeros(50, np.int64), np.zeros(50, np.int64)] * 10
    labels = [np.zeros(50, np.int64), np.ones(50, np.int64)] * 10  # half the sequences right, each as a whole
    part = Sequences.from_arrays(right, labels)
    found = metrics.measure_labels(Fixed(sure(0, 1, 2)), part, Encoding("tag", ("x", "y"), vocabulary=LETTERS))
    low, high = found["accuracy_interval"]
    assert found["accuracy"] == 0.5
    assert 0.2 <= low <= 0.35  # of 20 coins; of 1,000 it would be 0.47
    assert 0.65 <= high <= 0.8
    alone = metrics.measure_labels(
        Fixed(sure(0, 1, 2)), part.take(range(9)), Encoding("tag", ("x", "y"), vocabulary=LETTERS)
    )
    assert "accuracy_interval" not in alone


def test_the_baselines_of_whole_sequences_know_what_has_no_order():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = [random.normal(size=(9, 2)) * (1 + 4 * (label == 1)) + 5 * (label == 2) for label in labels]
    part = Sequences.from_arrays(features, labels, per_step=False)
    found = metrics.baselines(part.take(range(40)), part.take(range(40, 60)))
    assert found.keys() == {"most frequent label", "nearest mean", "logistic regression of summaries"}
    assert min(found["nearest mean"], found["logistic regression of summaries"]) >= 0.9
    assert found["most frequent label"] < 0.4
    words = [random.permutation([label] * 3 + [3, 4]) for label in labels]
    symbols = Sequences.from_arrays(words, labels, per_step=False)
    found = metrics.baselines(symbols.take(range(40)), symbols.take(range(40, 60)))
    assert found["bag of symbols, logistic regression"] == 1


def test_the_temperature_makes_probabilities_honest():
    random = np.random.default_rng(0)
    x = [random.integers(3, size=40) for _ in range(20)]
    y = [np.where(random.random(40) < 0.7, own, random.integers(3, size=40)) for own in x]  # 80 % right
    part, encoding = Sequences.from_arrays(x, y), Encoding("tag", ("x", "y", "z"), vocabulary=LETTERS)
    calibrated = metrics.calibrate(Fixed([[20.0 * (i == j) for i in range(3)] for j in range(3)]), part, encoding)
    assert calibrated.calibration is not None
    z = np.array([20.0, 0, 0]) / calibrated.calibration.temperature
    sure_of = np.exp(z[0]) / np.exp(z).sum()
    assert sure_of == pytest.approx((np.concatenate(x) == np.concatenate(y)).mean(), abs=1e-3)
