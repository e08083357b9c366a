"""How well a trained model does, in the measures of its task, beside predictions that know little."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from throughtime.data.baselines import majority_accuracy, symbol_accuracy
from throughtime.data.encoding import Encoding
from throughtime.data.sequences import IGNORED, Sequences
from throughtime.learning.evaluation import evaluate, predict_logits

MAJORITY = "most frequent label"
SYMBOL = "most frequent label of each symbol"


def measure(model: nn.Module, part: Sequences, encoding: Encoding, truncate: int | None = None) -> dict[str, Any]:
    """The results of `model` on labelled sequences, each target counted once; in values that JSON knows.

    For every task: sequences, targets, loss (nats per target) and accuracy. "lm" adds bits_per_symbol and perplexity. "tag"
    and "classify" add macro_f1 over the classes that occur, and classes: precision, recall, f1 and count of each by name.

    Raises: ValueError: the sequences have no targets.
    """
    if part.y is None or not (part.y != IGNORED).any():
        raise ValueError("sequences: expected targets to compare with, found none")
    if encoding.task == "lm":
        found = evaluate(model, part, truncate=truncate)
        result = {"sequences": len(part), "targets": found.count, "loss": found.loss, "accuracy": found.accuracy}
        return result | {"bits_per_symbol": found.loss / math.log(2), "perplexity": math.exp(found.loss)}
    logits = predict_logits(model, part, truncate=truncate)
    z = torch.cat(logits) if part.per_step else torch.stack(logits)
    counts = part.y != IGNORED
    true, predicted = part.y[counts], z.argmax(-1).numpy()[counts]
    result = {
        "sequences": len(part),
        "targets": int(counts.sum()),
        "loss": float(cross_entropy(z.double(), torch.from_numpy(part.y), ignore_index=IGNORED)),
        "accuracy": float((true == predicted).mean()),
    }
    return result | _by_class(true, predicted, encoding.labels)


def baselines(train: Sequences, test: Sequences) -> dict[str, float]:
    """The accuracy on `test` of predictions that know only how often labels occur in `train`, by name."""
    found = {MAJORITY: majority_accuracy(train, test)}
    if train.symbolic and train.per_step:
        found[SYMBOL] = symbol_accuracy(train, test)
    return found


def _by_class(true: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(true, predicted, labels=range(len(names)), zero_division=0.0)  # type: ignore[arg-type]
    rows = zip(names, *(column.tolist() for column in columns), strict=True)  # type: ignore[union-attr]
    classes = {
        name: {"precision": precision, "recall": recall, "f1": f1, "count": int(count)}
        for name, precision, recall, f1, count in rows
    }
    occurring = [scores["f1"] for scores in classes.values() if scores["count"]]
    return {"macro_f1": sum(occurring) / len(occurring), "classes": classes}
