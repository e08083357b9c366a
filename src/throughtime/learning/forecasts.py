"""Forecasts of numeric series: going on from their end, and a rolling backtest beside forecasts that know little.

    naive            ŝ_{t+h} = s_t
    seasonal naive   ŝ_{t+h} = s_{t+h−m⌈h/m⌉}: the value of the same season, m steps long, when it was last seen
    MASE             mean |s − ŝ| / mean |s_t − s_{t−1}| of the training part (Hyndman and Koehler, 2006)

S: series, T_i: steps, n: inputs, k: values forecast, H: horizon, m: season.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime.data.encoding import Encoding
from throughtime.data.sequences import Sequences
from throughtime.weights import dtype_of

MODEL, NAIVE, SEASONAL = "model", "naive", "seasonal naive"


def forecast(model: Any, encoding: Encoding, inputs: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
    """The `steps` values after the end of each series: [steps, k], in the units of the data.

    After the first, each is forecast from those before it, as if they had been seen.

    Args: inputs: scaled as the model reads them, [T_i, n] each.

    Raises: ValueError: no step, or several of a model whose inputs are not the values that it forecasts.
    """
    _check_horizon(encoding, steps, "steps")
    found = []
    with torch.no_grad():
        for x in inputs:
            whole = torch.from_numpy(x).to(dtype_of(model)).unsqueeze(0)
            z, state = model(whole, s0=model.initial_state(1), return_state=True)
            found.append(_unscaled(encoding, _go_on(model, encoding, z[:, -1], state, steps))[0])
    return found


def naive_errors(train: Sequences, encoding: Encoding) -> dict[str, float]:
    """mean |s_t − s_{t−1}| in the training part by name of the series: the denominator of MASE, in the units of the data."""
    changes = [np.abs(np.diff(series, axis=0)) for series in _series(train, encoding)]
    means = np.nanmean(np.concatenate(changes), axis=0) if any(map(len, changes)) else np.full(encoding.k, np.nan)
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

    A series is forecast from itself alone: every value from the second one (the first of the second season, where there is one)
    once, by each method from what was known at the same time. A value that is missing counts nowhere.

    Args:
        part: with the next values as targets, as `data.load` makes them.
        naive_error: as `naive_errors` finds it.
        season: steps after which the data repeat themselves; None: no seasonal forecast.

    Returns: sequences, targets, horizon, season, and forecasts: by method and name of the series, mae, rmse and mase (None
    where it is not defined).

    Raises: ValueError: a horizon that the model cannot forecast, or no series that is long enough.
    """
    check_backtest(part, encoding, horizon, season)
    first = season or 1
    errors: dict[str, list[np.ndarray]] = {MODEL: [], NAIVE: []} | ({SEASONAL: []} if season else {})
    for x, s in zip(part.inputs, _series(part, encoding), strict=True):
        if len(s) <= first:
            continue
        origins = np.arange(first, len(s), horizon)
        errors[MODEL].append(_rolled(model, encoding, x, origins, horizon, len(s)) - s[first:])
        steps = np.arange(first, len(s))
        ahead = (steps - first) % horizon  # steps since the origin
        errors[NAIVE].append(s[steps - ahead - 1] - s[first:])
        if season:
            errors[SEASONAL].append(s[steps - season * (ahead // season + 1)] - s[first:])
    return {
        "sequences": len(part),
        "targets": int(sum((~np.isnan(e)).sum() for e in errors[MODEL])),
        "horizon": horizon,
        "season": season,
        "forecasts": {
            method: _scores(np.concatenate(found), encoding, naive_error) for method, found in errors.items()
        },
    }


def check_backtest(part: Sequences, encoding: Encoding, horizon: int, season: int | None) -> None:
    """Check that `backtest` can be run.

    Raises: ValueError: a horizon that such a model cannot forecast, or no series that is long enough.
    """
    _check_horizon(encoding, horizon, "horizon")
    if season is not None and season < 1:
        raise ValueError(f"season: expected at least 1, found {season}")
    longest = int(part.lengths.max())
    if longest <= (season or 1):
        needed = "2 values to forecast" if season is None else f"a season of {season} steps and a value after it"
        raise ValueError(f"held-out series: expected at least one with {needed}, found {longest} values at most")


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


def _rolled(model: Any, encoding: Encoding, x: np.ndarray, origins: np.ndarray, horizon: int, T: int) -> np.ndarray:
    """The forecasts for steps origins[0] … T−1, in the units of the data: [T − origins[0], k].

    The model walks the series once and is stopped at each origin; all forecasts then go on side by side.
    """
    known = torch.from_numpy(x).to(dtype_of(model)).unsqueeze(0)
    state = model.initial_state(1)
    starts, states = [], []
    with torch.no_grad():
        for begin, end in zip([0, *(origins[:-1] + 1)], origins + 1, strict=True):
            z, state = model(known[:, begin:end], s0=state, return_state=True)
            starts.append(z[:, -1])
            states.append(state)
        ahead = _go_on(model, encoding, torch.cat(starts), torch.cat(states, dim=-2), horizon)
    return _unscaled(encoding, ahead).reshape(-1, encoding.k)[: T - origins[0]]


def _go_on(model: Any, encoding: Encoding, z: Tensor, state: Tensor, steps: int) -> Tensor:
    """Forecasts [B, steps, k], scaled: z [B, k] and after it what the model makes of its own forecasts."""
    ahead = [z]
    for _ in range(steps - 1):
        x = encoding.encode_features(_unscaled(encoding, ahead[-1]))
        z, state = model(torch.from_numpy(x).to(z.dtype).unsqueeze(1), s0=state, return_state=True)
        ahead.append(z[:, 0])
    return torch.stack(ahead, dim=1)


def _unscaled(encoding: Encoding, z: Tensor) -> np.ndarray:
    values = z.double().numpy()
    return values if encoding.target_scale is None else encoding.target_scale.invert(values)


def _series(part: Sequences, encoding: Encoding) -> list[np.ndarray]:
    """What comes after each step, in the units of the data: float64 [T_i, k], NaN where it is missing."""
    if part.y is None:
        raise ValueError("sequences: expected the next values as targets, found none")
    scale = encoding.target_scale
    return [y.astype(np.float64) if scale is None else scale.invert(y.astype(np.float64)) for y in part.targets]


def _check_horizon(encoding: Encoding, steps: int, name: str) -> None:
    if encoding.task != "forecast":
        raise ValueError(f"model: expected one of the task forecast, found {encoding.task}")
    if steps < 1:
        raise ValueError(f"{name}: expected at least 1, found {steps}")
    if steps > 1 and encoding.features != encoding.labels:
        raise ValueError(
            f"{name}: expected 1 of a model that forecasts {', '.join(encoding.labels)} from other inputs, found {steps}"
        )
