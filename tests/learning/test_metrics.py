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
    assert found["spans"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5}


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
    assert found["targets"] == 4


@pytest.mark.parametrize("y", [None, [np.array([IGNORED, IGNORED])]])
def test_sequences_without_targets_are_refused(y):
    part = Sequences.from_arrays([np.array([0, 1])], y)
    with pytest.raises(ValueError, match="expected targets to compare with, found none"):
        metrics.measure_labels(Fixed(sure(0, 1, 2)), part, Encoding("tag", ("x", "y", "z"), vocabulary=LETTERS))
