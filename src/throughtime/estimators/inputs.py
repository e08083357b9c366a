"""From what a user passes as X to sequences of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

ROWS, FEATURES, SYMBOLS = "rows", "features", "symbols"
"""What sequences are made of: the rows of a table, one feature each; vectors of n features; or symbols."""


def from_lengths(X: Any, lengths: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """The sequences that lie one after another in one array, which is how hmmlearn takes them.

    Args:
        X: [N, …], the steps of all sequences: features [N, n], symbols or labels [N].
        lengths: [S], the steps of each sequence, which add up to N.

    Returns: a list of S views [T_i, …].

    Raises: ValueError: lengths that are not whole numbers of at least 1 that add up to N.
    """
    X, lengths = np.asarray(X), np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not lengths.size or lengths.min() < 1:
        raise ValueError(f"lengths: expected whole numbers of at least 1, found {lengths.tolist()}")
    if (total := sum(lengths.tolist())) != len(X):  # exactly: 64 bits overflow
        raise ValueError(f"lengths: expected numbers that add up to the {len(X)} steps of X, found {total}")
    return np.split(X, np.cumsum(lengths)[:-1])


def read(estimator: Any, X: Any, *, reset: bool) -> list[Any]:
    """The sequences of X: float64 [T_i, n] each, or lists of symbols as strings.

    With `reset`, `estimator` learns their kind (`_kind`) and `n_features_in_`; otherwise they must be the same.

    Raises:
        ValueError: no sequences, empty or ragged ones, NaN or infinity in an array, others than the estimator was fitted with.
        TypeError: something that is not numbers or symbols, or a sparse matrix.
    """
    X = split_by_index(X)
    if _is_column_of_symbols(X):
        X = list(X)
    if isinstance(X, list | tuple) and not X:
        raise ValueError("X: expected at least one sequence, found none")
    if isinstance(X, list | tuple) and not _is_table(X):
        kind, sequences = _from_list(X)
        if reset and hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    else:
        kind, sequences = _from_array(estimator, X, reset)
    width = len(sequences[0]) if kind == ROWS else 1 if kind == SYMBOLS else sequences[0].shape[1]
    if reset:
        estimator._kind, estimator.n_features_in_ = kind, width
    _check_alike(estimator, kind, sequences)
    return sequences


def split_by_index(values: Any) -> Any:
    """A pandas frame or series whose index has several levels as a list of arrays [T_i, n] or [T_i]: all levels but the last
    tell the sequence, in the order in which they first occur. Anything else as it is."""
    index = getattr(values, "index", None)
    if getattr(index, "nlevels", 1) == 1:
        return values
    codes = index.droplevel(-1).factorize()[0]  # type: ignore[union-attr]
    order = np.argsort(codes, kind="stable")
    return np.split(values.to_numpy()[order], np.cumsum(np.bincount(codes))[:-1])


def _is_column_of_symbols(X: Any) -> bool:
    """Whether X is an array or a series of sequences: strings, or objects."""
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and X.dtype.kind in "OUT"
    is_series = hasattr(X, "to_numpy") and getattr(X, "ndim", 1) == 1 and hasattr(X, "dtype")
    return is_series and X.to_numpy().dtype.kind in "OUT"


def _is_table(X: Sequence[Any]) -> bool:
    """Whether a list is nested floats of a rectangular shape, which scikit-learn reads as an array; or nothing but numbers."""
    if all(isinstance(x, Number) for x in X):
        return True
    if not all(isinstance(x, list | tuple) and len(x) == len(X[0]) for x in X):
        return False
    return all(isinstance(v, Number) for x in X for v in x) and any(isinstance(v, float) for x in X for v in x)


def _from_array(estimator: Any, X: Any, reset: bool) -> tuple[str, list[np.ndarray]]:
    if len(X.shape if hasattr(X, "shape") else np.asarray(X).shape) == 1:
        raise ValueError(
            f"X: expected sequences [S, T] or [S, T, n], found one array of {len(X)} numbers. "
            "Reshape your data, or pass [X] where it is one sequence"
        )
    validate_data(estimator, X, reset=reset, skip_check_array=True, ensure_2d=False)  # the names of its columns
    array = check_array(X, allow_nd=True, dtype="numeric", input_name="X", estimator=estimator)
    if array.ndim > 3 or 0 in array.shape:
        raise ValueError(f"X: expected an array [S, T] or [S, T, n], none of them 0, found shape {list(array.shape)}")
    array = array.astype(np.float64, copy=False)
    return (ROWS, list(array[:, :, None])) if array.ndim == 2 else (FEATURES, list(array))


def _from_list(X: Sequence[Any]) -> tuple[str, list[Any]]:
    arrays = [_one(i, x) for i, x in enumerate(X)]
    kinds = {array.dtype.kind for array in arrays}
    if "U" in kinds or (kinds <= {"i", "u"} and all(array.ndim == 1 for array in arrays)):
        for i, array in enumerate(arrays):
            if array.ndim != 1 or array.dtype.kind == "f":
                raise TypeError(
                    f"X[{i}]: expected symbols, as other sequences have, found {array.dtype} {[*array.shape]}"
                )
        return SYMBOLS, [array.astype(str).tolist() for array in arrays]
    return FEATURES, [array.reshape(len(array), -1).astype(np.float64, copy=False) for array in arrays]


def _one(i: int, x: Any) -> np.ndarray:
    """A sequence as an array of strings, integers or floats in one or two dimensions."""
    try:
        array = np.asarray(list(x) if isinstance(x, str) else x)
    except ValueError:
        raise ValueError(f"X[{i}]: expected steps of one number of features, found others") from None
    if array.dtype == object and array.ndim == 1 and all(isinstance(symbol, str) for symbol in array):
        array = array.astype(str)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iufbU":
        raise TypeError(f"X[{i}]: expected numbers [T, n] or [T], or symbols [T], found {array.dtype} {[*array.shape]}")
    if not array.size:
        raise ValueError(f"X[{i}]: expected at least one step, found none")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"X[{i}]: expected finite numbers, found NaN or infinity")
    return array


def _check_alike(estimator: Any, kind: str, sequences: list[Any]) -> None:
    """Refuse sequences of another kind, or with another number of features, than the estimator was fitted with."""
    name, expected = type(estimator).__name__, estimator.n_features_in_
    if (kind == SYMBOLS) != (estimator._kind == SYMBOLS):
        raise TypeError(f"X: {name} is expecting {estimator._kind} as in fit, found {kind}")
    if kind == SYMBOLS:
        return
    for i, x in enumerate(sequences):
        found = x.shape[1]
        if estimator._kind == ROWS:
            found = len(x) if x.shape[1] == 1 else x.size
        if found != expected:
            where = "X" if kind == ROWS else f"X[{i}]"
            raise ValueError(f"{where} has {found} features, but {name} is expecting {expected} features as input")
