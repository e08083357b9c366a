"""The curves of a training. Text is taken literally: matplotlib reads mathematics between two dollars."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from throughtime.learning.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, VALID, BASELINE = "#1f77b4", "#d95f02", "#666666"


def learning_curve(history: History, title: str = "", baselines: Mapping[str, float] = MappingProxyType({})) -> Figure:
    """Loss, and accuracy where there is one, by epoch.

    Args:
        baselines: accuracies to draw as dashed lines, by name.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = history["epoch"]
    accurate = "valid_accuracy" in history.rows[0]
    figure = Figure(figsize=(9.6, 4.2) if accurate else (5.4, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots(1, 2 if accurate else 1, squeeze=False)[0]
    if title:
        figure.suptitle(title, parse_math=False)
    loss = axes[0]
    loss.plot(epochs, history["train_loss"], "o-", color=TRAIN, label="training")
    if "valid_loss" in history.rows[0]:
        loss.plot(epochs, history["valid_loss"], "o-", color=VALID, label="validation")
        loss.legend(frameon=False)
    loss.set_ylabel("loss per target")
    loss.set_ylim(bottom=0)
    if accurate:
        values = history["valid_accuracy"]
        axes[1].plot(epochs, values, "o-", color=VALID, label="validation")
        axes[1].annotate(
            f"{values[-1]:.3f}", (epochs[-1], values[-1]), xytext=(0, 6), textcoords="offset points", ha="center"
        )
        for name, value in baselines.items():
            axes[1].axhline(value, color=BASELINE, linestyle="--", linewidth=1)
            axes[1].annotate(
                f"{name} {value:.3f}",
                (1, value),
                xytext=(-4, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                color=BASELINE,
                fontsize="small",
            )
        axes[1].set_ylabel("accuracy")
        axes[1].set_ylim(0, 1.04)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure


def as_png(draw: Callable[[], Figure]) -> bytes:
    """What `draw` draws, as a PNG picture."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # such characters are drawn as boxes
        draw().savefig(picture, format="png")
    return picture.getvalue()
