"""Forecasts of numeric series: going on from their end, and a rolling backtest beside forecasts that know little.

    naive            ŝ_{t+h} = s_t
    seasonal naive   ŝ_{t+h} = s_{t+h−m⌈h/m⌉}: the value of the same season, m steps long, when it was last seen
    model            ŝ_{t+h} = ŝ_{t+h−lag} + what it predicts (see `differences`), shrunk toward naive (see `calibration`)
    MASE             mean |s − ŝ| / mean |s_t − s_{t−1}| of the training part (Hyndman and Koehler, 2006)

S: series, L_i: values of a series, n: inputs, k: values forecast, H: horizon, m: season.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime.core.weights import dtype_of
from throughtime.data.calibration import LEVELS, Calibration, shrinkage
from throughtime.data.differences import differenced
from throughtime.data.encoding import Encoding
from throughtime.data.sequences import Sequences
from throughtime.models.states import each

MODEL, NAIVE, SEASONAL = "model", "naive", "seasonal naive"


def forecast(model: Any, encoding: Encoding, inputs: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
    """The `steps` values after the end of each series: [steps, k], in the units of the data.

    After the first, each is forecast from those before it, as if they had been seen.

    Args: inputs: the features of each series [L_i, n], in the units of the data.

    Raises: ValueError: no step, several of a model whose inputs are not the values that it forecasts, or too short a series.
    """
    _check_horizon(encoding, steps, "steps")
    found = []
    for i, values in enumerate(inputs):
        if len(values) <= encoding.lag:
            raise ValueError(
                f"series {i}: expected at least {encoding.lag + 1} values to go on from, found {len(values)}"
            )
        x = encoding.encode_features(differenced(np.asarray(values, np.float64), encoding.lag))
        s = None if encoding.columns is None else values[:, encoding.columns]
        found.append(_ahead(model, encoding, x, s, steps))
    return found


def forecast_part(model: Any, encoding: Encoding, part: Sequences, steps: int) -> list[np.ndarray]:
    """As `forecast`, for series that have been read without targets, as `data.load(…, labelled=False)` does."""
    _check_horizon(encoding, steps, "steps")
    series = part.series or (None,) * len(part)
    return [_ahead(model, encoding, x, s, steps) for x, s in zip(part.inputs, series, strict=True)]


def _ahead(model: Any, encoding: Encoding, x: np.ndarray, s: np.ndarray | None, steps: int) -> np.ndarray:
    """The forecasts [steps, k] after the end of a series that the model reads as x; s [L, k]: the series, where it is known."""
    last = np.array([len(x) - 1 + encoding.lag])
    s = np.full((last[0] + 1, encoding.k), np.nan) if s is None else s
    ahead = _rolled(model, encoding, x, s, last, steps)[0]
    if encoding.calibration is None:
        return ahead
    return encoding.calibration.shrink(ahead, _naive(s, last, steps, encoding.calibration.naive)[0])


def naive_errors(train: Sequences, encoding: Encoding) -> dict[str, float]:
    """mean |s_t − s_{t−1}| in the training part by name of the series: the denominator of MASE, in the units of the data."""
    changes = [np.abs(np.diff(series, axis=0)) for series in _series(train, encoding)]
    known = np.concatenate(changes)
    means = np.nanmean(known, axis=0) if len(known) else np.full(encoding.k, np.nan)
    return dict(zip(encoding.labels, means.tolist(), strict=True))


def backtest(
    model: Any,
    part: Sequences,
    encoding: Encoding,
    naive_error: Mapping[str, float],
    *,
    horizon: int = 1,
    season: int | None = None,
) -> dict[str, Any]:
    """Forecasts from every `horizon`-th step of each series, for the `horizon` steps after it, against what came.

    A series is forecast from itself alone: every value once, by each method from what was known at the same time; those before
    it in its context, too, where `part` has one. The first value that is forecast has as many before it as the season and the
    model's differences take, at least one. A value that is missing counts nowhere.

    Args:
        part: with the next values as targets, as `data.load` makes them.
        naive_error: as `naive_errors` finds it.
        season: steps after which the data repeat themselves; None: no seasonal forecast.

    Returns: sequences, targets, horizon, season, and forecasts: by method and name of the series, mae, rmse and mase (None
    where it is not defined); where the encoding is calibrated, interval_coverage: the share of values within the intervals.

    Raises: ValueError: a horizon that the model cannot forecast, or no series that is long enough.
    """
    rolled = roll(model, part, encoding, horizon, season)
    errors = {method: np.concatenate([found - own.truth for own, found in zip(rolled, rows, strict=True)])
              for method, rows in _by_method(rolled).items()}  # fmt: skip
    result = {
        "sequences": len(part),
        "targets": int((~np.isnan(errors[MODEL])).sum()),
        "horizon": horizon,
        "season": season,
        "forecasts": {method: _scores(found, encoding, naive_error) for method, found in errors.items()},
    }
    calibration = encoding.calibration
    if calibration is not None and calibration.spread:
        inside = np.concatenate([_inside(own, calibration, horizon) for own in rolled])
        result["interval_coverage"] = float(np.nanmean(inside))
    return result


@dataclass(frozen=True)
class Rolled:
    """The forecasts of one series: each row a value, in the order of time.

    Attributes:
        times: which values of the series they are, [N].
        ahead: steps from the last known value, from 1, [N].
        truth, model, naive: [N, k], in the units of the data; seasonal: where there is a season.
    """

    times: np.ndarray
    ahead: np.ndarray
    truth: np.ndarray
    model: np.ndarray
    naive: np.ndarray
    seasonal: np.ndarray | None


def roll(model: Any, part: Sequences, encoding: Encoding, horizon: int = 1, season: int | None = None) -> list[Rolled]:
    """What `backtest` measures, series by series; those that are too short are left out. Arguments and errors are those of
    `backtest`."""
    check_backtest(part, encoding, horizon, season)
    found = []
    contexts = part.context or [0] * len(part)
    for x, s, context in zip(part.inputs, _series(part, encoding), contexts, strict=True):
        first = max(context, encoding.lag + 1, season or 1)
        if len(s) <= first:
            continue
        origins = np.arange(first - 1, len(s) - 1, horizon)
        count = len(s) - first

        def flat(ahead: np.ndarray, count: int = count) -> np.ndarray:
            return ahead.reshape(-1, encoding.k)[:count]

        ours = flat(_rolled(model, encoding, x, s, origins, horizon))
        calibration = encoding.calibration
        if calibration is not None:
            ours = calibration.shrink(ours, flat(_naive(s, origins, horizon, calibration.naive)))
        seasonal = flat(_naive(s, origins, horizon, season)) if season else None
        times = np.arange(first, len(s))
        ahead = np.arange(count) % horizon + 1
        found.append(Rolled(times, ahead, s[first:], ours, flat(_naive(s, origins, horizon, 1)), seasonal))
    return found


def calibrate(model: Any, part: Sequences, encoding: Encoding, horizon: int = 1, season: int | None = None) -> Encoding:
    """The encoding with what a validation part teaches: which naive forecast is the better, how far the model's is shrunk
    toward it, and the spread of the errors that are left, by steps ahead.

    Raises: ValueError: as `backtest`.
    """
    rolled = roll(model, part, encoding, horizon, season)
    ours, truth = (np.concatenate([getattr(own, name) for own in rolled]) for name in ("model", "truth"))
    lags = {1: np.concatenate([own.naive for own in rolled])}
    if season:
        lags[season] = np.concatenate([own.seasonal for own in rolled if own.seasonal is not None])
    lag = min(lags, key=lambda lag: float(np.nanmean(np.abs(lags[lag] - truth))))
    weights = tuple(shrinkage(ours[:, j], lags[lag][:, j], truth[:, j]) for j in range(encoding.k))
    found = Calibration(naive=lag, weights=weights)
    errors, ahead = truth - found.shrink(ours, lags[lag]), np.concatenate([own.ahead for own in rolled])
    spread = []
    for step in range(1, horizon + 1):
        own = errors[ahead == step]
        if not len(own) or np.isnan(own).all(0).any():
            break
        spread.append(tuple((float(low), float(high)) for low, high in np.nanquantile(own, LEVELS, axis=0).T))
    return replace(encoding, calibration=replace(found, spread=tuple(spread)))


def check_backtest(part: Sequences, encoding: Encoding, horizon: int, season: int | None) -> None:
    """Check that `backtest` can be run.

    Raises: ValueError: a horizon that such a model cannot forecast, or no series that is long enough.
    """
    _check_horizon(encoding, horizon, "horizon")
    if season is not None and season < 1:
        raise ValueError(f"season: expected at least 1, found {season}")
    longest = int(part.lengths.max()) + encoding.lag + 1
    if longest <= max(season or 1, encoding.lag):
        needed = "2 values to forecast" if season is None else f"a season of {season} steps and a value after it"
        raise ValueError(f"held-out series: expected at least one with {needed}, found {longest} values at most")


def _by_method(rolled: Sequence[Rolled]) -> dict[str, list[np.ndarray]]:
    found = {MODEL: [own.model for own in rolled], NAIVE: [own.naive for own in rolled]}
    seasonal = [own.seasonal for own in rolled if own.seasonal is not None]
    return found | ({SEASONAL: seasonal} if seasonal else {})


def _inside(own: Rolled, calibration: Calibration, horizon: int) -> np.ndarray:
    """Whether each value lies within its interval [N, k]; NaN where it is missing."""
    bounds = calibration.intervals(np.zeros((horizon, own.truth.shape[1])))
    assert bounds is not None
    low, high = (own.model + bound[own.ahead - 1] for bound in bounds)
    return np.where(np.isnan(own.truth), np.nan, (low <= own.truth) & (own.truth <= high))


def _scores(errors: np.ndarray, encoding: Encoding, naive_error: Mapping[str, float]) -> dict[str, Any]:
    """By name of the series; errors [N, k]."""
    found = {}
    for name, column in zip(encoding.labels, errors.T, strict=True):
        known = column[~np.isnan(column)]
        mae = float(np.abs(known).mean()) if len(known) else None
        rmse = float(np.sqrt(np.square(known).mean())) if len(known) else None
        scale = naive_error[name]
        found[name] = {"mae": mae, "rmse": rmse, "mase": None if mae is None or not scale > 0 else mae / scale}
    return found


def _naive(s: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """[origins, horizon, k]: of each step ahead the value of the same season when it was last seen; NaN where none was."""
    ahead = np.arange(horizon)
    last = origins[:, None] + ahead + 1 - season * (ahead // season + 1)
    return np.where((last >= 0)[..., None], s[np.maximum(last, 0)], np.nan)


def _rolled(
    model: Any, encoding: Encoding, x: np.ndarray, s: np.ndarray, origins: np.ndarray, horizon: int
) -> np.ndarray:
    """The model's forecasts from each origin, the last known value: [origins, horizon, k], in the units of the data.

    The model walks the series once and is stopped at each origin; all forecasts then go on side by side.

    Args: x: as the model reads the series [T, n], the first row for value `lag` of it; s: the series itself [L, k].
    """
    lag = encoding.lag
    known = torch.from_numpy(x).to(dtype_of(model)).unsqueeze(0)
    state = model.initial_state(1)
    starts, states = [], []
    ends = origins - lag + 1
    with torch.no_grad():
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            z, state = model(known[:, begin:end], s0=state, return_state=True)
            starts.append(z[:, -1])
            states.append(state)
        ahead = _go_on(
            model, encoding, torch.cat(starts), each(lambda *parts: torch.cat(parts, dim=-2), *states), horizon
        )
    if lag == 0:
        return ahead
    for step in range(horizon):  # a change is added to the value before, which beyond the origin is a forecast itself
        before = s[origins + step + 1 - lag] if step < lag else ahead[:, step - lag]
        ahead[:, step] += before
    return ahead


def _go_on(model: Any, encoding: Encoding, z: Tensor, state: Tensor, steps: int) -> np.ndarray:
    """What the model predicts [B, steps, k], in the units of the data: z [B, k], and after it what it makes of its own."""
    ahead = [_unscaled(encoding, z)]
    for _ in range(steps - 1):
        x = encoding.encode_features(ahead[-1])
        z, state = model(torch.from_numpy(x).to(z.dtype).unsqueeze(1), s0=state, return_state=True)
        ahead.append(_unscaled(encoding, z[:, 0]))
    return np.stack(ahead, axis=1)


def _unscaled(encoding: Encoding, z: Tensor) -> np.ndarray:
    values = z.double().numpy()
    return values if encoding.target_scale is None else encoding.target_scale.invert(values)


def _series(part: Sequences, encoding: Encoding) -> list[np.ndarray]:
    """The series that are forecast, in the units of the data: float64 [L_i, k], NaN where a value is missing.

    Of a part that does not keep them, its inputs tell the first value and its targets the others.
    """
    if part.series is not None:
        return [np.asarray(s, np.float64) for s in part.series]
    if part.y is None or encoding.lag:
        raise ValueError("sequences: expected the series with the next values as targets, found none")
    found = []
    for x, y in zip(part.inputs, part.targets, strict=True):
        first = np.full((1, encoding.k), np.nan)
        if encoding.columns is not None:
            scale = encoding.input_scale
            raw = x[:1, : len(encoding.features or ())].astype(np.float64)
            first = (raw if scale is None else scale.invert(raw))[:, encoding.columns]
        y = y.astype(np.float64)
        found.append(np.concatenate([first, y if encoding.target_scale is None else encoding.target_scale.invert(y)]))
    return found


def _check_horizon(encoding: Encoding, steps: int, name: str) -> None:
    if encoding.task != "forecast":
        raise ValueError(f"model: expected one of the task forecast, found {encoding.task}")
    if steps < 1:
        raise ValueError(f"{name}: expected at least 1, found {steps}")
    if steps > 1 and encoding.features != encoding.labels:
        raise ValueError(
            f"{name}: expected 1 of a model that forecasts {', '.join(encoding.labels)} from other inputs, found {steps}"
        )
