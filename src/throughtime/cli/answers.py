"""Labels that a model predicts: given back with the source, shown, or told to machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from throughtime.cli.inputs import Given
    from throughtime.data import Sequences
    from throughtime.learning.run import Run


@dataclass(frozen=True)
class Found:
    """What a run predicts of sequences.

    Attributes:
        classes: the k labels there are.
        labels: for each sequence its label, or a list of T_i.
        shares: the probabilities of all labels, [k] or [T_i, k], as calibrated on the validation part.
    """

    sequences: Sequences
    classes: tuple[str, ...]
    labels: list[Any]
    shares: list[np.ndarray]

    def name(self, i: int) -> str:
        return str(i) if self.sequences.names is None else self.sequences.names[i]

    def probability(self, i: int) -> Any:
        """Of the labels of a sequence that are predicted: a float, or [T_i]."""
        labels, shares = self.labels[i], self.shares[i]
        if isinstance(labels, str):
            return float(shares[self.classes.index(labels)])
        index = {name: code for code, name in enumerate(self.classes)}
        return shares[np.arange(len(labels)), [index[label] for label in labels]]


def found(run: Run, sequences: Sequences) -> Found:
    """What `run` predicts of `sequences`."""
    logits = run.logits(sequences)
    return Found(sequences, run.encoding.labels, run.labels(logits), [_calibrated(run, z) for z in logits])


def _calibrated(run: Run, z: Tensor) -> np.ndarray:
    calibration = run.encoding.calibration
    return (z.double() / (1.0 if calibration is None else calibration.temperature)).softmax(-1).numpy()


def given_back(found: Found, given: Given | None, form: str | None, probabilities: bool) -> Iterator[str] | None:
    """The lines of the source with what is predicted; None: there is no such format, so that it is to be shown."""
    from throughtime.data.writers import WRITERS, Answers, write_as

    part, count = found.sequences, len(found.labels)
    shares = [found.probability(i) for i in range(count)] if probabilities else None
    names = [found.name(i) for i in range(count)]
    answers = Answers(found.labels, shares, part.rows, names, part.texts or part.words)
    if given is not None and part.rows is not None and given.format in WRITERS and form in (None, given.format):
        return WRITERS[given.format](given.source, given.options, answers)
    return None if form is None else write_as(form, answers)


def print_json(found: Found, every: bool) -> None:
    """An object with all that there is to say about each sequence; `every`: with the probabilities of all labels of steps."""
    part = found.sequences
    for i, labels in enumerate(found.labels):
        told: dict[str, Any] = {"name": found.name(i)}
        if part.texts is not None:
            told["text"] = part.texts[i]
        elif part.words is not None:
            told["words"] = list(part.words[i])
        if part.rows is not None:
            told["rows"] = np.asarray(part.rows[i]).tolist()
        if isinstance(labels, str):
            of_all = dict(zip(found.classes, found.shares[i].tolist(), strict=True))
            told |= {"label": labels, "probabilities": of_all}
        else:
            told |= {"labels": labels, "probability": _rounded(found.probability(i))}
            if every:
                columns = zip(found.classes, found.shares[i].T, strict=True)
                told["probabilities"] = {name: _rounded(column) for name, column in columns}
        print(json.dumps(told, ensure_ascii=False))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def show(found: Found, probabilities: bool) -> None:
    """A line for each sequence with one label, else for each step; a text with the labels of its characters as colours."""
    for i, labels in enumerate(found.labels):
        if isinstance(labels, str):
            print(f"{found.name(i)}\t{labels}\t{found.shares[i].max():.3f}")
        else:
            _show_steps(found, i, labels, probabilities)


def _show_steps(found: Found, i: int, labels: list[str], probabilities: bool) -> None:
    from throughtime.cli import highlight

    part = found.sequences
    text = None if part.texts is None else part.texts[i]
    if len(part) > 1:
        print(f"# {found.name(i)}")
    if text is not None and len(text) == len(labels):
        highlight.show(text, labels, found.classes)
        return
    steps = range(len(labels)) if part.words is None else part.words[i]
    ends = [f"\t{share:.4f}" for share in found.probability(i)] if probabilities else [""] * len(labels)
    sys.stdout.writelines(f"{step}\t{label}{end}\n" for step, label, end in zip(steps, labels, ends, strict=True))
    print()
