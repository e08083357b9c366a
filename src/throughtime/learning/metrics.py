"""How well a trained model does, in the measures of its task, beside predictions that know little."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from throughtime.data.baselines import majority_accuracy, summary_accuracies, symbol_accuracy
from throughtime.data.calibration import Calibration
from throughtime.data.encoding import Encoding
from throughtime.data.sequences import IGNORED, Sequences
from throughtime.learning.evaluation import evaluate, predict_logits

MAJORITY = "most frequent label"
SYMBOL = "most frequent label of each symbol"
DRAWS, FEWEST_DRAWN = 1000, 10  # of the bootstrap; what fewer sequences say of others is too little for an interval
HOTTEST = math.log(20)  # of temperatures
MOST_CONFUSED = 100  # classes; a larger confusion matrix is left out of the results


def measure_labels(
    model: nn.Module, part: Sequences, encoding: Encoding, truncate: int | None = None
) -> dict[str, Any]:
    """The results of a model of labels (the tasks tag, classify and lm), in values that JSON knows.

    Each target counts once: sequences, targets, loss (nats per target) and accuracy. "lm" adds bits_per_symbol, perplexity and
    unit, which is what both are per: character or word.
    "tag" and "classify" add
        accuracy_interval: where the accuracy of other such sequences should lie with 95 %, by 1,000 draws of as many sequences,
            with replacement (the percentile bootstrap of Efron, 1979); not of under ten;
        macro_f1: the mean over the classes that occur;
        classes: precision, recall, f1 and count of each, by name;
        confusion: how many targets of each class (row) were predicted as each (column), for up to 100 classes;
        spans: where labels mark spans, precision, recall and f1 of whole ones (Tjong Kim Sang and Buchholz, 2000), and
            types, the same of each kind with its count. Labels are then predicted without transitions that cannot be.

    Raises: ValueError: the sequences have no targets.
    """
    if part.y is None or not (part.y != IGNORED).any():
        raise ValueError("sequences: expected targets to compare with, found none")
    if encoding.task == "lm":
        found = evaluate(model, part, truncate=truncate)
        result = {"sequences": len(part), "targets": found.count, "loss": found.loss, "accuracy": found.accuracy}
        unit = "character" if encoding.vocabulary is not None and encoding.vocabulary.of_characters else "word"
        return result | {
            "bits_per_symbol": found.loss / math.log(2),
            "perplexity": math.exp(found.loss),
            "unit": unit,
        }
    logits = predict_logits(model, part, truncate=truncate)
    z = torch.cat(logits) if part.per_step else torch.stack(logits)
    counts = part.y != IGNORED
    decoded = encoding.scheme is not None and part.per_step
    guessed = np.concatenate([encoding.decode(own.numpy()) for own in logits]) if decoded else z.argmax(-1).numpy()
    true, predicted = part.y[counts], guessed[counts]
    result = {
        "sequences": len(part),
        "targets": int(counts.sum()),
        "loss": float(cross_entropy(z.double(), torch.from_numpy(part.y), ignore_index=IGNORED)),
        "accuracy": float((true == predicted).mean()),
        **_interval(part, guessed == part.y, counts),
        **_by_class(true, predicted, encoding.labels),
    }
    if part.per_step and is_bio(encoding.labels):
        result["spans"] = _spans(part, guessed, encoding.labels)
    return result


def calibrate(model: nn.Module, part: Sequences, encoding: Encoding, truncate: int | None = None) -> Encoding:
    """The encoding with the temperature τ that makes softmax(z / τ) most likely on a validation part (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar

    if part.y is None or not (part.y != IGNORED).any():
        return encoding
    logits = predict_logits(model, part, truncate=truncate)
    z, y = (torch.cat(logits) if part.per_step else torch.stack(logits)).double(), torch.from_numpy(part.y)

    def loss(scale: float) -> float:
        return float(cross_entropy(z * math.exp(-scale), y, ignore_index=IGNORED))

    found: Any = minimize_scalar(loss, bounds=(-HOTTEST, HOTTEST), method="bounded")
    return replace(encoding, calibration=Calibration(temperature=math.exp(float(found.x))))


def baselines(train: Sequences, test: Sequences) -> dict[str, float]:
    """The accuracy on `test` of predictions that know little, by name: how often labels occur in `train`, which label each
    symbol has most often; of whole sequences, closed or convex models of what does not depend on the order of the steps."""
    found = {MAJORITY: majority_accuracy(train, test)}
    if train.symbolic and train.per_step:
        found[SYMBOL] = symbol_accuracy(train, test)
    if not train.per_step:
        found |= summary_accuracies(train, test)
    return found


def _interval(part: Sequences, right: np.ndarray, counts: np.ndarray) -> dict[str, list[float]]:
    """The bootstrap interval of the accuracy over sequences; steps of a sequence are drawn together, as they are alike."""
    S = len(part)
    if S < FEWEST_DRAWN:
        return {}
    rows = np.repeat(np.arange(S), part.lengths) if part.per_step else np.arange(S)
    hits = np.bincount(rows[counts], right[counts], minlength=S)
    asked = np.bincount(rows[counts], minlength=S)
    random = np.random.default_rng(0)
    draws = (random.integers(S, size=S) for _ in range(DRAWS))
    shares = [hits[drawn].sum() / max(asked[drawn].sum(), 1) for drawn in draws]
    return {"accuracy_interval": np.quantile(shares, (0.025, 0.975)).tolist()}


def is_bio(labels: tuple[str, ...]) -> bool:
    """Whether labels mark spans: O outside, B-… where one begins, I-… where it goes on (also E-… and S-…)."""
    kinds = {label[0] for label in labels if re.fullmatch(r"O|[BIES]-.+", label)}
    return "I" in kinds and all(re.fullmatch(r"O|[BIES]-.+", label) for label in labels)


def _by_class(true: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every = list(range(len(names)))
    columns = precision_recall_fscore_support(true, predicted, labels=every, zero_division=0.0)  # type: ignore[arg-type]
    rows = zip(names, *(column.tolist() for column in columns), strict=True)  # type: ignore[union-attr]
    classes = {
        name: {"precision": precision, "recall": recall, "f1": f1, "count": int(count)}
        for name, precision, recall, f1, count in rows
    }
    occurring = [scores["f1"] for scores in classes.values() if scores["count"]]
    found: dict[str, Any] = {"macro_f1": sum(occurring) / len(occurring), "classes": classes}
    if len(names) <= MOST_CONFUSED:
        found["confusion"] = confusion_matrix(true, predicted, labels=every).tolist()
    return found


def _spans(part: Sequences, predicted: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

    assert part.y is not None
    true, guessed = [], []
    for begin, end in zip(part.offsets, part.offsets[1:], strict=False):
        steps = np.arange(begin, end)[part.y[begin:end] != IGNORED]
        true.append([names[label] for label in part.y[steps]])
        guessed.append([names[label] for label in predicted[steps]])
    scores = ("precision", "recall", "f1")
    whole = precision_recall_fscore_support(true, guessed, average="micro", zero_division=0)  # type: ignore[arg-type]
    found: dict[str, Any] = dict(zip(scores, map(float, whole[:3]), strict=True))  # type: ignore[arg-type]
    kinds = sorted({kind for rows in (true, guessed) for own in rows for kind, _, _ in get_entities(own)})
    columns = precision_recall_fscore_support(true, guessed, average=None, zero_division=0)  # type: ignore[arg-type]
    rows = zip(kinds, *(np.asarray(column).tolist() for column in columns), strict=True)
    found["types"] = {kind: {"precision": p, "recall": r, "f1": f, "count": int(n)} for kind, p, r, f, n in rows}
    return found
