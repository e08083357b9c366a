"""Arrays and lists in memory: many sequences in one array, or an array or list for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.records import Records
from throughtime.data.sequences import IGNORED


def from_arrays(source: str, x: Any, y: Any, lengths: Any, options: Options) -> Records:
    """Records of sequences given in one of three ways.

    - a list of S sequences: features [T_i, n], numbers [T_i] (floats: one feature; integers: symbols), strings or lists of
      strings (symbols);
    - one array, padded: features [S, T, n], or integers or strings [S, T], and `lengths` [S] (None: all T);
    - one array, the sequences one after another: features [N, n], or symbols [N], and `lengths` [S] with the sum N.

    y is in the same way a label (integer, string; -100 is ignored) for each step, or one for each sequence, or None: then
    features are to be forecast, and symbols are a language to model.

    Raises:
        DataError: what is none of these, or does not fit together.
    """
    inputs = _sequences(f"{source}: x", x, lengths)
    places = [f"{source}: x[{row}]" for row in range(len(inputs))]
    if not inputs:
        raise DataError(f"{source}: x", "at least one sequence", "none")
    read = [_input(place, value) for place, value in zip(places, inputs)]
    first, columns = read[0], None
    if isinstance(first, np.ndarray):
        columns = tuple(f"feature {column + 1}" for column in range(first.shape[1]))
    for place, value in zip(places, read):
        if isinstance(value, np.ndarray) != (columns is not None):
            kinds = ("symbols", "features")
            raise DataError(place, f"{kinds[columns is not None]}, as in x[0]", kinds[columns is None])
        if isinstance(value, np.ndarray) and columns is not None and value.shape[1] != len(columns):
            raise DataError(place, f"{len(columns)} features, as in x[0]", str(value.shape[1]))
    task, targets = _targets(source, read, y, lengths, options)
    outputs = columns if task == "forecast" else None
    names = [str(row) for row in range(len(read))]
    return Records(source, task, read, targets, names, places, features=columns, outputs=outputs, field="y")


def _sequences(place: str, values: Any, lengths: Any) -> list[Any]:
    """One item for each sequence."""
    if lengths is None:
        return list(values)
    array, lengths = np.asarray(values), np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any():
        raise DataError(f"{place}: lengths", "numbers of 1 or more", str(lengths.tolist())[:60])
    padded = array.ndim == 3 or (array.ndim == 2 and array.dtype.kind != "f")
    if padded:
        if len(array) != len(lengths) or lengths.max(initial=0) > array.shape[1]:
            expected = f"{len(array)} lengths of at most {array.shape[1]}"
            raise DataError(f"{place}: lengths", expected, f"{len(lengths)} of at most {lengths.max(initial=0)}")
        return [row[:length] for row, length in zip(array, lengths)]
    if lengths.sum() != len(array):
        raise DataError(f"{place}: lengths", f"the sum {len(array)}, the steps of x", str(lengths.sum()))
    return np.split(array, np.cumsum(lengths)[:-1])


def _input(place: str, value: Any) -> str | list[str] | np.ndarray:
    """A string, a list of strings, or features float64 [T, n]."""
    if not isinstance(value, str):
        if isinstance(value, (list, tuple)) and value and all(isinstance(symbol, str) for symbol in value):
            return list(value)
        try:
            array = np.asarray(value)
        except ValueError:
            raise DataError(place, "rows of one length", "rows of different lengths") from None
        if array.ndim == 1 and array.size and array.dtype.kind in "iuU":
            return array.astype(str).tolist()
        if array.dtype.kind not in "iufb" or array.ndim not in (1, 2):
            found = f"{array.dtype} in {array.ndim} dimensions"
            raise DataError(place, "numbers [T] or [T, n], or strings", found)
        value = array.astype(np.float64) if array.ndim == 2 else array.astype(np.float64)[:, None]
        if not np.isfinite(value).all():
            step, column = np.argwhere(~np.isfinite(value))[0]
            raise DataError(f"{place}, step {step}, column {column}", "a finite number", str(value[step, column]))
    if not len(value):
        raise DataError(place, "at least one step", "none")
    return value


def _targets(source: str, x: list[Any], y: Any, lengths: Any, options: Options) -> tuple[str, Sequence[Any] | None]:
    """The task, and the targets as `Records` has them."""
    symbolic = not isinstance(x[0], np.ndarray)
    if y is None:
        task = options.task or ("lm" if symbolic else "forecast")
        if not options.labelled:
            return task, None
        if task != ("lm" if symbolic else "forecast"):
            raise DataError(f"{source}: y", f"labels for the task {task}", "none")
        return task, x
    steps = sum(len(value) for value in x)
    per_step = np.ndim(y[0]) > 0 or (lengths is not None and len(y) == steps != len(x))
    task = options.task or ("tag" if per_step else "classify")
    if task != ("tag" if per_step else "classify"):
        raise DataError(
            f"{source}: y", f"what the task {task} needs", f"labels for each {'step' if per_step else 'sequence'}"
        )
    values = _sequences(f"{source}: y", y, lengths) if per_step else list(y)
    if len(values) != len(x):
        raise DataError(f"{source}: y", f"{len(x)}, one for each sequence", str(len(values)))
    if not options.labelled:
        return task, None
    if not per_step:
        return task, [_label(f"{source}: y[{row}]", value) for row, value in enumerate(values)]
    targets = []
    for row, (labels, steps) in enumerate(zip(values, x)):
        if len(labels) != len(steps):
            raise DataError(f"{source}: y[{row}]", f"{len(steps)} labels, one for each step", str(len(labels)))
        targets.append([_label(f"{source}: y[{row}], step {step}", label) for step, label in enumerate(labels)])
    return task, targets


def _label(place: str, label: Any) -> str | None:
    if isinstance(label, (int, np.integer)) and label == IGNORED:
        return None
    if isinstance(label, (str, int, np.integer, np.bool_)):
        return str(label)
    raise DataError(place, "a label: a string or an integer", repr(label))
