"""What a validation part teaches about the outputs of a trained model, and what is made of it.

    labels       ŷ = softmax(z / τ), with the temperature τ of the least loss (Guo et al., 2017)
    forecasts    ŷ = n + w (m − n): the model's forecast m shrunk toward the naive one n by the weight w of the least mean
                 absolute error, and quantiles of the errors y − ŷ by steps ahead, which make intervals

The weight is a closed form: Σ |y − n − w (m − n)| is least at the median of (y − n) / (m − n), weighted by |m − n|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = (0.1, 0.9)
"""The quantiles of the errors that bound an interval, which then holds some 80 % of what comes."""


@dataclass(frozen=True)
class Calibration:
    """See the module.

    Attributes:
        temperature: τ of labels.
        naive: the lag m of the naive forecast s_{t−m} that forecasts are shrunk toward.
        weights: w in 0..1 for each series; empty: forecasts are the model's.
        spread: [H][k][2], for 1 to H steps ahead and each series, the quantiles `LEVELS` of the errors.
    """

    temperature: float = 1.0
    naive: int = 1
    weights: tuple[float, ...] = ()
    spread: tuple[tuple[tuple[float, float], ...], ...] = ()

    def __post_init__(self) -> None:
        numbers = [*self.weights, *(bound for row in self.spread for bounds in row for bound in bounds)]
        if not (self.temperature > 0 and self.naive >= 1 and np.isfinite([self.temperature, *numbers]).all()):
            raise ValueError(f"calibration: expected finite numbers, and a temperature above 0, found {self}")
        if not all(0 <= weight <= 1 for weight in self.weights):
            raise ValueError(f"calibration: weights: expected 0 to 1, found {list(self.weights)}")

    def shrink(self, model: np.ndarray, naive: np.ndarray) -> np.ndarray:
        """Forecasts [..., k] of the model and naive ones, as one; the model's where a naive one is missing."""
        if not self.weights:
            return model
        return np.where(np.isnan(naive), model, naive + np.asarray(self.weights) * (model - naive))

    def intervals(self, forecasts: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Where some 80 % of what comes should lie, for forecasts [H, k]: the lower and the upper bounds [H, k].

        Beyond the steps that were measured, the width grows with the root of the steps, as that of a random walk does. None
        where nothing was measured.
        """
        if not self.spread:
            return None
        measured = np.asarray(self.spread)
        ahead = np.arange(len(forecasts))
        wider = np.sqrt(np.maximum((ahead + 1) / len(measured), 1))[:, None]
        bounds = measured[np.minimum(ahead, len(measured) - 1)] * wider[..., None]
        return forecasts + bounds[..., 0], forecasts + bounds[..., 1]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for `json.dump`; `from_json` is its inverse."""
        return {name: getattr(self, name) for name in ("temperature", "naive", "weights", "spread")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Raises: ValueError: not such a dictionary."""
        try:
            spread = tuple(tuple((float(low), float(high)) for low, high in row) for row in data["spread"])
            weights = tuple(float(weight) for weight in data["weights"])
            return cls(float(data["temperature"]), int(data["naive"]), weights, spread)
        except (KeyError, TypeError) as error:
            raise ValueError(f"calibration: expected temperature, naive, weights and spread, found {error}") from None


def shrinkage(model: np.ndarray, naive: np.ndarray, truth: np.ndarray) -> float:
    """The weight w in 0..1 of the least Σ |y − n − w (m − n)|, from forecasts and what came [N]; NaN counts nowhere."""
    step, error = model - naive, truth - naive
    known = np.isfinite(step) & np.isfinite(error) & (step != 0)
    if not known.any():
        return 0.0
    ratios, sizes = (error / np.where(step == 0, 1, step))[known], np.abs(step[known])
    order = np.argsort(ratios)
    reached = np.cumsum(sizes[order])
    return float(np.clip(ratios[order][np.searchsorted(reached, reached[-1] / 2)], 0, 1))
