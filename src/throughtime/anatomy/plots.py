"""Pictures of an anatomy, as matplotlib figures: `heat_map(a).savefig("paths.png")`.

Sizes go from pale yellow to dark blue (after cividis), signed shares from orange to purple: both are told apart by colour-blind
readers, sizes in grey print too. Steps are counted from 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from throughtime.untrusted.showing import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from throughtime.anatomy.gradient import Anatomy

SIZES = "#fff6d5 #fbe38e #e6cc5a #c3b369 #a59c74 #8a8678 #666a72 #3b496c #123570 #00224e".split()
SIGNED = "#7f3b08 #b35806 #e08214 #fdb863 #fee0b6 #f7f7f7 #d8daeb #b2abd2 #8073ac #542788 #2d004b".split()
"""Colours from small to large and from negative to positive, which the page uses too."""

BLUE, ORANGE, GREY = "#1f4e8c", "#c05a00", "#6b6b6b"
DECADES = 6
"""How far below the largest value a logarithmic colour scale goes at most; less where 99 % of the values lie above."""
LABELLED = 60
"""The longest sequence whose symbols are written at the axes."""
LONGEST_SYMBOL = 12
"""Characters of a symbol that is written in a picture."""


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _colours(stops: Sequence[str]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("paths", stops)


def of_instance(a: Anatomy, array: torch.Tensor, instance: int) -> np.ndarray:
    """One instance's part of an array of an anatomy, without padding."""
    length = a.unrolled.lengths[instance]
    part = array if a.B == 1 else array[instance]
    return part[(slice(length),) * part.dim()].double().numpy()


def heat_map(
    a: Anatomy,
    parameter: str = "W",
    what: str = "norms",
    *,
    instance: int = 0,
    symbols: Sequence[str] | None = None,
) -> Figure:
    """All paths of one instance: rows L_t, columns k.

    Args:
        a: the anatomy.
        parameter: "W", "U" or "b".
        what: "norms" (logarithmic) or "shares" (signed).
        instance: which of the batch, from 0.
        symbols: what to write at the steps, where they fit.
    """
    values = of_instance(a, getattr(getattr(a, parameter), what), instance)
    label = f"size of path ‖G[t,k]‖ to {parameter}" if what == "norms" else f"share of ∂L/∂{parameter}"
    return _map(values, label, what == "norms", symbols, "path ends at step k", "loss $L_t$ of step t")


def jacobian_map(a: Anatomy, *, instance: int = 0, symbols: Sequence[str] | None = None) -> Figure:
    """How much of a change of state s_k is left in s_t: ‖∂s_t/∂s_k‖."""
    values = of_instance(a, a.jacobian_norms, instance)
    return _map(values, "‖∂s$_t$/∂s$_k$‖", True, symbols, "step k", "step t")


def ways_picture(a: Anatomy, *, instance: int = 0, symbols: Sequence[str] | None = None) -> Figure:
    """The two ways back through a gated cell, on one scale: routes that cross no product with a matrix (in an LSTM the
    carousel), and the others; under them how far each gate is open at every step."""
    from matplotlib.colors import LogNorm

    ways = {name: of_instance(a, paths.norms, instance) for name, paths in a.ways.items()}
    openness = {name: of_instance(a, steps, instance) for name, steps in a.openness.items()}
    T = len(next(iter(ways.values())))
    largest = max(float(np.nanmax(values)) for values in ways.values()) or 1.0
    smallest = largest * 10.0**-DECADES
    norm = LogNorm(smallest, largest)
    figure = _figure(9.0, 6.0 if openness else 4.4)
    upper, *lower = list(figure.subfigures(2, 1, squeeze=False, height_ratios=[3, 1.3]).flat) if openness else [figure]
    maps = []
    for column, (name, values) in enumerate(ways.items()):
        axes = upper.add_subplot(1, 2, column + 1)
        axes.set_facecolor("white")
        shown = np.where(values < smallest, smallest, values)
        extent = (0.5, T + 0.5, T + 0.5, 0.5)
        image = axes.imshow(
            shown, cmap=_colours(SIZES), norm=norm, extent=extent, interpolation="nearest", rasterized=True
        )
        axes.set_title(f"{name} way", fontsize=10)
        axes.set_xlabel("path ends at step k")
        axes.spines[["top", "right"]].set_visible(False)
        maps.append(axes)
    maps[0].set_ylabel("loss $L_t$ of step t")
    for part in lower:
        axes = part.add_subplot()
        for name, values in openness.items():
            axes.plot(range(1, T + 1), values, label=name, linewidth=1.4)
        axes.set_xlim(0.5, T + 0.5)
        axes.set_ylim(0, 1)
        axes.set_ylabel("gates open")
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=len(openness), loc="lower right", bbox_to_anchor=(1, 0.98))
        if symbols is not None and len(symbols) >= T and T <= LABELLED:
            axes.set_xticks(
                range(1, T + 1), [_shown(s) for s in symbols[:T]], fontsize=min(8.0, 500 / T), family="monospace"
            )
    bar = upper.colorbar(image, ax=maps, shrink=0.85, extend="min")
    bar.set_label("size of path ‖G[t,k]‖ to W")
    return figure


def _map(
    values: np.ndarray, label: str, logarithmic: bool, symbols: Sequence[str] | None, x_label: str, y_label: str
) -> Figure:
    from matplotlib.colors import LogNorm, SymLogNorm

    T = len(values)
    largest = float(np.nanmax(np.abs(values))) or 1.0
    if logarithmic:
        positive = values[values > 0]
        smallest = float(np.quantile(positive, 0.01)) if positive.size else 0.0
        smallest = min(max(smallest, largest * 10.0**-DECADES), largest / 10)
        norm: Any = LogNorm(smallest, largest)
        values = np.where(values < smallest, smallest, values)
    else:
        norm = SymLogNorm(largest * 1e-3, vmin=-largest, vmax=largest)
    figure = _figure(6.4, 5.4)
    axes = figure.add_subplot()
    axes.set_facecolor("white")
    image = axes.imshow(
        values,
        cmap=_colours(SIZES if logarithmic else SIGNED),
        norm=norm,
        extent=(0.5, T + 0.5, T + 0.5, 0.5),
        interpolation="nearest" if T <= 400 else "antialiased",
        rasterized=True,
    )
    _colour_bar(figure, image, axes, label, largest, logarithmic)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    if symbols is not None and len(symbols) >= T and T <= LABELLED:
        names = [_shown(s) for s in symbols[:T]]
        size = min(8.0, 260 / T)
        axes.set_xticks(range(1, T + 1), names, fontsize=size, family="monospace")
        axes.set_yticks(range(1, T + 1), names, fontsize=size, family="monospace")
        axes.tick_params(length=0, pad=2)
    return figure


def _colour_bar(figure: Figure, image: Any, axes: Axes, label: str, largest: float, logarithmic: bool) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.85, extend="min" if logarithmic else "neither")
    bar.set_label(label)
    if not logarithmic:
        ticks = [sign * largest * 10.0**-i for sign in (-1, 1) for i in (0, 1, 2)]
        bar.set_ticks([*ticks, 0.0], labels=[f"{100 * t:.2g} %" for t in ticks] + ["0"])
        bar.minorticks_off()


def _shown(symbol: str) -> str:
    """A symbol as it is written at an axis: white space by its sign, dollars escaped from matplotlib's mathematics, cut."""
    return {"\n": "⏎", " ": "␣", "\t": "⇥"}.get(symbol, short(symbol, LONGEST_SYMBOL)).replace("$", r"\$")


def lag_curve(a: Anatomy, parameter: str = "W", cosine: float = 0.99) -> Figure:
    """What part of the gradient comes from each lag, and summed up to it, with the horizon marked."""
    shares = getattr(a, parameter).by_lag.double().numpy()
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    lag = np.arange(len(shares))
    axes.bar(lag, 100 * shares, width=0.9, color=BLUE, label="share of this lag")
    axes.step(lag, 100 * shares.cumsum(), where="mid", color=ORANGE, linewidth=1.8, label="all lags up to here")
    axes.axhline(0, color="black", linewidth=0.6)
    horizon = a.horizon(cosine)
    axes.axvline(horizon - 0.5, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        f"horizon: {horizon} steps\n(cosine {cosine:g})",
        (horizon - 0.5, 0.5),
        xycoords=("data", "axes fraction"),
        xytext=(5, 0),
        textcoords="offset points",
        color="#333333",
        fontsize=9,
    )
    axes.set_xlim(-0.6, min(len(shares), max(4 * horizon, 20)) - 0.4)
    axes.set_xlabel("lag t − k in steps")
    axes.set_ylabel(f"share of ∂L/∂{parameter} in %")
    axes.legend(frameon=False, loc="center right")
    _plain(axes)
    return figure


def truncation_curve(a: Anatomy, cosine: float = 0.99) -> Figure:
    """How wrong the gradient is that keeps the last τ steps of each loss."""
    error = a.truncation.error.double().numpy()
    gap = 1 - a.truncation.cosine.double().numpy()
    windows = np.arange(1, len(error) + 1)
    floor = 1e-8
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    axes.plot(windows, np.maximum(error, floor), color=BLUE, linewidth=1.8, label="relative error ‖G$_τ$ − G‖ / ‖G‖")
    axes.plot(
        windows, np.maximum(gap, floor), color=ORANGE, linewidth=1.8, linestyle="--", label="1 − cosine(G$_τ$, G)"
    )
    axes.axvline(a.horizon(cosine), color=GREY, linestyle=":", linewidth=1.2, label=f"horizon (cosine {cosine:g})")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(floor / 1.5, max(2.0, float(error.max()) * 1.5))
    axes.set_xlabel("window τ of truncated BPTT in steps")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def memory_map(by_lag: Sequence[Sequence[float]], horizons: Sequence[float], epochs: Sequence[int]) -> Figure:
    """A network learning to remember: share of the gradient by lag (upward), epoch after epoch (across).

    Args:
        by_lag: for each epoch, the shares by lag.
        horizons: for each epoch, the horizon in steps, drawn as a line.
        epochs: their numbers, ascending; a gap is filled with what was found before it.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    values = np.abs(np.asarray(by_lag, dtype=float)).T
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()

    lags = len(values)
    edges = np.asarray([*epochs, epochs[-1] + 1]) - 0.5
    image = axes.pcolormesh(
        edges,
        np.arange(lags + 1) + 0.5,
        np.maximum(values, 1e-5),
        cmap=_colours(SIZES),
        norm=LogNorm(1e-5, max(float(values.max()), 1e-4)),
        rasterized=True,
    )
    axes.stairs(horizons, edges, baseline=None, color="#d1495b", linewidth=1.8, label="horizon (cosine 0.99)")
    axes.legend(frameon=True, loc="upper left")
    figure.colorbar(image, ax=axes, label="|share| of the gradient", extend="min")
    axes.set_yscale("log")
    axes.set_ylim(0.5, lags + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("steps back, 1 + t − k")
    return figure


def unrolled_network(
    a: Anatomy, t: int, *, instance: int = 0, symbols: Sequence[str] | None = None, steps: int = 10
) -> Figure:
    """The textbook's unrolled network, with the paths from L_t to W drawn by their size.

    Args:
        a: the anatomy.
        t: which loss, from 1.
        instance: which of the batch, from 0.
        symbols: what to write at the inputs.
        steps: how many steps to draw; the paths beyond are summed in a note.
    """
    derivation = a.derivation(t, instance)
    drawn = derivation.paths[:steps]
    first, last = min(p.k for p in drawn), max(p.k for p in drawn)
    backward = derivation.reverse
    figure = _figure(max(6.4, 0.85 * len(drawn) + 1.8), 4.2)
    axes = figure.add_subplot()
    _network(axes, first, last, symbols, backward)
    largest = max(p.norm for p in drawn) or 1.0
    top = max(_lane(t, p.k) for p in drawn) + 0.55
    for p in drawn:
        _path(axes, t, p.k, 0.5 if backward else -0.5, p.norm, largest, top)
        axes.text(p.k + (0.5 if backward else -0.5), -0.36, f"{p.norm:.2g}", ha="center", fontsize=8, color="#222222")
    axes.text(t, top, f"$L_{{{t}}}$", ha="center", va="center", bbox={"boxstyle": "round", "fc": "#fff3d6"}, zorder=6)
    beyond = derivation.paths[steps:]
    note = f"numbers: ‖G[{t},k]‖ of the path that ends at that W"
    if beyond:
        total = sum(p.norm for p in beyond)
        note += f"; {len(beyond)} paths end beyond: {total:.2g} in all, {total / (derivation.norm_sum or 1):.0%} of the sizes"
    axes.text(0.01, 0.0, note, transform=axes.transAxes, fontsize=8, color="#333333", va="bottom")
    axes.set_xlim(first - 1.4, last + (1.4 if backward else 0.6))
    axes.set_ylim(-1.6, top + 0.3)
    axes.axis("off")
    return figure


def _network(axes: Axes, first: int, last: int, symbols: Sequence[str] | None, reverse: bool) -> None:
    """Inputs below, states in a row, and W on each arrow from a state to the next."""
    box: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "color": "black"}
    arrow = {"arrowstyle": "->", "color": "#777777", "lw": 0.9}
    outside = last + 1 if reverse else first - 1
    for k in range(min(first, outside), max(last, outside) + 1):
        edge = "#bbbbbb" if k == outside else "#333333"
        circle = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": edge, "lw": 0.9}
        axes.text(k, 0, f"$s_{{{k}}}$", bbox=circle, zorder=5, **box)
        if k == outside:
            continue
        start, middle = (k + 1, k + 0.5) if reverse else (k - 1, k - 0.5)
        axes.annotate("", (k + 0.22 * (start - k), 0), (start - 0.22 * (start - k), 0), arrowprops=arrow)
        axes.text(
            middle, 0, "W", zorder=5, bbox={"boxstyle": "square,pad=0.2", "fc": "#f2f2f2", "ec": "#333333"}, **box
        )
        shown = f"$x_{{{k}}}$" if symbols is None else _shown(symbols[k - 1])
        axes.text(
            k, -0.98, shown, family="monospace", bbox={"boxstyle": "round", "fc": "white", "ec": "#bbbbbb"}, **box
        )
        axes.annotate("", (k, -0.22), (k, -0.78), arrowprops=arrow)


def _lane(t: int, k: int) -> float:
    """The height at which the path (t, k) runs back along the states: the farther, the higher, so that none cross."""
    return 0.42 + 0.1 * abs(t - k)


def _path(axes: Axes, t: int, k: int, middle: float, norm: float, largest: float, top: float) -> None:
    """A ribbon from L_t down to step t, back along the states, and down to the W on the arrow into s_k."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    size = max(0.0, 1 + math.log10(norm / largest) / 3) if norm > 0 else 0.0  # three decades below the largest: a hair
    side = 1 if middle < 0 else -1  # which way the path comes from
    if t != k:
        side = 1 if t > k else -1
    lane, end, start = _lane(t, k), k + middle, t - side * 0.014 * abs(t - k)
    bend = min(0.3, abs(start - end) / 2)
    points = [(start, top), (start, lane + bend), (start, lane), (start, lane), (start - side * bend, lane)]
    points += [(end + side * bend, lane), (end, lane), (end, lane), (end, lane - 0.2), (end, 0.17)]
    codes = [Outline.MOVETO, Outline.LINETO] + [Outline.CURVE4] * 3
    codes += [Outline.LINETO] + [Outline.CURVE4] * 3 + [Outline.LINETO]
    axes.add_patch(
        PathPatch(
            Outline(points, codes),
            fill=False,
            linewidth=0.5 + 4.5 * size,
            edgecolor=_colours(SIZES)(0.15 + 0.85 * size),
            capstyle="butt",
            zorder=2 + size,
        )
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
