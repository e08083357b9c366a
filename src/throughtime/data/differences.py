"""What a model of a series is asked to predict: its level, its change, or its change over a season.

    lag 0    the level s_{t+1}
    lag 1    the change s_{t+1} − s_t
    lag m    the change over a season of m steps, s_{t+1} − s_{t+1−m}

The model reads and predicts d_t = s_t − s_{t−lag} (s_t where lag is 0) in place of the series; a forecast is the value before
plus the change. Levels that the training never saw are then no further from zero than those it saw.

Which of the three suits is decided before the training by what a closed form says: a linear autoregression of each, by ridge
regression on the training part, and the least mean absolute error one step ahead on the validation part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PREDICT = ("level", "change", "seasonal-change")
ORDER = 12
"""Steps that the autoregression reads; a season where that is longer, a quarter of the series where that is shorter."""
RIDGE = 1e-3


def lag_of(predict: str, season: int | None) -> int:
    """The lag that a name of `PREDICT` stands for.

    Raises: ValueError: another name, or a seasonal change without a season.
    """
    if predict not in PREDICT:
        raise ValueError(f"predict: expected one of {', '.join(PREDICT)}, found {predict!r}")
    if predict == "seasonal-change" and season is None:
        raise ValueError("predict: expected a season beside seasonal-change, found none")
    return {"level": 0, "change": 1, "seasonal-change": season or 0}[predict]


def differenced(series: np.ndarray, lag: int) -> np.ndarray:
    """d_t of s [L, m]: [L − lag, m]."""
    return series if lag == 0 else series[lag:] - series[:-lag]


def best_lag(
    train: Sequence[np.ndarray], valid: Sequence[np.ndarray], context: Sequence[int], season: int | None
) -> int:
    """The lag whose autoregression forecasts `valid` best; 0 where nothing is long enough to tell.

    Args:
        train: series float [L, m], NaN where a value is missing.
        valid: series whose first `context` steps are known; the forecasts of the others count.
    """
    errors = {lag: _error(train, valid, context, lag, season) for lag in sorted({0, 1, season or 1})}
    known = {lag: error for lag, error in errors.items() if np.isfinite(error)}
    return min(known, key=known.__getitem__) if known else 0


def _error(
    train: Sequence[np.ndarray], valid: Sequence[np.ndarray], context: Sequence[int], lag: int, season: int | None
) -> float:
    """The mean absolute error of the autoregression of d one step ahead, each series' divided by its mean change."""
    shortest = min(len(series) for series in train) - lag
    order = max(1, min(max(ORDER, season or 0), shortest // 4))
    found = []
    for column in range(train[0].shape[1]):
        rows = [_rows(series[:, column], lag, order, 0) for series in train]
        A, y = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        asked = [_rows(s[:, column], lag, order, first) for s, first in zip(valid, context, strict=True)]
        B, truth = (np.concatenate(parts) for parts in zip(*asked, strict=True))
        changes = np.concatenate([np.abs(np.diff(series[:, column])) for series in train])
        if len(y) <= order or not len(truth) or not np.nanmean(changes) > 0:
            return np.inf
        scale = float(np.abs(A).max()) or 1.0
        A, B = (np.column_stack([part / scale, np.ones(len(part))]) for part in (A, B))
        weights = np.linalg.solve(A.T @ A + RIDGE * len(y) * np.eye(A.shape[1]), A.T @ y)
        found.append(float(np.abs(B @ weights - truth).mean() / np.nanmean(changes)))
    return float(np.mean(found))


def _rows(series: np.ndarray, lag: int, order: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The `order` differences before each step from `first` on, [N, order], and those of the steps [N], where all are known."""
    d = differenced(series, lag)
    if len(d) <= order:
        return np.empty((0, order)), np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(d, order + 1)
    windows = windows[max(first - lag - order, 0) :]
    windows = windows[~np.isnan(windows).any(axis=1)]
    return windows[:, :-1], windows[:, -1]
