"""Tables in long form: a step in each row, the rows of a sequence together and in the order of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.tables import Table
from throughtime.data.records import Records


def read_long_form(table: Table, options: Options) -> Records:
    """Sequences of the rows that have the same value in the column `id` (without one, all rows are one sequence).

    Where a column `time` is named, it must increase within a sequence. The inputs are the columns `features`, those that
    have no other part where none are named: numbers, or a single column of symbols.

    tag: `target` is a label for each row. classify: it is the same for all rows of a sequence. forecast: the columns
    `target`, all features where there is none, are to be predicted one row ahead; unless features are named, they are
    inputs too. The task is guessed: forecast where there is no target or one of numbers with a decimal point; classify
    where a target in words never changes within a sequence, else tag. Whole numbers can be either, so that one is asked.

    Raises:
        DataError: a column that is missing, an id that comes back, a time that does not increase, an empty cell, something
            else than a number among numbers, a target that changes within a sequence; tells line and column.
    """
    reader = _Reader(table, options)
    for chunk in table.rows(reader.columns):
        if chunk.height:
            reader.read(chunk)
    if not reader.rows:
        raise DataError(table.source, "at least one row", "none")
    return reader.records()


class _Reader:
    """Takes a table chunk by chunk; a sequence goes on where a chunk ends.

    Attributes:
        columns: the names of those that are read.
        rows: how many have been read.
        starts, ids: the first row and the id of each sequence.
        time: of the last row.
        cells: what has been read of each feature and target: numbers where it has to be numbers, else as it was.
        symbolic: whether the inputs are symbols; None: nothing has been read yet.
    """

    def __init__(self, table: Table, options: Options) -> None:
        self.table, self.options = table, options
        self.features, self.targets = _choose(table, options)
        parts = (options.id, options.time, *self.features, *self.targets)
        self.columns = [name for name in dict.fromkeys(parts) if name is not None]
        self.rows = 0
        self.starts: list[int] = []
        self.ids: dict[str, None] = {}
        self.time: Any = None
        self.cells: dict[str, list[pl.Series]] = {name: [] for name in (*self.features, *self.targets)}
        self.symbolic = options.symbolic

    def read(self, chunk: pl.DataFrame) -> None:
        """Check and keep the next rows."""
        for series in chunk:
            empty = series.is_null() | (series == "") if series.dtype == pl.String else series.is_null()
            if empty.any():
                raise self._error(empty.arg_max(), series.name, "a value", "an empty cell")
        begins = self._find_sequences(chunk)
        if self.options.time:
            self._check_time(chunk[self.options.time], begins)
        if self.symbolic is None:
            self.symbolic = self._looks_symbolic(chunk)
        for name, cells in self.cells.items():
            numeric = self.options.task == "forecast" or (name not in self.targets and not self.symbolic)
            cells.append(self._numbers(chunk[name], self.rows) if numeric else chunk[name])
        self.rows += chunk.height

    def records(self) -> Records:
        """All that has been read."""
        cells = {name: pl.concat(chunks) for name, chunks in self.cells.items()}
        features, targets, cuts = self.features, self.targets, self.starts[1:]
        task = self.options.task or _guess(self.table, [cells[name] for name in targets], cuts)
        if task == "forecast" and not self.options.features:
            features = [name for name in self.table.columns if name in {*features, *targets}]
        if task == "forecast" and not targets:
            targets = features
        symbolic = self.symbolic and task != "forecast"
        if len(features) != 1 and (symbolic or not features):
            raise DataError(
                self.table.source, f"{'one' if symbolic else 'at least one'} feature column", str(len(features))
            )

        def matrices(names: list[str]) -> list[np.ndarray]:
            return np.split(np.stack([self._numbers(cells[name], 0).to_numpy() for name in names], axis=1), cuts)

        found: Any = None
        if self.options.labelled and task == "forecast":
            found = matrices(targets)
        elif self.options.labelled:
            found = self._pieces(cells[targets[0]])
            if task == "classify":
                found = [self._single(labels, begin, targets[0]) for labels, begin in zip(found, self.starts)]
        source, id = self.table.source, self.options.id
        return Records(
            source=source,
            task=task,
            inputs=self._pieces(cells[features[0]]) if symbolic else matrices(features),
            targets=found,
            names=list(self.ids) if id else [source],
            places=[f"{source}: {id} {name}" for name in self.ids] if id else [source],
            features=None if symbolic else tuple(features),
            outputs=tuple(targets) if task == "forecast" else None,
            field=", ".join(targets),
        )

    def _find_sequences(self, chunk: pl.DataFrame) -> np.ndarray:
        """Where in the chunk a sequence begins: bool [rows]."""
        if self.options.id is None:
            begins = np.arange(self.rows, self.rows + chunk.height) == 0
            self.starts = [0]
            return begins
        ids = chunk[self.options.id].cast(pl.String)
        last = next(reversed(self.ids), None)
        begins = (ids != ids.shift(1, fill_value=last)).fill_null(True).to_numpy()
        for row in np.flatnonzero(begins).tolist():
            if ids[row] in self.ids:
                found = f"{ids[row]!r} again after {next(reversed(self.ids))!r}"
                raise self._error(row, self.options.id, "the rows of each sequence together", found)
            self.ids[ids[row]] = None
            self.starts.append(self.rows + row)
        return begins

    def _check_time(self, series: pl.Series, begins: np.ndarray) -> None:
        times = self._times(series)
        before = np.concatenate([times[:1] if self.time is None else [self.time], times[:-1]])
        wrong = ~begins & ~(times > before)
        if wrong.any():
            row = int(np.argmax(wrong))
            last = series[row - 1] if row else "the one in the row before"
            raise self._error(row, series.name, f"a time after {last}", str(series[row]))
        self.time = times[-1]

    def _times(self, series: pl.Series) -> np.ndarray:
        """Numbers in the order of the times."""
        if series.dtype != pl.String:
            if not (series.dtype.is_numeric() or series.dtype.is_temporal()):
                raise DataError(f"{self.table.source}: {series.name}", "numbers or dates", str(series.dtype))
            return series.to_physical().to_numpy()
        readings = []
        for read in (_whole_numbers, _real_numbers, _dates):
            readings.append(read(series))
            if not readings[-1].null_count():
                return readings[-1].to_numpy()
        row = min(readings, key=pl.Series.null_count).is_null().arg_max() or 0
        raise self._error(row, series.name, "a number, or a date such as 2024-12-31", repr(series[row]))

    def _looks_symbolic(self, chunk: pl.DataFrame) -> bool:
        """Whether there are labels to predict from a single feature, the first cell of which is no number."""
        if self.options.task == "forecast" or not self.targets or len(self.features) != 1:
            return False
        first = chunk[self.features[0]][:1]
        return not (first.dtype.is_numeric() or _holds(first, pl.Float64))

    def _numbers(self, series: pl.Series, first_row: int) -> pl.Series:
        """Float64, from cells that begin at `first_row` of the table."""
        if series.dtype == pl.Float64 and series.is_finite().all():
            return series
        if not (series.dtype.is_numeric() or series.dtype in (pl.String, pl.Boolean)):
            raise DataError(f"{self.table.source}: {series.name}", "numbers", str(series.dtype))
        numbers = series.cast(pl.Float64, strict=False)
        wrong = ~numbers.is_finite().fill_null(False)
        if wrong.any():
            row = wrong.arg_max() or 0
            raise DataError(f"{self.table.place(first_row + row)}: {series.name}", "a finite number", repr(series[row]))
        return numbers

    def _pieces(self, series: pl.Series) -> list[list[str]]:
        """The cells of each sequence, as strings."""
        strings = series.cast(pl.String).to_list()
        return [strings[begin:end] for begin, end in zip(self.starts, [*self.starts[1:], self.rows])]

    def _single(self, labels: list[str], begin: int, name: str) -> str:
        for row, label in enumerate(labels, begin):
            if label != labels[0]:
                expected = f"{labels[0]!r}, as in the sequence's first row"
                raise DataError(f"{self.table.place(row)}: {name}", expected, repr(label))
        return labels[0]

    def _error(self, row: int | None, name: str, expected: str, found: str) -> DataError:
        """About a row of the chunk that is being read."""
        return DataError(f"{self.table.place(self.rows + (row or 0))}: {name}", expected, found)


def _choose(table: Table, options: Options) -> tuple[list[str], list[str]]:
    """The columns of features and of targets."""
    targets = list(options.target or ()) if options.labelled or options.task == "forecast" else []
    named = [options.id, options.time, *(options.features or ()), *targets]
    for name in named:
        if name is not None and name not in table.columns:
            raise DataError(f"{table.source}: header", f"the column {name!r}", ", ".join(table.columns))
    if options.task in ("tag", "classify") and options.labelled and len(targets) != 1:
        raise DataError(table.source, f"one target column for the task {options.task}", str(len(targets)))
    if options.task == "classify" and not options.id:
        raise DataError(table.source, "an id column for the task classify", "none")
    if options.features:
        return list(options.features), targets
    others = [name for name in table.columns if name not in (options.id, options.time, *(options.target or ()))]
    return others, targets


def _whole_numbers(strings: pl.Series) -> pl.Series:
    return strings.cast(pl.Int64, strict=False)


def _real_numbers(strings: pl.Series) -> pl.Series:
    return strings.cast(pl.Float64, strict=False)


def _dates(strings: pl.Series) -> pl.Series:
    """Microseconds."""
    try:
        return strings.str.to_datetime(strict=False, time_unit="us").to_physical()
    except pl.exceptions.PolarsError:  # no form of date that polars can tell from the first
        return pl.Series([None] * len(strings), dtype=pl.Int64)


def _guess(table: Table, targets: list[pl.Series], cuts: list[int]) -> str:
    """The task, from what the target column holds."""
    if len(targets) != 1:
        return "forecast"
    target = targets[0]
    if _holds(target, pl.Int64):
        expected = "a stated task, as whole numbers may be labels or a series"
        raise DataError(f"{table.source}: {target.name}", expected, "none")
    if _holds(target, pl.Float64):
        return "forecast"
    changes = np.flatnonzero((target != target.shift(1)).fill_null(False).to_numpy())
    return "classify" if cuts and set(changes.tolist()) <= set(cuts) else "tag"


def _holds(series: pl.Series, dtype: type[pl.DataType]) -> bool:
    """Whether every cell is a number that `dtype` can hold."""
    if series.dtype == pl.String:
        return series.cast(dtype, strict=False).null_count() == 0
    return series.dtype.is_integer() or (series.dtype.is_float() and dtype == pl.Float64)
