"""Results as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from throughtime.untrusted.showing import LONGEST, short

LABELS = {
    "accuracy": "accuracy",
    "loss": "loss (nats per target)",
    "bits_per_symbol": "bits per {unit}",
    "perplexity": "perplexity per {unit}",
    "macro_f1": "macro F1",
}
MOST_CLASSES = 50
"""So many classes have a row each; of more, those that occur most."""


def headline(part: str, source: str, measured: Mapping[str, Any]) -> str:
    """What was measured."""
    return f"{part} part of {short(source)}: {measured['sequences']:,} sequences, {measured['targets']:,} targets"


def results(measured: Mapping[str, Any], baselines: Mapping[str, float]) -> str:
    """The table of what `metrics.measure_labels` and `metrics.baselines`, or `forecasts.backtest`, found."""
    if "forecasts" in measured:
        return _forecasts(measured)
    rows = []
    for key, label in LABELS.items():
        if key in measured:
            rows.append((label.format(unit=measured.get("unit")), f"{measured[key]:.4f}"))
        if key == "accuracy" and "accuracy_interval" in measured:
            low, high = measured["accuracy_interval"]
            rows.append((f"  95 % within {low:.4f} to {high:.4f}", ""))
        if key == "accuracy":
            rows += [(f"  {name}", f"{value:.4f}") for name, value in baselines.items()]
    spans = measured.get("spans", {})
    for name in ("precision", "recall", "f1"):
        if name in spans:
            rows.append((f"spans: {'F1' if name == 'f1' else name}", f"{spans[name]:.4f}"))
    lines = [table(rows)]
    if spans.get("types"):
        header = ("span", "precision", "recall", "F1", "count")
        body = [
            (name, *(f"{row[score]:.4f}" for score in ("precision", "recall", "f1")), f"{row['count']:,}")
            for name, row in spans["types"].items()
        ]
        lines += ["", table([header, *body])]
    if "classes" in measured:
        header = ("class", "precision", "recall", "F1", "count")
        classes = sorted(measured["classes"].items(), key=lambda item: -item[1]["count"])[:MOST_CLASSES]
        shown = {name for name, _ in classes}
        body = [
            (name, *(f"{row[score]:.4f}" for score in ("precision", "recall", "f1")), f"{row['count']:,}")
            for name, row in measured["classes"].items()
            if name in shown
        ]
        lines += ["", table([header, *body])]
        if left := len(measured["classes"]) - len(shown):
            lines.append(f"and {left} rarer classes")
    return "\n".join(lines)


def warning(measured: Mapping[str, Any], baselines: Mapping[str, float]) -> str | None:
    """A sentence where a prediction that knows little does as well, and what to try; None where the model is the best."""
    if "forecasts" in measured:
        methods = dict(measured["forecasts"])
        ours = methods.pop("model")
        for name, scores in ours.items():
            rivals = {method: own[name]["mae"] for method, own in methods.items() if own[name]["mae"] is not None}
            best = min(rivals, key=rivals.__getitem__, default=None)
            if best is not None and scores["mae"] is not None and scores["mae"] >= rivals[best]:
                return (
                    f"The forecasts of {short(name)} are no better than the {best} ones ({scores['mae']:.5g} beside "
                    f"{rivals[best]:.5g}): take these, or try further inputs, --season or --predict."
                )
        return None
    best = max(baselines, key=baselines.__getitem__, default=None)
    if best is None or measured["accuracy"] > baselines[best]:
        return None
    return (
        f"The accuracy, {measured['accuracy']:.4f}, is not above that of the baseline '{best}', {baselines[best]:.4f}: "
        "try more --epochs, another --lr, --bidirectional or more data."
    )


def _forecasts(measured: Mapping[str, Any]) -> str:
    header = (f"forecast, {measured['horizon']} ahead", "series", "MAE", "RMSE", "MASE")
    rows = [
        (method, name, *("-" if scores[key] is None else f"{scores[key]:.5g}" for key in ("mae", "rmse", "mase")))
        for method, by_name in measured["forecasts"].items()
        for name, scores in by_name.items()
    ]
    found = table([header, *rows])
    if "interval_coverage" in measured:
        found += f"\n{measured['interval_coverage']:.0%} of the values lie within the 80 % intervals"
    return found


def table(rows: Sequence[Sequence[str]], longest: int = LONGEST) -> str:
    """Rows of cells in columns, the first aligned to the left, the others to the right; a longer cell is cut."""
    rows = [[short(cell, longest) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
