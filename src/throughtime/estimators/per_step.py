"""Estimators with a target for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from throughtime.data.encoding import Encoding
from throughtime.data.sequences import Sequences
from throughtime.estimators.base import AT_LEAST_1, LabelEstimator, SequenceEstimator, required
from throughtime.estimators.inputs import ROWS, SYMBOLS, read, split_by_index
from throughtime.learning.forecasts import forecast


class SequenceTagger(LabelEstimator):
    """A label for each step of each sequence.

    X: S sequences, as `throughtime.estimators` describes them; y: S sequences of as many labels as X has steps, numbers or
    strings. The parameters and attributes are those of `SequenceEstimator`, and `classes_`, the k labels in order.
    """

    _task = "tag"

    def predict(self, X: Any) -> list[np.ndarray]:
        """The most probable labels of each sequence, [T_i]."""
        outputs = self._outputs(X)
        return [self.classes_[z.argmax(1)] for z in outputs]

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """The probabilities ŷ at each step of each sequence, float32 [T_i, k], in the order of `classes_`."""
        return [softmax(z, axis=1) for z in self._outputs(X)]

    def score(self, X: Any, y: Any) -> float:
        """The share of all steps whose label is predicted right."""
        predicted, labels = self.predict(X), _label_sequences(required(self, y))
        _check_steps(predicted, labels)
        return float(accuracy_score(np.concatenate(labels), np.concatenate(predicted)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _encode(
        self, X: Any, y: Any, fresh: bool, sample_weight: np.ndarray | None, classes: Any = None
    ) -> tuple[Sequences, int]:
        inputs = self._encode_inputs(X, fresh, sample_weight)
        labels = _label_sequences(required(self, y))
        _check_steps(inputs, labels)
        codes = self._codes(np.concatenate(labels), fresh, classes)
        offsets = np.cumsum([len(own) for own in labels])[:-1]
        return Sequences.from_arrays(inputs, np.split(codes, offsets)), len(self.classes_)


class SequenceForecaster(SequenceEstimator):
    """The next values of series, each forecast from those before it.

    X: S series of two steps or more, as `throughtime.estimators` describes them; there is no y.

    Args:
        horizon: how many steps after the end of a series `predict` forecasts. After the first, each is forecast from those
            before it, as if they had been seen.

    The other parameters and the attributes are those of `SequenceEstimator`; a network that also reads the series from their
    ends would have read what it is to forecast, and there are no symbols to embed.
    """

    _task = "forecast"
    _parameter_constraints = SequenceEstimator._parameter_constraints | {"horizon": [AT_LEAST_1]}

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        horizon: int = 1,
        num_layers: int = 1,
        cell: Any = "elman",
        nonlinearity: str = "tanh",
        dropout: float = 0.0,
        standardize: bool = True,
        optimizer: Any = "adam",
        learning_rate: float = 3e-3,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers=num_layers,
            cell=cell,
            nonlinearity=nonlinearity,
            dropout=dropout,
            standardize=standardize,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            random_state=random_state,
            verbose=verbose,
        )
        self.horizon = horizon

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from the beginning. `y` is there for scikit-learn's sake and not looked at."""
        return super().fit(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """One more pass, over these series. How X is scaled stays as it was at the first call. `y` is not looked at."""
        return super().partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """The values after the end of each series, float64 [S, horizon, n]; [S, horizon] for the rows of a table."""
        check_is_fitted(self, "model_")
        series = [np.asarray(x, np.float64) for x in read(self, X, reset=False)]
        found = np.stack(forecast(self.model_.eval(), self._encoding, series, self.horizon))
        return found[:, :, 0] if self._kind == ROWS else found

    def score(self, X: Any, y: Any = None) -> float:
        """R² of the forecasts of every step of X but the first of each series, each from those before it."""
        ahead = np.concatenate([z[:-1] for z in self._outputs(X)])
        truth = np.concatenate([x[1:] for x in self._encode_series(X, fresh=False)])
        return float(r2_score(truth, ahead))

    def _encode(self, X: Any, y: Any, fresh: bool, sample_weight: np.ndarray | None) -> tuple[Sequences, int]:
        inputs = self._encode_series(X, fresh, sample_weight)
        if fresh:
            names = tuple(f"feature {i}" for i in range(self._width))
            self._encoding = Encoding("forecast", names, None, names, self._scale, self._scale)
        return Sequences.from_arrays([x[:-1] for x in inputs], [x[1:] for x in inputs]), self._width

    def _encode_series(self, X: Any, fresh: bool, sample_weight: np.ndarray | None = None) -> list[np.ndarray]:
        """X as float32 [T_i, n], where there is something to forecast."""
        inputs = self._encode_inputs(X, fresh, sample_weight)
        if self._kind == SYMBOLS:
            raise TypeError("X: expected series of numbers, found symbols")
        for i, x in enumerate(inputs):
            if len(x) < 2:
                raise ValueError(
                    f"X[{i}]: expected at least 2 steps to forecast one from the other, found 1 (n_features = 1)"
                )
        return inputs


def _label_sequences(y: Any) -> list[np.ndarray]:
    """The labels of each sequence, [T_i]."""
    labels = [np.asarray(list(own) if isinstance(own, str) else own) for own in split_by_index(y)]
    for i, own in enumerate(labels):
        if own.ndim != 1:
            found = "one label" if own.ndim == 0 else f"shape {[*own.shape]}"
            raise ValueError(f"y[{i}]: expected a sequence of labels, one for each step of X[{i}], found {found}")
    return labels


def _check_steps(sequences: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
    """Refuse labels that are not as many as the steps."""
    check_consistent_length(sequences, labels)
    for i, (steps, own) in enumerate(zip(sequences, labels, strict=True)):
        if len(steps) != len(own):
            raise ValueError(f"y[{i}]: expected {len(steps)} labels, as many as X[{i}] has steps, found {len(own)}")
