"""Sequences in memory: all steps of all sequences in one flat array, so that a batch is one gather.

S: sequences, N: steps of all of them together, T_i: steps of sequence i, n: features, m: target values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

IGNORED = -100  # the label of a step or sequence that counts nowhere (torch's ignore_index)


@dataclass(frozen=True)
class Sequences:
    """One part (train, valid or test) of a data set. Made by `from_arrays`, which checks what it is given.

    Attributes:
        x: every step of every sequence, one after another: symbols int64 [N], several symbols a step int64 [N, columns], or
            features float [N, n].
        offsets: int64 [S + 1]; sequence i is x[offsets[i]:offsets[i + 1]].
        y: None, or the targets. Labels are int64, -100 is ignored: [N] for a label per step, [S] for one per sequence.
            Values are float, NaN is ignored: [N, m] per step, [S, m] per sequence.
        per_step: whether y has a row for each step rather than for each sequence.
        names: None, or what to call each sequence in a message, such as its file.
        texts: None, or the text that each sequence was made from.
        words: None, or the symbols of each sequence as they were read, those too that the vocabulary has not; of several
            columns, the first.
        series: None, or of a forecast the series themselves, float64 [L_i, m] each, in the units of the data.
        context: None, or how many values at the beginning of each series are known rather than forecast.
        rows: None, or where each sequence stands in its source, as `Records.rows`.
        weights: None, or how much each target counts in learning, float [S] of the sequences or [N] of the steps, see
            `weighting`.
    """

    x: np.ndarray
    offsets: np.ndarray
    y: np.ndarray | None = None
    per_step: bool = True
    names: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    words: tuple[Sequence[str], ...] | None = None
    series: tuple[np.ndarray, ...] | None = None
    context: tuple[int, ...] | None = None
    rows: tuple[Any, ...] | None = None
    weights: np.ndarray | None = None

    @classmethod
    def from_arrays(
        cls,
        x: Sequence[Any] | np.ndarray,
        y: Sequence[Any] | np.ndarray | None = None,
        *,
        per_step: bool | None = None,
        names: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        dtype: Any = np.float32,
    ) -> Sequences:
        """Sequences from arrays, or lists, of numbers.

        Args:
            x: S sequences, of any lengths from 1 up: integers [T_i] are symbols; floats [T_i, n] or numbers of any kind
                in two dimensions are features; floats [T_i] are one feature.
            y: per step: integers [T_i] are labels, floats [T_i] or [T_i, m] are values; per sequence: an integer, a
                float or floats [m] for each.
            per_step: whether y is per step; None: it is unless y holds a plain number for each sequence.
            names, texts: S strings.
            dtype: of float x and y.

        Raises:
            ValueError: no sequence, a sequence of length 0, x and y of different lengths, features that differ in number,
                NaN or infinity in x, infinity in y, a negative symbol.
            TypeError: something that is not numbers, or symbols among features.
        """
        flat_x, offsets = _flatten(x, "x", names, dtype)
        for label, given in (("names", names), ("texts", texts)):
            if given is not None and len(given) != len(x):
                raise ValueError(f"{label}: expected {len(x)}, one for each sequence, found {len(given)}")
        names = None if names is None else tuple(names)
        texts = None if texts is None else tuple(texts)
        part = cls(flat_x, offsets, None, True, names, texts)
        part._check_x()
        if y is None:
            return part
        if len(y) != len(part):
            raise ValueError(f"y: expected targets for {len(part)} sequences, as many as x has, found {len(y)}")
        if per_step is None:
            per_step = np.ndim(y[0]) > 0
        if per_step:
            flat_y, y_offsets = _flatten(y, "y", names, dtype)
            wrong = np.flatnonzero(np.diff(y_offsets) != part.lengths)
            if wrong.size:
                i = int(wrong[0])
                raise ValueError(
                    f"y[{i}]{part._called(i)}: expected {part.lengths[i]} steps, as many as x[{i}] has, "
                    f"found {np.diff(y_offsets)[i]}"
                )
        else:
            flat_y = _numbers(y, "y", dtype)
            if flat_y.ndim == 1 and flat_y.dtype.kind == "f":
                flat_y = flat_y[:, None]
        part = cls(flat_x, offsets, flat_y, per_step, names, texts)
        part._check_y()
        return part

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """T_i of each sequence: int64 [S]."""
        return np.diff(self.offsets)

    @property
    def symbolic(self) -> bool:
        """Whether the inputs are symbols rather than features."""
        return self.x.dtype.kind == "i"

    @property
    def inputs(self) -> list[np.ndarray]:
        """The sequences one by one, as views: [T_i] or [T_i, n] each."""
        return np.split(self.x, self.offsets[1:-1])

    @property
    def targets(self) -> list[np.ndarray]:
        """The targets of each sequence, as views: per step [T_i] or [T_i, m]; per sequence one label or [m]."""
        if self.y is None:
            raise ValueError("targets: expected sequences with targets, found none")
        return np.split(self.y, self.offsets[1:-1]) if self.per_step else list(self.y)

    def take(self, rows: Sequence[int] | np.ndarray) -> Sequences:
        """The sequences `rows`, int [R] with 0 ≤ row < S, in that order."""
        rows = np.asarray(rows, np.int64)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        y = None if self.y is None else self.y[steps if self.per_step else rows]
        told = (self.names, self.texts, self.words, self.series, self.context, self.rows)
        own = (_pick(values, rows) for values in told)
        weights = self.weights
        if weights is not None:
            weights = weights[rows if len(weights) == len(self) else steps]
        return Sequences(self.x[steps], offsets, y, self.per_step, *own, weights=weights)

    def locate(self, step: int) -> tuple[int, int]:
        """(sequence, step within it) of a row of the flat arrays."""
        row = int(np.searchsorted(self.offsets, step, side="right")) - 1
        return row, step - int(self.offsets[row])

    def check_range(self, n: int | Sequence[int] | None, k: int | None, part: str) -> None:
        """Check that symbols are below `n` (one for each column, where there are several), that features are `n` and that
        labels are below `k` (None: not checked).

        Raises:
            ValueError: names `part`, the sequence and the step.
        """
        if n is not None and self.symbolic:
            self._require(self.x < np.asarray(n), "x", f"a symbol from 0 to {np.asarray(n) - 1}", part)
        elif n is not None and self.x.shape[1] != n:
            raise ValueError(f"{part}.x: expected {n} features, found {self.x.shape[1]}")
        if k is not None and self.y is not None and self.y.ndim == 1:
            fits = ((self.y >= 0) & (self.y < k)) | (self.y == IGNORED)
            self._require(fits, "y", f"a label from 0 to {k - 1}, or {IGNORED}", part)

    def _check_x(self) -> None:
        if self.symbolic:
            self._require(self.x >= 0, "x", "a symbol of 0 or more")
        else:
            self._require(np.isfinite(self.x), "x", "a finite number")

    def _check_y(self) -> None:
        assert self.y is not None
        if self.y.dtype.kind == "f":
            self._require(~np.isinf(self.y), "y", "a finite number, or NaN where there is none")
        else:
            self._require((self.y >= 0) | (self.y == IGNORED), "y", f"a label of 0 or more, or {IGNORED}")

    def _require(self, holds: np.ndarray, which: str, expected: str, part: str = "") -> None:
        """`holds`: bool, the shape of x or y. Names the first place where it is False."""
        if holds.all():
            return
        place = np.argwhere(~holds)[0]
        values = self.x if which == "x" else self.y
        assert values is not None
        row, step = self.locate(int(place[0])) if which == "x" or self.per_step else (int(place[0]), None)
        where = f"{part + '.' if part else ''}{which}[{row}]{self._called(row)}"
        where += "" if step is None else f", step {step}"
        where += f", column {place[1]}" if len(place) > 1 and values.shape[1] > 1 else ""
        raise ValueError(f"{where}: expected {expected}, found {values[tuple(place)]}")

    def _called(self, row: int) -> str:
        return f" ({self.names[row]})" if self.names is not None else ""


def _pick(values: tuple[Any, ...] | None, rows: np.ndarray) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values[row] for row in rows)


def _numbers(values: Any, where: str, dtype: Any) -> np.ndarray:
    """One array: int64 where `values` are integers in one dimension, else `dtype`."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{where}: expected rows of one length, found rows of different lengths") from None
    if array.dtype.kind not in "iufb":
        raise TypeError(f"{where}: expected numbers, found {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"{where}: expected one or two dimensions, found {array.ndim}")
    return array.astype(np.int64 if array.ndim == 1 and array.dtype.kind in "iu" else dtype, copy=False)


def _flatten(
    values: Sequence[Any] | np.ndarray, name: str, names: Sequence[str] | None, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """All steps of all sequences: [N] int64 or [N, columns] `dtype`; and the offsets int64 [S + 1]."""
    if len(values) == 0:
        raise ValueError(f"{name}: expected at least one sequence, found none")
    arrays = []
    for i, value in enumerate(values):
        where = f"{name}[{i}]" + (f" ({names[i]})" if names is not None and i < len(names) else "")
        array = _numbers(value, where, dtype)
        if array.size == 0:
            raise ValueError(f"{where}: expected at least one step, found none")
        if array.ndim == 1 and array.dtype.kind == "f":
            array = array[:, None]
        first = arrays[0] if arrays else array
        if array.ndim != first.ndim:
            kinds = ("integers", "numbers with a decimal point")
            raise TypeError(
                f"{where}: expected {kinds[first.ndim - 1]}, as {name}[0] has, found {kinds[array.ndim - 1]}"
            )
        if array.shape[1:] != first.shape[1:]:
            raise ValueError(f"{where}: expected {first.shape[1]} columns, as {name}[0] has, found {array.shape[1]}")
        arrays.append(array)
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    return np.concatenate(arrays), offsets
