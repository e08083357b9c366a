"""What a user may say about how to read a source, and what a reader chose."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

TABLE_OPTIONS = ("id", "time", "features", "target", "rows", "header", "sort", "group", "missing", "fill", "units")
"""What tables and frames take."""
UNITS, ROWS = ("characters", "words"), ("steps", "sequences")


@dataclass(frozen=True)
class Options:
    """Each reader takes some of these; None leaves the choice to it.

    Attributes:
        task: tag, classify, lm or forecast.
        column: CoNLL: the column with the labels, by name (CoNLL-U) or number, from 1.
        inputs: CoNLL: the column, or columns, with the symbols to read, by name or number.
        units: of texts: "characters" or "words".
        id: tables: the column that tells the sequences apart.
        time: tables: the column, or columns, that order the steps of a sequence.
        features: tables: the input columns.
        target: tables: the column, or columns, to predict.
        rows: tables: whether a row is one of the "steps" of a sequence, or the rows are "sequences". Where it is stated, what
            is not named is not guessed.
        header: tables: whether the first line holds the names of the columns; if not, they are called 1, 2, …
        sort: tables: whether rows are put in order, of the sequences as they first occur, and of time.
        group: tables: the column with what may not be in two parts of a split, such as a person.
        missing: further cells, besides an empty one, NA, NaN, null and ?, that stand for a missing number.
        fill: what stands for a missing number: "last" or "mean", as in `Encoding`.
        shuffle: text: whether the lines are shuffled before they are divided; None: where they are in alphabetical order.
        encoding: what text is written in.
        symbolic: tables: whether the inputs are symbols rather than numbers.
        labelled: whether targets must be there; False reads inputs alone.
    """

    task: str | None = None
    column: str | None = None
    inputs: tuple[str, ...] | None = None
    units: str | None = None
    id: str | None = None
    time: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    target: tuple[str, ...] | None = None
    rows: str | None = None
    header: bool | None = None
    sort: bool | None = None
    group: str | None = None
    missing: tuple[str, ...] | None = None
    fill: str | None = None
    shuffle: bool | None = None
    encoding: str | None = None
    symbolic: bool | None = None
    labelled: bool = True

    def check_taken(self, reader: str, takes: tuple[str, ...]) -> None:
        """Check that nothing was said to a reader that has no use for it.

        Raises:
            ValueError: names the option and the `reader`.
        """
        for name in self.stated:
            if name not in takes:
                raise ValueError(f"{name}: expected none, as {reader} takes none, found {getattr(self, name)!r}")

    @property
    def stated(self) -> dict[str, Any]:
        """What was said about the reading itself, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ABOUT_ALL}
        return {name: value for name, value in values.items() if value is not None}


ABOUT_ALL = ("task", "encoding", "symbolic", "labelled")
"""Options that mean something to every reader."""
