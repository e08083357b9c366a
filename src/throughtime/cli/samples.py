"""A few predictions to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from throughtime.cli import highlight
from throughtime.learning.generation import generate

if TYPE_CHECKING:
    from throughtime.data import Sequences
    from throughtime.learning.run import Run

LINES, LONGEST, WRITTEN = 14, 60, 200
"""Lines that are shown with their labels; characters that a language model goes on from, and writes."""


def show_sample(run: Run, part: Sequences) -> None:
    """Print what `run` makes of a text of `part`; nothing where its sequences are not texts.

    A model that labels characters shows some lines with its labels, a language model goes on from the first line.
    """
    if part.texts is None:
        return
    row = int(np.argmin(part.lengths))
    if run.encoding.task == "tag":
        _show_labels(run, part, row)
    elif run.encoding.task == "lm":
        first = part.texts[row].strip().split("\n", 1)[0][:LONGEST]
        print(f"\nwritten by the model after {first!r}:")
        print(generate(run.model, run.encoding, first, WRITTEN, temperature=0.7))


def _show_labels(run: Run, part: Sequences, row: int) -> None:
    assert part.texts is not None
    text, truth = part.texts[row], part.targets[row]
    if len(text) != len(truth) or not text:
        return
    begin, end = _liveliest(text, truth)
    names = run.encoding.labels
    predicted = run.predict(part.take([row]))[0]
    called = "" if part.names is None else f" {part.names[row]}, line {text.count(chr(10), 0, begin) + 1}"
    print(f"\npredicted in{called}:")
    highlight.show(text[begin:end], predicted[begin:end], names, [names[label] for label in truth[begin:end]])


def _liveliest(text: str, truth: np.ndarray) -> tuple[int, int]:
    """Where LINES consecutive lines begin and end that have the most kinds of labels, and of those the most evenly."""
    begins = [0] + [i + 1 for i, character in enumerate(text) if character == "\n"]
    windows = zip(begins, [*begins[LINES:], len(text)], strict=False)
    spans = [(begin, end) for begin, end in windows if end > begin]

    def evenness(span: tuple[int, int]) -> float:
        shares = np.bincount(truth[slice(*span)]) / (span[1] - span[0])
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())

    return max(spans, key=evenness)
