"""Pictures of a training. Text out of data is taken literally: matplotlib reads mathematics between two dollars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from throughtime.learning.curves import BASELINE, TRAIN, as_png, learning_curve
from throughtime.untrusted.showing import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from throughtime.data import Encoding
    from throughtime.learning.forecasts import Rolled

__all__ = ["as_png", "confusion_matrix", "forecast", "learning_curve"]

MOST_SERIES, LAST_STEPS = 4, 300
"""What a picture of forecasts shows of many series and many steps."""
LONGEST_LABEL = 20
"""Characters of a class's name beside a confusion matrix."""


def forecast(rolled: Rolled, encoding: Encoding, title: str) -> Figure:
    """The last values of a series, its forecasts with their intervals, and the naive ones, a panel for each of up to four."""
    import numpy as np
    from matplotlib.figure import Figure

    names = encoding.labels[:MOST_SERIES]
    figure = Figure(figsize=(9.6, 0.8 + 2.8 * len(names)), dpi=150, layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    if title:
        figure.suptitle(title, parse_math=False)
    cut = slice(-LAST_STEPS, None)
    times, horizon = rolled.times[cut], int(rolled.ahead.max())
    bounds = None if encoding.calibration is None else encoding.calibration.intervals(np.zeros((horizon, encoding.k)))
    for j, (name, axis) in enumerate(zip(names, panels, strict=True)):
        ours = rolled.model[cut, j]
        if bounds is not None:
            low, high = (ours + bound[rolled.ahead[cut] - 1, j] for bound in bounds)
            axis.fill_between(times, low, high, color=TRAIN, alpha=0.18, linewidth=0, label="where 80 % should lie")
        if rolled.seasonal is not None:
            axis.plot(times, rolled.seasonal[cut, j], ":", color=BASELINE, linewidth=1.2, label="seasonal naive")
        else:
            axis.plot(times, rolled.naive[cut, j], ":", color=BASELINE, linewidth=1.2, label="naive")
        axis.plot(times, ours, color=TRAIN, linewidth=1.6, label=f"forecast, {horizon} ahead")
        axis.plot(times, rolled.truth[cut, j], color="black", linewidth=1, label="what came")
        axis.set_ylabel(short(name, LONGEST_LABEL), parse_math=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    panels[0].legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    panels[-1].set_xlabel("step of the series")
    return figure


def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Figure:
    """How often each class (row) was predicted as each (column), as shares of the row."""
    from matplotlib.figure import Figure

    k, shown = len(names), [short(name, LONGEST_LABEL) for name in names]
    totals = [sum(row) for row in counts]
    shares = [[count / max(total, 1) for count in row] for row, total in zip(counts, totals, strict=True)]
    size = min(2.4 + 0.42 * k, 16)
    figure = Figure(figsize=(size + 0.6, size), dpi=150, layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(k), shown, rotation=90 if k > 5 else 0, parse_math=False)
    axis.set_yticks(range(k), shown, parse_math=False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title, parse_math=False)
    if k <= 25:
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                if counts[i][j]:
                    text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
                    axis.text(
                        j, i, text, ha="center", va="center", color="white" if share > 0.5 else "black", fontsize=7
                    )
    figure.colorbar(image, shrink=0.8, label="share of the true class" + (" (numbers: %)" if k <= 25 else ""))
    return figure
