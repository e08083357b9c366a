"""Tables in long form: a step in each row, the rows of a sequence together and in the order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.tables import Table
from throughtime.data.records import Records


@dataclass
class Progress:
    """What the rows read so far leave to be known: a sequence goes on where a chunk ends.

    Attributes:
        rows: how many they are.
        starts, names: the first row and the id of each sequence.
        seen: the ids.
        time: of the last row.
    """

    rows: int = 0
    starts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    time: Any = None


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
    features, targets = _choose(table, options)
    ids = [options.id] if options.id else []
    times = [options.time] if options.time else []
    progress = Progress()
    columns: dict[str, list[pl.Series]] = {name: [] for name in (*features, *targets)}
    for chunk in table.rows(list(dict.fromkeys([*ids, *times, *features, *targets]))):
        if not chunk.height:
            continue
        _check_filled(table, progress, chunk)
        begins = _find_sequences(table, progress, chunk, options.id)
        if options.time:
            _check_time(table, progress, chunk, options.time, begins)
        for name, chunks in columns.items():
            chunks.append(chunk[name])
        progress.rows += chunk.height
    if not progress.rows:
        raise DataError(table.source, "at least one row", "none")
    return _assemble(table, progress, columns, features, targets, options)


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


def _check_filled(table: Table, progress: Progress, chunk: pl.DataFrame) -> None:
    for series in chunk:
        empty = series.is_null() | (series == "") if series.dtype == pl.String else series.is_null()
        if empty.any():
            place = table.place(progress.rows + int(empty.arg_max() or 0))
            raise DataError(f"{place}: {series.name}", "a value", "an empty cell")


def _find_sequences(table: Table, progress: Progress, chunk: pl.DataFrame, id: str | None) -> np.ndarray:
    """Where in the chunk a sequence begins: bool [rows]."""
    begins = np.zeros(chunk.height, bool)
    if id is None:
        begins[0] = not progress.starts
        names = [""] * chunk.height
    else:
        names = chunk[id].cast(pl.String)
        begins = (names != names.shift(1)).fill_null(True).to_numpy().copy()
        begins[0] = not progress.names or names[0] != progress.names[-1]
    for row in np.flatnonzero(begins).tolist():
        name = names[row]
        if name in progress.seen:
            place = f"{table.place(progress.rows + row)}: {id}"
            raise DataError(place, "the rows of each sequence together", f"{name!r} again after {progress.names[-1]!r}")
        progress.seen.add(name)
        progress.names.append(name)
        progress.starts.append(progress.rows + row)
    return begins


def _check_time(table: Table, progress: Progress, chunk: pl.DataFrame, name: str, begins: np.ndarray) -> None:
    times = _times(table, progress, chunk[name])
    before = np.concatenate([times[:1] if progress.time is None else [progress.time], times[:-1]])
    wrong = ~begins & ~(times > before)
    if wrong.any():
        row = int(np.argmax(wrong))
        last = chunk[name][row - 1] if row else "the one before it"
        raise DataError(f"{table.place(progress.rows + row)}: {name}", f"a time after {last}", str(chunk[name][row]))
    progress.time = times[-1]


def _times(table: Table, progress: Progress, series: pl.Series) -> np.ndarray:
    """Numbers in the order of the times."""
    if series.dtype == pl.String:
        dates = None
        for dtype in (pl.Int64, pl.Float64):
            numbers = series.cast(dtype, strict=False)
            if numbers.null_count() == 0:
                return numbers.to_numpy()
        try:
            dates = series.str.to_datetime(strict=False, time_unit="us")
        except pl.exceptions.PolarsError:
            dates = pl.Series([None] * len(series))
        wrong = (dates if dates.null_count() < numbers.null_count() else numbers).is_null()
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            place = f"{table.place(progress.rows + row)}: {series.name}"
            raise DataError(place, "a number, or a date such as 2024-12-31", repr(series[row]))
        return dates.to_physical().to_numpy()
    if not (series.dtype.is_numeric() or series.dtype.is_temporal()):
        raise DataError(f"{table.source}: {series.name}", "numbers or dates", str(series.dtype))
    return series.to_physical().to_numpy()


def _assemble(
    table: Table,
    progress: Progress,
    columns: dict[str, list[pl.Series]],
    features: list[str],
    targets: list[str],
    options: Options,
) -> Records:
    whole = {name: pl.concat(chunks) for name, chunks in columns.items()}
    cuts = progress.starts[1:]
    task = options.task or _guess(table, [whole[name] for name in targets], cuts)
    if task == "forecast" and not options.features:
        features = [name for name in table.columns if name in {*features, *targets}]
    if task == "forecast" and not targets:
        targets = features
    if not features:
        raise DataError(table.source, "at least one feature column", "none")
    symbols = None
    if task != "forecast" and _symbolic(whole, features, options):
        symbols = whole[features[0]].cast(pl.String).to_list()
        inputs: list[Any] = [symbols[begin:end] for begin, end in zip([0, *cuts], [*cuts, progress.rows])]
    else:
        inputs = np.split(np.stack([_numbers(table, whole[name]) for name in features], axis=1), cuts)
    names = [name or table.source for name in progress.names]
    places = [f"{table.source}: {options.id} {name}" if name else table.source for name in progress.names]
    found: list[Any] | None = None
    if options.labelled and task == "forecast":
        found = np.split(np.stack([_numbers(table, whole[name]) for name in targets], axis=1), cuts)
    elif options.labelled:
        found = _labels(table, whole[targets[0]], progress, one=task == "classify")
    return Records(
        source=table.source,
        task=task,
        inputs=inputs,
        targets=found,
        names=names,
        places=places,
        features=None if symbols is not None else tuple(features),
        outputs=tuple(targets) if task == "forecast" else None,
        field=", ".join(targets),
    )


def _symbolic(whole: dict[str, pl.Series], features: list[str], options: Options) -> bool:
    """Whether the inputs are symbols: where nobody said so, whether the first cell of a single feature is no number."""
    if options.symbolic is not None:
        return options.symbolic
    return len(features) == 1 and not (
        whole[features[0]].dtype.is_numeric() or _holds(whole[features[0]][:1], pl.Float64)
    )


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


def _labels(table: Table, series: pl.Series, progress: Progress, one: bool) -> list[Any]:
    labels = series.cast(pl.String).to_list()
    ends = [*progress.starts[1:], progress.rows]
    if not one:
        return [labels[begin:end] for begin, end in zip(progress.starts, ends)]
    for begin, end in zip(progress.starts, ends):
        for row in range(begin, end):
            if labels[row] != labels[begin]:
                place = f"{table.place(row)}: {series.name}"
                raise DataError(place, f"{labels[begin]!r}, as in the sequence's first row", repr(labels[row]))
    return [labels[begin] for begin in progress.starts]


def _numbers(table: Table, series: pl.Series) -> np.ndarray:
    """float64 [rows].

    Raises:
        DataError: a cell that is no finite number; names its line.
    """
    if not (series.dtype.is_numeric() or series.dtype in (pl.String, pl.Boolean)):
        raise DataError(f"{table.source}: {series.name}", "numbers", str(series.dtype))
    numbers = series.cast(pl.Float64, strict=False)
    wrong = ~numbers.is_finite().fill_null(False)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(f"{table.place(row)}: {series.name}", "a finite number", repr(series[row]))
    return numbers.to_numpy()
