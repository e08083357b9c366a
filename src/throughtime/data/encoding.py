"""What turns raw sequences into numbers; stored with a model, so that it reads new sequences the way it was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from throughtime.data.calibration import Calibration
from throughtime.data.spans import SCHEMES, decode, transitions
from throughtime.data.vocabulary import Vocabulary

TASKS = ("tag", "classify", "lm", "forecast")
FILLS = ("last", "mean")
JSON_VERSION = 1
LONGEST_WORD = 20
"""Characters of a word that are read, at most."""


@dataclass(frozen=True)
class Standardizer:
    """Columns to mean 0 and standard deviation 1: (x − mean) / scale, with the mean and scale of the training part.

    Attributes:
        mean, scale: one float per column; a column that never changes has the scale 1.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, values: np.ndarray, weights: np.ndarray | None = None) -> Standardizer:
        """From float [N, columns]; NaN (a missing value) counts nowhere. A column without any value is left as it is.

        Args: weights: float [N], how much each row counts; None: all the same.
        """
        share = np.where(np.isnan(values), 0.0, 1.0 if weights is None else weights[:, None])
        count = share.sum(0)
        count[count == 0] = 1
        known = share > 0
        mean = (np.where(known, values, 0.0) * share).sum(0, dtype=np.float64) / count
        scale = np.sqrt((np.square(np.where(known, values - mean, 0.0)) * share).sum(0, dtype=np.float64) / count)
        # The rounding of the mean makes a constant column's scale a few ulp of its size instead of 0.
        constant = scale <= 8 * np.finfo(values.dtype).eps * np.abs(mean)
        return cls(tuple(mean.tolist()), tuple(np.where(constant, 1.0, scale).tolist()))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """float [N, columns] to the same shape and dtype."""
        return ((values - np.asarray(self.mean)) / np.asarray(self.scale)).astype(values.dtype)

    def invert(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `apply`, to rounding."""
        return (values * np.asarray(self.scale) + np.asarray(self.mean)).astype(values.dtype)


@dataclass(frozen=True)
class Encoding:
    """The names behind the numbers: of the n inputs and the k outputs.

    Attributes:
        task: "tag" (a label per step), "classify" (a label per sequence), "lm" (the next symbol) or "forecast" (the next
            values).
        labels: the names of the k outputs: classes, symbols (lm), or series (forecast).
        vocabulary: of the input symbols; None: the inputs are features.
        features: the names of the input columns; None: the inputs are symbols.
        input_scale, target_scale: how the features, and the values to forecast, were standardised; None: they were not.
        further: where a step has several symbols, such as a word and its part of speech, the vocabularies of those after
            the first; x is then int64 [N, 1 + len(further)].
        characters: of the characters that words are spelt with, which x then has after all other columns; None: a word is no
            more than its number.
        longest: how many characters of a word are read; of a longer one, the first and the last half of so many.
        fill: what stands for a missing feature: "last", the value before it in its sequence (the mean where there is none),
            or "mean", that of the training part.
        flagged: the features that lacked values in the training part. Each has a further input after the features, in this
            order: 1 where its value is missing, else 0.
        scheme: of labels that mark spans, see `spans`; None: they do not.
        lag: of a forecast, what is read and predicted in place of the series: see `differences`.
        calibration: what the validation part taught about the outputs; None: nothing.

    Raises:
        ValueError: an unknown task or fill, no label or one that occurs twice, not exactly one of vocabulary and features,
            characters without a vocabulary, or a flagged feature that there is not.
    """

    task: str
    labels: tuple[str, ...]
    vocabulary: Vocabulary | None = None
    features: tuple[str, ...] | None = None
    input_scale: Standardizer | None = None
    target_scale: Standardizer | None = None
    further: tuple[Vocabulary, ...] = ()
    characters: Vocabulary | None = None
    longest: int = 0
    fill: str = "mean"
    flagged: tuple[str, ...] = ()
    scheme: str | None = None
    lag: int = 0
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}, found {self.task!r}")
        if (self.vocabulary is None) == (self.features is None):
            found = "neither" if self.vocabulary is None else "both"
            raise ValueError(f"encoding: expected a vocabulary or the names of features, found {found}")
        if self.vocabulary is None and self.characters is not None:
            raise ValueError("characters: expected words beside them, found features")
        if not (1 <= self.longest <= LONGEST_WORD if self.characters else self.longest == 0):
            raise ValueError(f"longest: expected 1 to {LONGEST_WORD} with characters, else 0, found {self.longest}")
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: expected at least one, no two alike, found {list(self.labels)}")
        if self.lag < 0 or (self.lag and not set(self.labels) <= set(self.features or ())):
            raise ValueError(f"lag: expected 0, or the series among the features, found {self.lag}")
        if self.scheme not in (None, *SCHEMES):
            raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, found {self.scheme!r}")
        if self.fill not in FILLS:
            raise ValueError(f"fill: expected one of {', '.join(FILLS)}, found {self.fill!r}")
        unknown = set(self.flagged) - set(self.features or ())
        if unknown or len(set(self.flagged)) < len(self.flagged):
            raise ValueError(f"flagged: expected names of features, no two alike, found {list(self.flagged)}")

    @property
    def columns(self) -> list[int] | None:
        """Where the series that are forecast stand among the features; None: not all of them do."""
        names = self.features or ()
        return [names.index(label) for label in self.labels] if set(self.labels) <= set(names) else None

    def spell(self, words: Iterable[str]) -> np.ndarray:
        """The characters of T words, int64 [T, longest], counted from 1; 0 after a word's end."""
        words = list(words)
        if self.characters is None:
            return np.empty((len(words), 0), np.int64)
        rows: dict[str, np.ndarray] = {}
        for word in set(words):
            tail = self.longest // 2
            kept = word if len(word) <= self.longest else word[: self.longest - tail] + word[len(word) - tail :]
            rows[word] = np.zeros(self.longest, np.int64)
            rows[word][: len(kept)] = self.characters.encode(kept) + 1
        return np.stack([rows[word] for word in words])

    @property
    def n(self) -> int:
        """Number of inputs: symbols (of the first column, where there are several), or features and flags."""
        return len(self.vocabulary if self.vocabulary is not None else (*(self.features or ()), *self.flagged))

    @property
    def vocabularies(self) -> tuple[Vocabulary, ...]:
        """Of every column of symbols; empty: the inputs are features."""
        return () if self.vocabulary is None else (self.vocabulary, *self.further)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many integers there are for each column of x, where it holds symbols; empty: the inputs are features."""
        spelling = () if self.characters is None else (len(self.characters) + 1,) * self.longest
        return (*map(len, self.vocabularies), *spelling)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """The most probable labels [T] of logits [T, k], without transitions that spans do not allow."""
        if self.scheme is None or not len(z):
            return z.argmax(-1)
        return decode(z, self._transitions)

    @cached_property
    def _transitions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return transitions(self.labels, self.scheme or "")

    @property
    def k(self) -> int:
        """Number of outputs: classes, or values to forecast."""
        return len(self.labels)

    def encode_features(self, values: np.ndarray) -> np.ndarray:
        """The inputs of a sequence [T, n], from its features float [T, len(features)], in their dtype: scaled; a NaN, which is
        a missing value, filled; and the flags."""
        scaled = values if self.input_scale is None else self.input_scale.apply(values)
        missing = np.isnan(scaled)
        if missing.any():
            scaled = _last_known(scaled, missing) if self.fill == "last" else scaled
            scaled = np.where(np.isnan(scaled), 0.0, scaled)  # the mean, of what is standardised
        if not self.flagged:
            return scaled
        columns = [(self.features or ()).index(name) for name in self.flagged]
        return np.concatenate([scaled, missing[:, columns].astype(scaled.dtype)], axis=1)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for `json.dump`; `from_json` is its inverse."""
        return {
            "version": JSON_VERSION,
            "task": self.task,
            "labels": list(self.labels),
            "vocabulary": None if self.vocabulary is None else self.vocabulary.to_json(),
            "features": None if self.features is None else list(self.features),
            "input_scale": _scale_to_json(self.input_scale),
            "target_scale": _scale_to_json(self.target_scale),
            "further": [vocabulary.to_json() for vocabulary in self.further],
            "characters": None if self.characters is None else self.characters.to_json(),
            "longest": self.longest,
            "fill": self.fill,
            "flagged": list(self.flagged),
            "scheme": self.scheme,
            "lag": self.lag,
            "calibration": None if self.calibration is None else self.calibration.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Encoding:
        """The encoding that `to_json` described.

        Raises:
            ValueError: not such a dictionary, or one of another version.
        """
        if not isinstance(data, Mapping) or data.get("version") != JSON_VERSION:
            found = data.get("version") if isinstance(data, Mapping) else type(data).__name__
            raise ValueError(f"encoding: expected an object of version {JSON_VERSION}, found {found!r}")
        try:
            return cls(
                task=data["task"],
                labels=tuple(data["labels"]),
                vocabulary=None if data["vocabulary"] is None else Vocabulary.from_json(data["vocabulary"]),
                features=None if data["features"] is None else tuple(data["features"]),
                input_scale=_scale_from_json(data["input_scale"]),
                target_scale=_scale_from_json(data["target_scale"]),
                further=tuple(map(Vocabulary.from_json, data.get("further", []))),  # since 0.2, as what follows
                characters=Vocabulary.from_json(data["characters"]) if data.get("characters") else None,
                longest=int(data.get("longest", 0)),
                fill=data.get("fill", "mean"),
                flagged=tuple(data.get("flagged", [])),
                scheme=data.get("scheme"),
                lag=int(data.get("lag", 0)),
                calibration=Calibration.from_json(data["calibration"]) if data.get("calibration") else None,
            )
        except KeyError as missing:
            raise ValueError(f"encoding: expected the key {missing}, found {sorted(data)}") from None


def _last_known(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Each missing value [T, columns] as the last one before it that is known; those before the first stay."""
    rows = np.where(missing, 0, np.arange(len(values))[:, None])
    return np.take_along_axis(values, np.maximum.accumulate(rows, axis=0), axis=0)


def _scale_to_json(scale: Standardizer | None) -> dict[str, list[float]] | None:
    return None if scale is None else {"mean": list(scale.mean), "scale": list(scale.scale)}


def _scale_from_json(data: Mapping[str, Any] | None) -> Standardizer | None:
    return None if data is None else Standardizer(tuple(data["mean"]), tuple(data["scale"]))
