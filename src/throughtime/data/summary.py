"""What there is to tell about a data set before anything is learnt from it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np

from throughtime.data.dataset import Dataset
from throughtime.data.sequences import Sequences

MOST_FREQUENT, FIRST_STEPS, LONGEST = 12, 8, 200
"""Symbols that are told; steps of the first sequence; characters of it, where it is a text."""


def summary(dataset: Dataset) -> dict[str, Any]:
    """What there is to tell about a data set, in values that JSON knows. Ranges and missing values are those of the training
    part; what is missing is counted where the training part lacks it."""
    lengths = np.concatenate([part.lengths for part in dataset.parts.values()])
    return {
        "name": dataset.name,
        "read_as": dataset.told,
        "notes": list(dataset.notes),
        "task": dataset.task,
        "sequences": len(lengths),
        "steps": {
            "least": int(lengths.min()),
            "median": float(np.median(lengths)),
            "greatest": int(lengths.max()),
            "all": int(lengths.sum()),
        },
        "held_out": dataset.reading.get("split_by"),
        "parts": {name: {"sequences": len(part), "steps": _asked(part)} for name, part in dataset.parts.items()},
        "symbols": _symbols(dataset),
        "columns": _columns(dataset),
        "labels": _labels(dataset),
        "first": _first(dataset),
    }


def _asked(part: Sequences) -> int:
    """How many steps a part has, without those of series that only lead up to it."""
    if part.context is None or part.y is None:
        return int(part.lengths.sum())
    return int((~np.isnan(part.y)).any(axis=1).sum())


def _symbols(dataset: Dataset) -> dict[str, Any] | None:
    """How many different symbols the model would know, what share of all they are, and the most frequent."""
    vocabulary = dataset.encoding.vocabulary
    if vocabulary is None:
        return None
    codes = np.concatenate([part.x if part.x.ndim == 1 else part.x[:, 0] for part in dataset.parts.values()])
    counts = np.bincount(codes, minlength=len(vocabulary))
    order = np.argsort(-counts, kind="stable")[:MOST_FREQUENT]
    unknown = 0 if vocabulary.unknown is None else int(counts[vocabulary.encode([vocabulary.unknown])[0]])
    return {
        "kind": "characters" if vocabulary.of_characters else "words",
        "different": len(vocabulary),
        "unknown": unknown,
        "frequent": {vocabulary.symbols[code]: int(counts[code]) for code in order.tolist() if counts[code]},
    }


def _columns(dataset: Dataset) -> list[dict[str, Any]]:
    encoding, x = dataset.encoding, dataset.train.x
    names = encoding.features or ()
    if not names:
        return []
    values = x[:, : len(names)]
    values = values if encoding.input_scale is None else encoding.input_scale.invert(values)
    flags = dict(zip(encoding.flagged, x[:, len(names) :].sum(axis=0, dtype=np.int64).tolist(), strict=True))
    ranges = zip(names, values.min(axis=0).tolist(), values.max(axis=0).tolist(), strict=True)
    return [
        {"name": name, "kind": "numbers", "least": least, "greatest": greatest, "missing": flags.get(name, 0)}
        for name, least, greatest in ranges
    ]


def _labels(dataset: Dataset) -> dict[str, int]:
    """How often each label occurs, in all parts."""
    if dataset.task not in ("tag", "classify"):
        return {}
    counts: Counter[int] = Counter()
    for part in dataset.parts.values():
        if part.y is not None:
            counts.update(part.y[part.y >= 0].tolist())
    names = dataset.encoding.labels
    return {names[code]: count for code, count in counts.most_common()}


def _first(dataset: Dataset) -> dict[str, Any]:
    part = dataset.train
    targets = _first_targets(dataset, part)
    return {
        "name": "sequence 1" if part.names is None else os.path.basename(part.names[0]),
        "inputs": _first_inputs(dataset, part),
        "targets": targets,
    }


def _first_inputs(dataset: Dataset, part: Sequences) -> str:
    if part.texts is not None:
        return part.texts[0][:LONGEST].replace("\n", "⏎")
    if part.words is not None:
        return " ".join(part.words[0][:FIRST_STEPS])
    encoding, x = dataset.encoding, part.inputs[0][:2]
    values = x[:, : len(encoding.features or ())]
    values = values if encoding.input_scale is None else encoding.input_scale.invert(values)
    return "; ".join(", ".join(f"{value:.4g}" for value in step[:FIRST_STEPS]) for step in values.tolist()) + "; …"


def _first_targets(dataset: Dataset, part: Sequences) -> str | None:
    if dataset.task not in ("tag", "classify") or part.y is None:
        return None
    names, y = dataset.encoding.labels, np.atleast_1d(part.targets[0])[: LONGEST if part.texts else FIRST_STEPS]
    return ("" if part.texts and part.per_step and all(len(name) == 1 for name in names) else " ").join(
        "-" if code < 0 else names[code] for code in y.tolist()
    )
