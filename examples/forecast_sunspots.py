"""Forecast: how many sunspots will there be, a year and a solar cycle ahead?

The yearly sunspot numbers from 1700 to 2008, as statsmodels ships them (pip install statsmodels). A recurrent network learns
from the first 60 % of the years and stops when its forecasts of the next 15 % get no better. What it forecasts of the rest
stands beside the naive forecast (as last year) and the seasonal one (as 11 years ago, about a solar cycle). MASE tells how
large the errors are beside those of the naive forecast on the years learned from.

    python examples/forecast_sunspots.py [--out forecast_sunspots.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import statsmodels.api as sm
import torch

import throughtime as tt
from throughtime.learning.forecasts import backtest, forecast, naive_errors, roll

CYCLE = 11
HORIZONS = (1, CYCLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/forecast_sunspots.png"), help="the picture")
    parser.add_argument("--epochs", type=int, default=400)
    options = parser.parse_args()

    table: Any = sm.datasets.sunspots.load_pandas().data
    source = tt.data.load(table, task="forecast", time="YEAR", target="SUNACTIVITY", split=(0.15, 0.25))
    assert source.test is not None
    torch.manual_seed(0)
    model = tt.SequenceModel(source.n, 32, source.k, task="forecast")
    tt.fit(model, source.train, source.valid, epochs=options.epochs, lr=3e-3, patience=50, progress=False)
    model.eval()

    scale = naive_errors(source.train, source.encoding)
    print(f"{'years ahead':>11}  {'method':<16} {'MAE':>6} {'MASE':>6}")
    for horizon in HORIZONS:
        found = backtest(model, source.test, source.encoding, scale, horizon=horizon, season=CYCLE)
        for method, scores in found["forecasts"].items():
            print(
                f"{horizon:>11}  {method:<16} {scores['SUNACTIVITY']['mae']:>6.1f} {scores['SUNACTIVITY']['mase']:>6.2f}"
            )
    draw(model, source, table["YEAR"].to_numpy(), table["SUNACTIVITY"].to_numpy(), options.out)


def draw(model: tt.SequenceModel, source: tt.data.Dataset, years: np.ndarray, values: np.ndarray, out: Path) -> None:
    """The series, each held-out year as forecast from the years before it, and two cycles beyond the end."""
    from matplotlib.figure import Figure

    assert source.test is not None
    encoding: Any = source.encoding
    year_ahead = roll(model, source.test, encoding)[0]
    beyond = forecast(model, encoding, [values[:, None]], 2 * CYCLE)[0][:, 0]
    first = int(year_ahead.times[0])
    figure = Figure(figsize=(9.6, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(years[0], years[first], facecolor="#eeeeee", label="learned and chosen from")
    axes.plot(years, values, color="#555555", linewidth=1.2, label="sunspots")
    axes.plot(years[first:], year_ahead.model[:, 0], color="#1f77b4", linewidth=1.6, label="forecast a year ahead")
    future = np.arange(years[-1], years[-1] + len(beyond) + 1)
    axes.plot(future, np.append(values[-1], beyond), color="#d95f02", linewidth=1.6, label="two cycles beyond the data")
    axes.set(
        xlabel="year", ylabel="yearly sunspot number", xlim=(years[0], future[-1]), ylim=(min(0, beyond.min()), None)
    )
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


if __name__ == "__main__":
    main()
