"""Tables, a chunk of rows at a time, and what their cells hold: numbers, labels, text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from throughtime.data.errors import DataError

CHUNK_ROWS = 100_000
SAMPLED_ROWS = 5_000  # that are looked at to tell what the columns are
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A")
"""Cells that stand for a missing number."""
THOUSANDS = r"^[-+]?\d{1,3}(,\d{3})+(\.\d+)?$"


@dataclass(frozen=True)
class Table:
    """A table that is yet to be read.

    Attributes:
        source: what to call it.
        columns: their names.
        rows: an iterator over the chunks of some columns; in a text file, every cell is a string or null.
        place: where a row (from 0) is, as `file:line`.
        told: what kind of table it is.
        decimal: what separates the digits after the point.
        named: whether it has names of columns of its own.
        reading: the options that it was opened with.
    """

    source: str
    columns: list[str]
    rows: Callable[[list[str]], Iterator[pl.DataFrame]]
    place: Callable[[int], str]
    told: str
    decimal: str = "."
    named: bool = True
    reading: dict[str, Any] = field(default_factory=dict)

    def sample(self) -> pl.DataFrame:
        """The first rows."""
        chunks: list[pl.DataFrame] = []
        for chunk in self.rows(self.columns):
            chunks.append(chunk)
            if sum(own.height for own in chunks) >= SAMPLED_ROWS:
                break
        return pl.concat(chunks).head(SAMPLED_ROWS) if chunks else pl.DataFrame()

    def check_columns(self, names: Sequence[str | None]) -> None:
        """Refuse a name that is no column's.

        Raises: DataError: names it, and the columns there are.
        """
        for name in names:
            if name is not None and name not in self.columns:
                raise DataError(
                    f"{self.source}: header", f"the column {name!r}", ", ".join(map(str, self.columns))[:200]
                )


@dataclass(frozen=True)
class Cells:
    """How the cells of a table are read.

    Attributes:
        missing: what stands for a missing number.
        decimal: what separates the digits after the point.
    """

    missing: tuple[str, ...] = MISSING
    decimal: str = "."

    @classmethod
    def of(cls, table: Table, missing: tuple[str, ...] | None) -> Cells:
        return cls((*MISSING, *(missing or ())), table.decimal)

    def numbers(self, series: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Float64, NaN where a value is missing; and which cells (Boolean) are neither numbers nor missing."""
        if series.dtype == pl.String:
            numbers = series.cast(pl.Float64, strict=False)
            if numbers.null_count():
                numbers = self._tidied(series).cast(pl.Float64, strict=False)
            known = numbers.is_not_null() & numbers.is_not_nan() & ~numbers.is_infinite()
            if not known.all():
                missing = series.is_null() | series.str.strip_chars().is_in(list(self.missing))
                numbers = numbers.set(missing, np.nan)
                known = known | missing
        else:
            numbers = series.cast(pl.Float64, strict=False)
            known = numbers.is_null() | numbers.is_nan() | ~numbers.is_infinite()
        values = [value for text in self.missing[len(MISSING) :] if (value := _number(text)) is not None]
        if values:
            numbers = numbers.set(numbers.is_in(values).fill_null(False), np.nan)
        return numbers.fill_null(np.nan), ~known.fill_null(False)

    def known(self, series: pl.Series) -> pl.Series:
        """The cells that do not stand for a missing number."""
        cells = series.drop_nulls()
        return cells.filter(~cells.str.strip_chars().is_in(list(self.missing))) if cells.dtype == pl.String else cells

    def holds_numbers(self, series: pl.Series, whole: bool = False) -> bool:
        """Whether every cell is a number (a whole one) or missing, and one is there."""
        if not (series.dtype.is_numeric() or series.dtype == pl.String or series.dtype == pl.Null):
            return False
        numbers, wrong = self.numbers(series)
        known = numbers.drop_nans()
        if wrong.any() or not len(known):
            return False
        return not whole or bool((known == known.floor()).all())

    def _tidied(self, series: pl.Series) -> pl.Series:
        series = series.str.strip_chars()
        if self.decimal == ",":
            return series.str.replace(",", ".", literal=True)
        with_commas = series.str.contains(THOUSANDS).fill_null(False)
        if with_commas.any():
            return series.to_frame().select(
                pl.when(with_commas).then(pl.first().str.replace_all(",", "", literal=True)).otherwise(pl.first())
            )[:, 0]
        return series


def texts(series: pl.Series) -> pl.Series:
    """The cells as strings without spaces at their ends; null where there is nothing."""
    strings = series.cast(pl.String).str.strip_chars()
    return strings.set(strings == "", None)


def labels(series: pl.Series) -> pl.Series:
    """The names of labels: strings, null where there is none; whole numbers without a decimal point."""
    strings = texts(series)
    numbers = strings.drop_nulls().cast(pl.Float64, strict=False)
    if series.dtype.is_integer() or not len(numbers) or numbers.null_count() or not (numbers == numbers.floor()).all():
        return strings
    return strings.cast(pl.Float64).cast(pl.Int64).cast(pl.String)


def open_frame(source: str, frame: Any, told: str = "a frame") -> Table:
    """A polars frame, lazy or not, or a pandas one. The index of a pandas frame is a column where it has a name or is of dates.

    Raises:
        DataError: a name that is no string, or occurs twice.
    """
    if not isinstance(frame, pl.LazyFrame):
        frame = frame if isinstance(frame, pl.DataFrame) else _from_pandas(source, frame)
        check_names(source, frame.columns)
    lazy = frame.lazy()

    def rows(chosen: list[str]) -> Iterator[pl.DataFrame]:
        try:
            yield from lazy.select(chosen).collect_batches(chunk_size=CHUNK_ROWS)
        except pl.exceptions.PolarsError as error:
            raise DataError(source, "a table", str(error).splitlines()[0]) from None

    return Table(source, lazy.collect_schema().names(), rows, lambda row: f"{source}: row {row + 1}", told)


def open_frames(source: str, frames: Sequence[Any]) -> tuple[Table, str]:
    """Frames of the same columns, one after another, and the name of a further column with the number of each.

    Raises: DataError: a frame of other columns than the first.
    """
    tables = [open_frame(f"{source}[{i}]", frame) for i, frame in enumerate(frames)]
    columns, id = tables[0].columns, "sequence"
    while id in columns:
        id += "_"
    whole = []
    for i, table in enumerate(tables):
        if table.columns != columns:
            raise DataError(
                table.source, f"the columns {', '.join(columns)}, as in {source}[0]", ", ".join(table.columns)
            )
        whole += [chunk.with_columns(pl.lit(str(i)).alias(id)) for chunk in table.rows(columns)]
    return open_frame(source, pl.concat(whole, how="vertical_relaxed")), id


def index_columns(frame: Any) -> tuple[str, ...]:
    """What the levels of a pandas frame's index are called as columns; none: it only counts the rows."""
    index = getattr(frame, "index", None)
    names = getattr(index, "names", [None])
    if len(names) == 1 and names[0] is None and type(index).__name__ != "DatetimeIndex":
        return ()
    return tuple(
        name if name is not None else "index" if len(names) == 1 else f"level {i}" for i, name in enumerate(names)
    )


def _from_pandas(source: str, frame: Any) -> pl.DataFrame:
    if index := index_columns(frame):
        frame = frame.reset_index(names=list(index))
    columns = list(frame.columns)
    check_names(source, columns)
    return pl.DataFrame({name: _series(frame[name]) for name in columns}, strict=False)


def _series(column: Any) -> Any:
    values = column.to_list()
    return [None if value is None or value != value else value for value in values] if _has_gaps(column) else values


def _has_gaps(column: Any) -> bool:
    return bool(getattr(column, "hasnans", False))


def check_names(place: str, names: list[Any]) -> None:
    """Refuse a header that does not name every column, each in its own way.

    Raises: DataError: names the column.
    """
    if not names:
        raise DataError(place, "a header with the names of the columns", "none")
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise DataError(f"{place}: header", "a name for each column", repr(name))
        if name in seen:
            raise DataError(f"{place}: header", "each name once", f"{name!r} {names.count(name)} times")
        seen.add(name)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def free(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of further columns that no column has yet."""
    found = []
    for name in names:
        while name in taken:
            name += "_"
        found.append(name)
    return found
