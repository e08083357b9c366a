"""Results as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LABELS = {
    "accuracy": "accuracy",
    "loss": "loss (nats per target)",
    "bits_per_symbol": "bits per symbol",
    "perplexity": "perplexity",
    "macro_f1": "macro F1",
}


def results(measured: Mapping[str, Any], baselines: Mapping[str, float]) -> str:
    """The table of what `metrics.measure` and `metrics.baselines` found."""
    rows = []
    for key, label in LABELS.items():
        if key in measured:
            rows.append((label, f"{measured[key]:.4f}"))
        if key == "accuracy":
            rows += [(f"  {name}", f"{value:.4f}") for name, value in baselines.items()]
    lines = [table(rows)]
    if "classes" in measured:
        header = ("class", "precision", "recall", "F1", "count")
        body = [
            (name, *(f"{row[score]:.4f}" for score in ("precision", "recall", "f1")), f"{row['count']:,}")
            for name, row in measured["classes"].items()
        ]
        lines += ["", table([header, *body])]
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, the first aligned to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def headline(part: str, source: str, measured: Mapping[str, Any]) -> str:
    """What was measured."""
    return f"{part} part of {source}: {measured['sequences']:,} sequences, {measured['targets']:,} targets"
