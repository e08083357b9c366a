"""Sequences as they were read, before symbols and labels become integers and features are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_
from typing import Any

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
        groups: what may not be in two parts of a split, for each sequence; None: there is no such thing.
        context: of series, how many steps at the beginning of each belong to the part before: they are read, but not asked
            for; None: no step.
        rows: where each sequence stands in a source that is read without labels: the line (from 1), or of a table the row (from
            0), of the sequence or of each of its steps, int [T]; None: it is not told.
        told: what the source was taken for, in words.
        notes: what else there is to tell about it, in sentences.
        reading: the options of the reader as they were chosen, with which it reads the same again.
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
    groups: Sequence[str] | None = None
    context: Sequence[int] | None = None
    rows: Sequence[Any] | None = None
    told: str = ""
    notes: tuple[str, ...] = ()
    reading: dict[str, Any] = field_(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.inputs):
            raise DataError(self.source, "at least one sequence", "none")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Sequence[int]) -> Records:
        """The sequences `rows`, in that order."""

        def pick(values: Sequence[Any]) -> list[Any]:
            return [values[row] for row in rows]

        return replace(
            self,
            inputs=pick(self.inputs),
            targets=None if self.targets is None else pick(self.targets),
            names=pick(self.names),
            places=pick(self.places),
            groups=None if self.groups is None else pick(self.groups),
            context=None if self.context is None else pick(self.context),
            rows=None if self.rows is None else pick(self.rows),
        )

    def stretch(self, begin: float, end: float) -> Records:
        """Of each sequence the steps from `begin` to `end`, as shares of its length: for the tasks lm and forecast."""
        cuts = [slice(round(begin * steps_of(x)), round(end * steps_of(x))) for x in self.inputs]

        def pick(values: Sequence[Any]) -> list[Any]:
            return [
                tuple(column[cut] for column in x) if isinstance(x, tuple) else x[cut] for x, cut in zip(values, cuts)
            ]

        whole = self.targets is None or self.task == "classify"  # a label of a sequence is not cut
        return replace(self, inputs=pick(self.inputs), targets=self.targets if whole else pick(self.targets or ()))

    def reaching_back(self, begin: float, end: float) -> Records:
        """The series up to `end`, of which the steps before `begin`, as shares of the length, are context."""
        context = [round(begin * len(x)) for x in self.inputs]
        return replace(self.stretch(0, end), context=context)


def steps_of(x: Any) -> int:
    """How many steps a sequence of `Records.inputs` has."""
    return len(x[0]) if isinstance(x, tuple) else len(x)
