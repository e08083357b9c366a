"""What a model must beat: predictions that know nothing, or nothing but the symbol at hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from throughtime.data.sequences import IGNORED, Sequences

MOST_ITERATIONS = 300


def majority_accuracy(train: Sequences, test: Sequences) -> float:
    """The share of the labels of `test` that are the most frequent label of `train`.

    Raises:
        ValueError: a part has no labels.
    """
    train_y, test_y = _labels(train, "train"), _labels(test, "test")
    majority = np.bincount(train_y[train_y != IGNORED]).argmax()
    return float((test_y[test_y != IGNORED] == majority).mean())


def symbol_accuracy(train: Sequences, test: Sequences) -> float:
    """The share of the labels of `test` that are the most frequent label in `train` of the symbol at their step (the first,
    where it has several).

    A symbol that `train` lacks, or has without a label, is given the most frequent label of all.

    Raises:
        ValueError: the inputs are not symbols, or a part has no label for each step.
    """
    for part, name in ((train, "train"), (test, "test")):
        if not part.symbolic or not part.per_step:
            raise ValueError(f"{name}: expected symbols with a label for each step, found other sequences")
    train_y, test_y = _labels(train, "train"), _labels(test, "test")
    known, asked = train_y != IGNORED, test_y != IGNORED
    train_x, test_x = (part.x if part.x.ndim == 1 else part.x[:, 0] for part in (train, test))
    n, k = int(max(train_x.max(), test_x.max())) + 1, int(train_y.max()) + 1
    counts = np.bincount(train_x[known] * k + train_y[known], minlength=n * k).reshape(n, k)
    guess = np.where(counts.any(1), counts.argmax(1), counts.sum(0).argmax())
    return float((guess[test_x[asked]] == test_y[asked]).mean())


def summary_accuracies(train: Sequences, test: Sequences) -> dict[str, float]:
    """The accuracy, on labels of whole sequences, of models that know of each sequence what has no order.

    Features: the mean, deviation, least and greatest value of each, standardised, in a logistic regression and to the nearest
    class mean. Symbols: how often each occurs (a bag of words, or of characters), in a logistic regression on the logarithms.

    Raises: ValueError: a part has no labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestCentroid
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, y), (asked, truth) = (
        (_summary(part)[known], labels[known])
        for part, labels in ((train, _labels(train, "train")), (test, _labels(test, "test")))
        for known in [labels != IGNORED]
    )
    if len(np.unique(y)) < 2:
        return {}
    if train.symbolic:
        width = max(x.shape[1], asked.shape[1])
        x.resize((x.shape[0], width))
        asked.resize((asked.shape[0], width))
        models = {"bag of symbols, logistic regression": LogisticRegression(max_iter=MOST_ITERATIONS)}
    else:
        models = {
            "nearest mean": make_pipeline(StandardScaler(), NearestCentroid()),
            "logistic regression of summaries": make_pipeline(
                StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS)
            ),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a regression that would like more iterations
        return {name: float((model.fit(x, y).predict(asked) == truth).mean()) for name, model in models.items()}


def _summary(part: Sequences) -> Any:
    """What a sequence is without its order: [S, 4 n], or counts as a sparse matrix [S, symbols]."""
    if part.symbolic:
        from scipy.sparse import csr_matrix

        symbols = part.x if part.x.ndim == 1 else part.x[:, 0]
        counts = csr_matrix((np.ones(len(symbols)), symbols, part.offsets), shape=(len(part), int(symbols.max()) + 1))
        counts.sum_duplicates()
        counts.data = np.log1p(counts.data)
        return counts
    rows = [(x.mean(0), x.std(0), x.min(0), x.max(0)) for x in part.inputs]
    return np.array([np.concatenate(row) for row in rows])


def _labels(part: Sequences, name: str) -> np.ndarray:
    if part.y is None or part.y.dtype.kind != "i" or not (part.y != IGNORED).any():
        raise ValueError(f"{name}: expected labels, found none")
    return part.y
