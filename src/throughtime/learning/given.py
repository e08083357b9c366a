"""What `fit` and `evaluate` are given as sequences: `Sequences`, arrays and tensors, or PyTorch's data sets and loaders."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from throughtime.data.sequences import Sequences
from throughtime.learning.models import seeded
from throughtime.models.sequence_model import OF_ROWS

Data = Sequences | tuple[Any, ...] | Dataset[Any] | DataLoader[Any]


def as_sequences(data: Data, dtype: torch.dtype, name: str, model: Any = None) -> Sequences:
    """`data` as `Sequences`; a tuple (x, y) or (x, y, lengths) holds lists of sequences, or padded arrays or tensors.

    Padded: x [B, T, n] float or [B, T] integer symbols, y [B, T] labels (or [B], one per sequence), lengths [B]. For a `model`
    whose task has a target for each sequence, y [B] or [B, k].

    A `Dataset` holds pairs (x, y) of single sequences; a `DataLoader` gives batches (x, y) or (x, y, lengths), padded. They are
    read once, PyTorch's global generator seeded for that time, so that a shuffled one is the same whenever it is read.

    Raises: TypeError, ValueError: what is wrong, with `name`, the argument and the sequence.
    """
    if isinstance(data, Sequences):
        if data.y is None:
            raise ValueError(f"{name}: expected sequences with targets, found none")
        return data
    per_step = False if getattr(model, "task", None) in OF_ROWS else None
    if isinstance(data, (Dataset, DataLoader)):
        with seeded(torch.default_generator, 0):
            x, y = _read(data, name, per_step)
    elif isinstance(data, tuple) and len(data) in (2, 3):
        x, y = _unpadded(data, name, per_step)
    else:
        expected = "Sequences, (x, y), (x, y, lengths), a Dataset or a DataLoader"
        raise TypeError(f"{name}: expected {expected}, found {type(data).__name__}")
    try:
        return Sequences.from_arrays(
            x, y, per_step=per_step, dtype=np.float64 if dtype == torch.float64 else np.float32
        )
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _unpadded(data: Iterable[Any], name: str, per_step: bool | None) -> tuple[Any, Any]:
    """x and y of every sequence, without what is beyond its length."""
    parts: list[Any] = [*map(_array, data), None]
    x, y, lengths = parts[:3]
    for label, part in (("x", x), ("y", y)):
        if not hasattr(part, "__len__") or (isinstance(part, np.ndarray) and part.ndim == 0):
            raise TypeError(f"{name}: {label}: expected an array or a list, found {type(part).__name__}")
    if len(x) != len(y):
        raise ValueError(f"{name}: expected as many targets y as sequences x, {len(x)}, found {len(y)}")
    if lengths is None:
        return x, y
    try:
        lengths = [index(length) for length in lengths]
    except TypeError:
        found = " ".join(str(lengths)[:60].split())
        raise TypeError(f"{name}: lengths: expected whole numbers, one for each sequence, found {found}") from None
    if len(lengths) != len(x):
        raise ValueError(f"{name}: lengths: expected {len(x)}, one for each sequence, found {len(lengths)}")
    for i, length in enumerate(lengths):
        if not 1 <= length <= len(x[i]):
            raise ValueError(f"{name}: lengths[{i}]: expected 1 to {len(x[i])} steps, found {length}")
    x = [row[:length] for row, length in zip(x, lengths, strict=True)]
    if per_step is not False and np.ndim(y[0]) > 0:
        y = [row[:length] for row, length in zip(y, lengths, strict=True)]
    return x, y


def _read(data: Dataset[Any] | DataLoader[Any], name: str, per_step: bool | None) -> tuple[list[Any], list[Any]]:
    """x and y of every sequence of a data set or a loader, in the order in which they come."""
    x: list[Any] = []
    y: list[Any] = []
    batched = isinstance(data, DataLoader) and data.batch_sampler is not None
    for i, item in enumerate(_items(data, name)):
        place = f"{name}: {'batch' if batched else 'item'} {i}"
        if not isinstance(item, (tuple, list)) or len(item) not in ((2, 3) if batched else (2,)):
            expected = "(x, y) or (x, y, lengths)" if batched else "(x, y)"
            found = f"{len(item)} parts" if isinstance(item, (tuple, list)) else type(item).__name__
            raise TypeError(f"{place}: expected {expected}, found {found}")
        own_x, own_y = _unpadded(item, place, per_step) if batched else ([_array(item[0])], [_array(item[1])])
        x += list(own_x)
        y += list(own_y)
    return x, y


def _items(data: Any, name: str) -> Iterable[Any]:
    """What is in it; a data set with numbers need not know how to be iterated over."""
    if isinstance(data, (DataLoader, IterableDataset)):
        return data
    if not hasattr(data, "__len__"):
        raise TypeError(f"{name}: expected a Dataset with a length, or an IterableDataset, found {type(data).__name__}")
    return (data[i] for i in range(len(data)))


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
