"""What a model must beat: predictions that know nothing, or nothing but the symbol at hand."""

from __future__ import annotations

import numpy as np

from throughtime.data.sequences import IGNORED, Sequences


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


def _labels(part: Sequences, name: str) -> np.ndarray:
    if part.y is None or part.y.dtype.kind != "i" or not (part.y != IGNORED).any():
        raise ValueError(f"{name}: expected labels, found none")
    return part.y
