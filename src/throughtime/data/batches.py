"""Which steps of which sequences are computed together, in which order; and their tensors.

The order is a list that depends on its arguments alone, never on what has been read so far: a resumed run continues at
its position of the same list.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from throughtime.data.sequences import IGNORED, Sequences

POOL = 32  # batches that are sorted by length together: less padding with more, a more random composition with fewer


@dataclass(frozen=True)
class Window:
    """B pieces of sequences that are computed side by side. All arrays int64 [B].

    Attributes:
        lanes: where the state of each piece is carried: it starts from the state that the piece before it in the same
            lane ended with, unless its start is 0.
        rows: the sequence of each piece.
        starts: its first step.
        lengths: how many steps it has.
    """

    lanes: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class Batch:
    """The tensors of a window, B pieces of at most T steps.

    Attributes:
        x: symbols int64 [B, T] or features float [B, T, n]; 0 where there is no step.
        y: labels int64, values float, or None without targets. Per step [B, T] or [B, T, m]; per sequence [B] or [B, m],
            with the piece that ends the sequence. Labels are -100, values NaN, where there is no target.
        lengths: int64 [B].
        fresh: bool [B], whether the piece begins a sequence, so that no state is carried to it.
        lanes: int64 [B], as in `Window`.
        weights: None, or float [B] of the pieces' sequences or [B, T] of their steps.
    """

    x: torch.Tensor
    y: torch.Tensor | None
    lengths: torch.Tensor
    fresh: torch.Tensor
    lanes: torch.Tensor
    weights: torch.Tensor | None = None

    def to(self, dtype: torch.dtype) -> Batch:
        """The batch with its features and values in `dtype`; symbols and labels stay integers."""
        x, y = (t.to(dtype) if t is not None and t.is_floating_point() else t for t in (self.x, self.y))
        return replace(self, x=x, y=y)


def schedule(
    lengths: np.ndarray | Sequence[int],
    batch_size: int,
    *,
    truncate: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
    bucket: bool = True,
) -> list[Window]:
    """One epoch: every step of every sequence once.

    Without `truncate` a piece is a whole sequence. `bucket` puts sequences of like lengths together: shuffled sequences
    are sorted by length in pools of 32 batches, cut into batches, and the batches shuffled (without `shuffle`, all are
    sorted at once). Within a batch, the longest comes first.

    With `truncate`, at most `batch_size` lanes run side by side. Each walks its sequences one after another, in consecutive
    pieces of `truncate` steps (the last one of a sequence may be shorter), and drops out at its end. The sequences are
    dealt to the lanes so that these are about equally long: longest first, to the lane with the fewest steps (Graham, 1969),
    where a shuffle first multiplies each length by a random factor from ½ to 1.

    Args:
        lengths: int [S], each at least 1.
        batch_size: the most pieces in a window.
        truncate: the most steps in a window; None: whole sequences.
        shuffle: whether the order is random, from `seed` and `epoch` alone.
        bucket: see above; without effect where `truncate` is given.

    Raises:
        ValueError: no sequence, one of length 0, or batch_size or truncate below 1.
    """
    lengths = np.asarray(lengths, np.int64)
    if lengths.ndim != 1 or not lengths.size or lengths.min() < 1:
        raise ValueError(f"lengths: expected at least one, each 1 or more, found {lengths.tolist()[:10]}")
    for name, value in (("batch_size", batch_size), ("truncate", truncate)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, found {value}")
    batch_size = min(batch_size, len(lengths))  # more says the same, and may have more than 64 bits
    random = np.random.default_rng([seed, epoch]) if shuffle else None
    if truncate is not None:
        truncate = min(truncate, int(lengths.max()))
        return _lanes(lengths, batch_size, truncate, random)
    return _whole(lengths, batch_size, random, bucket)


def collate(sequences: Sequences, window: Window) -> Batch:
    """The tensors of a window of `sequences`."""
    T = int(window.lengths.max())
    first = sequences.offsets[window.rows] + window.starts
    inside = np.arange(T) < window.lengths[:, None]
    steps = first[:, None] + np.minimum(np.arange(T), window.lengths[:, None] - 1)
    y = None
    if sequences.y is not None and sequences.per_step:
        y = _gather(sequences.y, steps, inside)
    elif sequences.y is not None:
        last = window.starts + window.lengths == sequences.lengths[window.rows]
        y = _gather(sequences.y, window.rows, last)
    x = sequences.x[steps]
    x[~inside] = 0
    return Batch(
        x=torch.from_numpy(x),
        y=None if y is None else torch.from_numpy(y),
        lengths=torch.from_numpy(window.lengths.copy()),
        fresh=torch.from_numpy(window.starts == 0),
        lanes=torch.from_numpy(window.lanes.copy()),
        weights=None if sequences.weights is None else torch.from_numpy(_weights(sequences, window, steps)),
    )


def _weights(sequences: Sequences, window: Window, steps: np.ndarray) -> np.ndarray:
    assert sequences.weights is not None
    return sequences.weights[window.rows if len(sequences.weights) == len(sequences) else steps]


def _gather(targets: np.ndarray, rows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    gathered = targets[rows]
    gathered[~inside] = IGNORED if targets.dtype.kind == "i" else np.nan
    return gathered


def _whole(lengths: np.ndarray, batch_size: int, random: np.random.Generator | None, bucket: bool) -> list[Window]:
    order = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    if bucket:
        pool = batch_size * POOL if random is not None else len(order)
        order = order[np.lexsort((-lengths[order], np.arange(len(order)) // pool))]
    cuts = list(range(0, len(order), batch_size))
    if bucket and random is not None:
        random.shuffle(cuts)
    windows = []
    for cut in cuts:
        rows = order[cut : cut + batch_size]
        windows.append(Window(np.arange(len(rows)), rows, np.zeros(len(rows), np.int64), lengths[rows]))
    return windows


def _lanes(lengths: np.ndarray, batch_size: int, truncate: int, random: np.random.Generator | None) -> list[Window]:
    keys = lengths if random is None else lengths * random.uniform(0.5, 1.0, len(lengths))
    lane_rows: list[list[int]] = [[] for _ in range(min(batch_size, len(lengths)))]
    totals = [(0, lane) for lane in range(len(lane_rows))]  # a heap: the lane with the fewest steps first
    for row in np.argsort(-keys, kind="stable").tolist():
        total, lane = totals[0]
        lane_rows[lane].append(row)
        heapq.heapreplace(totals, (total + int(lengths[row]), lane))
    pieces = []  # per lane: positions, lanes, rows, starts, lengths
    for lane, rows in enumerate(lane_rows):
        own = np.sort(rows) if random is None else random.permutation(rows)
        counts = -(-lengths[own] // truncate)
        row = np.repeat(own, counts)
        start = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) * truncate
        length = np.minimum(lengths[row] - start, truncate)
        pieces.append(np.stack([np.arange(len(row)), np.full(len(row), lane), row, start, length]))
    table = np.concatenate(pieces, axis=1)
    table = table[:, np.argsort(table[0], kind="stable")]
    cuts = np.flatnonzero(np.diff(table[0])) + 1
    return [Window(*part[1:]) for part in np.split(table, cuts, axis=1)]
