"""How much each sequence, step or class counts while a model learns.

The weight of a target is that of its sequence or step times that of its class. Balanced classes: of k classes that there are,

    c_j = Σ_i w_i / (k Σ_{i: y_i = j} w_i)

so that all have the same sum of weights and the sum of all weights stays what it was (King and Zeng, 2001, "Logistic regression
in rare events data"; scikit-learn's "balanced").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from throughtime.data.sequences import IGNORED, Sequences

ClassWeight = str | Mapping[int, float] | Sequence[float] | np.ndarray


def weighted(sequences: Sequences, sample_weight: Any, class_weight: ClassWeight | None) -> Sequences:
    """The sequences with the weights of their targets.

    Args:
        sample_weight: None, a number of 0 or more for each sequence, float [S]; or, where targets are per step, lists of such
            numbers for the steps of each, [T_i].
        class_weight: None, "balanced", or numbers of 0 or more for the labels: a mapping (1 for those that it lacks) or [k].

    Raises: TypeError, ValueError: weights that do not fit; the message names the argument.
    """
    if sample_weight is None and class_weight is None:
        return sequences
    weights = np.ones(len(sequences)) if sample_weight is None else _own(sequences, sample_weight)
    if class_weight is not None:
        if sequences.y is None or sequences.y.dtype.kind != "i":
            raise TypeError("class_weight: expected None, as the targets are no labels, found weights")
        if sequences.per_step and len(weights) == len(sequences):
            weights = np.repeat(weights, sequences.lengths)
        weights = weights * _of_classes(sequences.y, weights, class_weight)
    if not weights.any():
        raise ValueError("sample_weight: expected a weight above 0, found none")
    return replace(sequences, weights=weights)


def _own(sequences: Sequences, sample_weight: Any) -> np.ndarray:
    """float64 [S], or [N] of all steps."""
    S = len(sequences)
    several = hasattr(sample_weight, "__len__") and getattr(sample_weight, "ndim", 1) > 0
    if not several or len(sample_weight) != S:
        found = str(len(sample_weight)) if several else "one number"
        raise ValueError(f"sample_weight: expected {S}, one for each sequence, found {found}")
    if sequences.per_step and np.ndim(sample_weight[0]) == 1:
        for i, (own, T) in enumerate(zip(sample_weight, sequences.lengths.tolist(), strict=True)):
            if np.shape(own) != (T,):
                raise ValueError(
                    f"sample_weight[{i}]: expected {T}, one for each step, found shape {list(np.shape(own))}"
                )
        sample_weight = np.concatenate([np.asarray(own) for own in sample_weight])
    weights = np.asarray(sample_weight)
    if weights.ndim != 1 or weights.dtype.kind not in "iuf":
        raise TypeError(f"sample_weight: expected numbers [S={S}], found {weights.dtype} {list(weights.shape)}")
    return _checked("sample_weight", weights)


def _of_classes(y: np.ndarray, weights: np.ndarray, class_weight: ClassWeight) -> np.ndarray:
    """The weight of each label's class, float64 like y; 1 where the label is ignored."""
    known = y != IGNORED
    sums = np.bincount(y[known], weights[known])
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight: expected 'balanced', a mapping or numbers, found {class_weight!r}")
        there = sums > 0
        table = np.where(there, sums.sum() / (max(there.sum(), 1) * np.where(there, sums, 1.0)), 1.0)
    elif isinstance(class_weight, Mapping):
        table = np.array([class_weight.get(label, 1.0) for label in range(len(sums))], np.float64)
    else:
        table = np.asarray(class_weight, np.float64)
        if table.ndim != 1 or len(table) < len(sums):
            raise ValueError(
                f"class_weight: expected at least {len(sums)} numbers, one for each label, found shape {list(table.shape)}"
            )
    table = _checked("class_weight", table)
    return np.where(known, table[np.where(known, y, 0)], 1.0)


def _checked(name: str, weights: np.ndarray) -> np.ndarray:
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise ValueError(f"{name}: expected finite numbers of 0 or more, found {weights[wrong[0]]} at {wrong[0]}")
    return weights.astype(np.float64)
