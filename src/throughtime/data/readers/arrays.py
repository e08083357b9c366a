"""Arrays and lists in memory: many sequences in one array, or an array or list for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.records import Records
from throughtime.data.sequences import IGNORED

RUN = 5  # steps that a label stays, on average, where there is one for each step


def from_arrays(source: str, x: Any, y: Any, lengths: Any, options: Options) -> Records:
    """Records of sequences given in one of four ways; NaN is a missing value.

    - a list of S sequences: features [T_i, n], numbers [T_i] (floats: one feature; integers: symbols), strings or lists of
      strings (symbols);
    - one array, padded: features [S, T, n], or integers or strings [S, T], and `lengths` [S] (None: all T); floats [S, T] are
      S series of one feature where y has S labels;
    - one array, the sequences one after another: features [N, n], or symbols [N], and `lengths` [S] with the sum N;
    - one sequence alone: floats [T], or [T, n] where T ≥ n and y is None or has T labels that stay for long.

    y is in the same way a label (integer, string, whole float; -100 is ignored) for each step, or one for each sequence, also
    as a column [S, 1] or as rows of one 1 and zeros [S, k]; or None: then features are to be forecast, and symbols are a
    language to model.

    Raises:
        DataError: what is none of these, or does not fit together.
    """
    x, y = as_array(x), as_array(y)
    lengths = as_array(lengths)
    x, y, lengths, told = _arranged(x, _single_labels(f"{source}: y", x, y, lengths), lengths)
    inputs = _sequences(f"{source}: x", x, lengths)
    places = [f"{source}: x[{row}]" for row in range(len(inputs))]
    if not inputs:
        raise DataError(f"{source}: x", "at least one sequence", "none")
    missing = [float(value) for value in options.missing or ()]
    read = [_input(place, value, missing) for place, value in zip(places, inputs)]
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
    return Records(
        source,
        task,
        read,
        targets,
        [str(row) for row in range(len(read))],
        places,
        columns,
        columns if task == "forecast" else None,
        field="y",
        fill=options.fill or "last",
        told=told,
    )


def as_array(value: Any) -> Any:
    """A tensor or a series as an array; other values as they are."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def _arranged(x: Any, y: Any, lengths: Any) -> tuple[Any, Any, Any, str]:
    """One sequence alone as a list of it; and what was made of the array, in words."""
    flat = isinstance(x, list) and bool(x) and all(isinstance(value, float) for value in x)
    array = np.asarray(x) if flat else x
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim not in (1, 2) or lengths is not None:
        return x, y, lengths, "arrays"
    T = len(array)
    recording = y is not None and np.ndim(y) == 1 and len(y) == T and _stays(np.asarray(y))
    if array.ndim == 1 or recording or (y is None and array.shape[1] <= T):
        features = f" of {array.shape[1]} features" if array.ndim == 2 and array.shape[1] > 1 else ""
        told = f"arrays: one series of {T} steps{features}"
        return [array], y if y is None else [np.asarray(y).tolist()], None, told
    return x, y, lengths, f"arrays: {T} series of {array.shape[1]} steps"


def _stays(labels: np.ndarray) -> bool:
    """Whether labels stay for long and come back, as those of the steps of a recording do."""
    runs = 1 + int((labels[1:] != labels[:-1]).sum())
    return runs > len(np.unique(labels)) and len(labels) >= RUN * runs


def _single_labels(place: str, x: Any, y: Any, lengths: Any) -> Any:
    """Labels of sequences as one for each, from a column, or rows of one 1 and zeros; whole floats as integers."""
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiub":
        return y
    if y.ndim == 2 and y.shape[1] == 1 and len(y) == len(x):
        y = y[:, 0]
    steps = len(x[0]) if lengths is None and len(x) and np.ndim(x[0]) else 0
    hot = y.ndim in (2, 3) and y.shape[-1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(-1) == 1).all()
    if hot and (y.ndim == 3 or y.shape[1] != steps):
        return y.argmax(-1)
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.floor(y)).all():
        return y.astype(np.int64)
    return y


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
    if (total := sum(lengths.tolist())) != len(array):  # exactly: 64 bits overflow
        raise DataError(f"{place}: lengths", f"the sum {len(array)}, the steps of x", str(total))
    return np.split(array, np.cumsum(lengths)[:-1])


def _input(place: str, value: Any, missing: list[float]) -> str | list[str] | np.ndarray:
    """A string, a list of strings, or features float64 [T, n]."""
    if not isinstance(value, str):
        value = as_array(value)
        if isinstance(value, (list, tuple)) and value and all(isinstance(symbol, str) for symbol in value):
            return list(value)
        try:
            array = np.asarray(value)
        except ValueError:
            raise DataError(place, "rows of one length", "rows of different lengths") from None
        if array.ndim == 1 and array.size and array.dtype.kind in "iuU":
            return array.astype(str).tolist()
        if array.dtype == object and array.size and all(isinstance(symbol, str) for symbol in array.flat):
            return array.astype(str).tolist()
        if array.dtype.kind not in "iufb" or array.ndim not in (1, 2):
            found = f"{array.dtype} in {array.ndim} dimensions"
            raise DataError(place, "numbers [T] or [T, n], or strings", found)
        value = array.astype(np.float64) if array.ndim == 2 else array.astype(np.float64)[:, None]
        if missing:
            value = np.where(np.isin(value, missing), np.nan, value)
        if np.isinf(value).any():
            step, column = np.argwhere(np.isinf(value))[0]
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
    if not hasattr(y, "__len__"):
        raise DataError(f"{source}: y", "a list or an array of labels", type(y).__name__)
    steps = sum(len(value) for value in x)
    per_step = (len(y) > 0 and np.ndim(y[0]) > 0) or (lengths is not None and len(y) == steps != len(x))
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
