"""What a model says about the sequences of a source, and where in the source that belongs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PREDICTED, PROBABILITY = "predicted", "probability"


@dataclass(frozen=True)
class Answers:
    """Labels of S sequences.

    Attributes:
        labels: for each sequence its label, or a list with the label of each step.
        probabilities: how probable those labels are, a float or an array [T_i] for each sequence; None: not asked for.
        rows: where each sequence stands in the source, as `Records.rows`; None: that is not known.
        names: what to call each sequence.
        inputs: what each was read from: a text, or the words of its steps; None: features.
    """

    labels: Sequence[Any]
    probabilities: Sequence[Any] | None
    rows: Sequence[Any] | None
    names: Sequence[str]
    inputs: Sequence[Any] | None

    @property
    def columns(self) -> list[str]:
        """What the further columns are called."""
        return [PREDICTED] if self.probabilities is None else [PREDICTED, PROBABILITY]

    def by_row(self, decimal: str = ".") -> dict[int, list[str]]:
        """The further cells of each line or row of the source that has some; labels of steps that share one are joined.

        Args: decimal: what separates the digits after the point.
        """
        found: dict[int, list[str]] = {}
        for i, (label, rows) in enumerate(zip(self.labels, self.rows or (), strict=True)):
            one = np.ndim(rows) == 0
            for step, row in enumerate([int(rows)] if one else np.asarray(rows).tolist()):
                whole = one or isinstance(label, str)
                found[row] = [joined(label) if whole else label[step]]
                if self.probabilities is not None:
                    own = np.atleast_1d(self.probabilities[i])
                    shown = own if whole else own[step : step + 1]
                    found[row].append(" ".join(f"{value:.4f}" for value in shown.tolist()).replace(".", decimal))
        return found


def joined(label: str | Sequence[str]) -> str:
    """The labels of the steps of a sequence as one string, as tables have them."""
    if isinstance(label, str):
        return label
    return ("" if all(len(own) == 1 for own in label) else " ").join(label)
