"""Estimators with one target for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array, check_consistent_length, column_or_1d

from throughtime.data.encoding import Standardizer
from throughtime.data.sequences import Sequences
from throughtime.estimators.base import LabelEstimator, SequenceEstimator, required


class SequenceClassifier(ClassifierMixin, LabelEstimator):
    """A label for each sequence, read from the final states of a recurrent network.

    X: S sequences, as `throughtime.estimators` describes them; y: S labels, numbers or strings. The parameters and attributes
    are those of `SequenceEstimator`, and `classes_`, the k labels in order.
    """

    _task = "classify"

    def predict(self, X: Any) -> np.ndarray:
        """The most probable labels [S]."""
        z = np.stack(self._outputs(X))
        return self.classes_[z.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities ŷ, float32 [S, k], in the order of `classes_`."""
        return softmax(np.stack(self._outputs(X)), axis=1)

    def _encode(
        self, X: Any, y: Any, fresh: bool, sample_weight: np.ndarray | None, classes: Any = None
    ) -> tuple[Sequences, int]:
        inputs = self._encode_inputs(X, fresh, sample_weight)
        y = column_or_1d(required(self, y), warn=True)
        check_consistent_length(inputs, y)
        codes = self._codes(y, fresh, classes)
        return Sequences.from_arrays(inputs, codes, per_step=False), len(self.classes_)


class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """A number, or m of them, for each sequence, read from the final states of a recurrent network.

    X: S sequences, as `throughtime.estimators` describes them; y: float [S] or [S, m], standardised for the training. The
    parameters and attributes are those of `SequenceEstimator`.
    """

    _task = "regress"

    def predict(self, X: Any) -> np.ndarray:
        """The values, float64 [S] or [S, m] as y was."""
        outputs = np.stack(self._outputs(X, torch.float64))
        values = self._target_scale.invert(outputs)
        return values[:, 0] if self._single_target else values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _encode(self, X: Any, y: Any, fresh: bool, sample_weight: np.ndarray | None) -> tuple[Sequences, int]:
        inputs = self._encode_inputs(X, fresh, sample_weight)
        y = check_array(required(self, y), ensure_2d=False, dtype="float64", input_name="y", estimator=self)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_consistent_length(inputs, y)
        values = y.reshape(len(y), -1)
        if fresh:
            self._single_target = y.ndim == 1
            self._target_scale = Standardizer.fit(values, sample_weight)
        expected = len(self._target_scale.mean)
        if values.shape[1] != expected:
            raise ValueError(f"y: expected {expected} values for each sequence, found {values.shape[1]}")
        return Sequences.from_arrays(inputs, self._target_scale.apply(values), per_step=False), expected
