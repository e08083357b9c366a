"""Sequences as they were read, before symbols and labels become integers and features are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from throughtime.data.errors import DataError


@dataclass(frozen=True)
class Records:
    """S sequences from one source.

    Attributes:
        source: where they come from; begins the message of an error.
        task: tag, classify, lm or forecast.
        inputs: for each sequence a string (its symbols are characters), a list of strings (symbols), a tuple of such lists
            (several columns of symbols, of T each), or features float64 [T, n] with NaN where a value is missing.
        targets: None where none were asked for; tag: a list of T names; classify: a name (None: ignored); lm: the
            inputs themselves; forecast: the series float64 [T, m], step for step with the features.
        names: what to call each sequence.
        places: where each begins, as `file:line` or the like.
        features: the names of the n features; None: the inputs are symbols.
        outputs: the names of classes in an order that the source declares, or of the m series to forecast; None: the
            classes are those that occur.
        field: what the source calls the targets.
        scaled: whether the features are on a common scale already, so that they are left as they are.
        fill: what stands for a missing feature, as in `Encoding`.
    """

    source: str
    task: str
    inputs: Sequence[Any]
    targets: Sequence[Any] | None
    names: Sequence[str]
    places: Sequence[str]
    features: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    field: str = "label"
    scaled: bool = False
    fill: str = "last"

    def __post_init__(self) -> None:
        if not len(self.inputs):
            raise DataError(self.source, "at least one sequence", "none")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Sequence[int]) -> Records:
        """The sequences `rows`, in that order."""

        def pick(values: Sequence[Any]) -> list[Any]:
            return [values[row] for row in rows]

        targets = None if self.targets is None else pick(self.targets)
        return replace(
            self, inputs=pick(self.inputs), targets=targets, names=pick(self.names), places=pick(self.places)
        )

    def stretch(self, begin: float, end: float) -> Records:
        """Of each sequence the steps from `begin` to `end`, as shares of its length: for the tasks lm and forecast."""
        cuts = [slice(round(begin * steps_of(x)), round(end * steps_of(x))) for x in self.inputs]

        def pick(values: Sequence[Any]) -> list[Any]:
            return [
                tuple(column[cut] for column in x) if isinstance(x, tuple) else x[cut] for x, cut in zip(values, cuts)
            ]

        return replace(self, inputs=pick(self.inputs), targets=None if self.targets is None else pick(self.targets))


def steps_of(x: Any) -> int:
    """How many steps a sequence of `Records.inputs` has."""
    return len(x[0]) if isinstance(x, tuple) else len(x)


def divide(records: Records, valid: float, test: float, seed: int) -> dict[str, Records]:
    """The parts train, valid and test of the sequences of one source; a share of 0 makes no such part.

    By sequence, at random from `seed`, at least one sequence for each part. A forecast is asked about the future, so that
    for the task forecast every series is cut in time instead: first train, then valid, last test; unless a piece would
    have fewer than two steps. So is the text of the task lm where there are fewer sequences than parts.

    Raises:
        ValueError: shares that are negative or leave nothing to train on.
        DataError: fewer sequences than parts.
    """
    if valid < 0 or test < 0 or valid + test >= 1:
        raise ValueError(f"split: expected two shares of 0 or more that leave some to train on, found {valid}, {test}")
    shares = {name: share for name, share in (("valid", valid), ("test", test)) if share}
    ends = np.cumsum([0.0, 1 - valid - test, *shares.values()])
    pieces = {name: records.stretch(*ends[i : i + 2]) for i, name in enumerate(("train", *shares))}
    long = all(steps_of(x) > 1 for piece in pieces.values() for x in piece.inputs)
    few = len(records) <= len(shares)
    if (records.task == "forecast" and long) or (records.task == "lm" and few):
        return pieces
    if few:
        expected = f"at least {len(shares) + 1} sequences to split, or sources for valid and test"
        raise DataError(records.source, expected, str(len(records)))
    order = np.random.default_rng(seed).permutation(len(records))
    sizes = [max(1, round(share * len(order))) for share in shares.values()]
    cuts = np.cumsum([len(order) - sum(sizes), *sizes])[:-1]
    return {name: records.take(np.sort(rows).tolist()) for name, rows in zip(("train", *shares), np.split(order, cuts))}
