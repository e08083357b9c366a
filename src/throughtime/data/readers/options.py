"""What a user may say about how to read a source."""

from __future__ import annotations

from dataclasses import dataclass

TABLE_OPTIONS = ("id", "time", "features", "target")


@dataclass(frozen=True)
class Options:
    """Each reader takes some of these; None leaves the choice to it.

    Attributes:
        task: tag, classify, lm or forecast.
        column: CoNLL: the column with the labels, by name (CoNLL-U) or number, from 1.
        id: tables: the column that tells the sequences apart.
        time: tables: the column that orders the steps of a sequence.
        features: tables: the input columns.
        target: tables: the column, or columns, to predict.
        symbolic: tables: whether the inputs are symbols rather than numbers.
        labelled: whether targets must be there; False reads inputs alone.
    """

    task: str | None = None
    column: str | None = None
    id: str | None = None
    time: str | None = None
    features: tuple[str, ...] | None = None
    target: tuple[str, ...] | None = None
    symbolic: bool | None = None
    labelled: bool = True

    def check_taken(self, reader: str, takes: tuple[str, ...]) -> None:
        """Check that no option names a column to a reader that has no use for it.

        Raises:
            ValueError: names the option and the `reader`.
        """
        for name in ("column", *TABLE_OPTIONS):
            if getattr(self, name) is not None and name not in takes:
                raise ValueError(f"{name}: expected none, as {reader} takes none, found {getattr(self, name)!r}")
