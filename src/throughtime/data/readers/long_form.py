"""Tables in long form: a step in each row, the rows of a sequence together and in the order of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.tables import Cells, Table, labels, texts
from throughtime.data.readers.times import Clock, describe_gaps
from throughtime.data.records import Records


def read_long_form(table: Table, options: Options, sure: bool = False) -> Records:
    """Sequences of the rows that have the same value in the column `id` (without one, all rows are one sequence). An id may
    stand in the first row of its sequence alone.

    Where columns `time` are named, it must increase within a sequence. With `sort`, rows are put in the order of time, those
    of a sequence together, the sequences as they first occur. The inputs are the columns `features`, those that have no other
    part where none are named: numbers, NaN where one is missing, or columns of symbols.

    tag: `target` is a label for each row, or nothing. classify: it is the same for all rows of a sequence. forecast: the
    columns `target`, all features where there is none, are to be predicted one row ahead; unless features are named, they
    are inputs too. The task is guessed: forecast where there is no target or one of numbers with a decimal point; classify
    where a target in words never changes within a sequence, else tag. Whole numbers can be either, so that one is asked.

    Args: sure: whether the target is known to be labels, so that whole numbers are.

    Raises:
        DataError: an id that comes back, a time that does not increase, an empty cell among symbols, something else than a
            number among numbers, a target that changes within a sequence; tells line and column.
    """
    reader = _Reader(table, options, sure)
    for chunk in table.rows(reader.columns):
        if chunk.height:
            reader.read(chunk)
    if not reader.rows:
        raise DataError(table.source, "at least one row", "none")
    return reader.records()


class _Reader:
    """Takes a table chunk by chunk.

    Attributes:
        columns: the names of those that are read.
        rows: how many have been read.
        ids: the number of each sequence, by its id, in the order of their first rows.
        codes, times: those numbers, and the times, of the rows so far.
        numbers: of the columns `numeric`, float64 [rows, columns].
        cells: of the other columns, as they are.
        order: the rows as they are read; None: as they are.
    """

    def __init__(self, table: Table, options: Options, sure: bool) -> None:
        self.table, self.options, self.sure = table, options, sure
        self.features, self.targets = _choose(table, options)
        self.cell = Cells.of(table, options.missing)
        self.clock = Clock()
        parts = (options.id, options.group, *(options.time or ()), *self.features, *self.targets)
        self.columns = [name for name in dict.fromkeys(parts) if name is not None]
        self.rows = 0
        self.ids: dict[str, int] = {}
        self.codes: list[np.ndarray] = []
        self.times: list[np.ndarray] = []
        self.numbers: list[np.ndarray] = []
        self.numeric: list[str] = []
        self.cells: dict[str, list[pl.Series]] = {}
        self.symbolic = options.symbolic
        self.order: np.ndarray | None = None

    def read(self, chunk: pl.DataFrame) -> None:
        """Check and keep the next rows."""
        if not self.rows:
            self._begin(chunk)
        if self.options.id is not None:
            self.codes.append(self._codes(chunk[self.options.id]))
        if self.options.time:
            self.times.append(self._times(chunk.select(self.options.time)))
        self.numbers.append(self._matrix(chunk))
        for name, cells in self.cells.items():
            cells.append(chunk[name])
        self.rows += chunk.height

    def records(self) -> Records:
        """All that has been read."""
        starts, notes = self._put_in_order()
        matrix = np.concatenate(self.numbers)
        matrix = matrix if self.order is None else matrix[self.order]
        cells = {name: pl.concat(chunks) for name, chunks in self.cells.items()}
        if self.order is not None:
            cells = {name: series.gather(self.order) for name, series in cells.items()}
        self.cuts = starts[1:]
        features, targets = self.features, self.targets
        task = self.options.task or self._guess([cells[name] for name in targets])
        if task == "forecast" and not self.options.features:
            features = [name for name in self.table.columns if name in {*features, *targets}]
        if task == "forecast" and not targets:
            targets = features
        symbolic = bool(self.symbolic) and task != "forecast"
        if not features:
            raise DataError(self.table.source, "at least one feature column", "0")

        def numbers(names: list[str]) -> list[np.ndarray]:
            whole = [
                matrix[:, self.numeric.index(name)] if name in self.numeric else self._checked(cells[name])
                for name in names
            ]
            return np.split(np.stack(whole, axis=1), self.cuts)

        found: Any = None
        if self.options.labelled and task == "forecast":
            found = numbers(targets)
        elif self.options.labelled:
            found = self._pieces(labels(cells[targets[0]]))
            if task == "classify":
                found = [self._single(own, begin, targets[0]) for own, begin in zip(found, starts)]
        inputs: Any = None
        if symbolic:
            columns = [self._pieces(self._symbols(cells[name])) for name in features]
            inputs = columns[0] if len(columns) == 1 else list(zip(*columns))
        source, id = self.table.source, self.options.id
        groups = None
        if self.options.group is not None:
            own = self._pieces(texts(cells[self.options.group]))
            groups = [self._single(values, begin, self.options.group) or "" for values, begin in zip(own, starts)]
        return Records(
            source=source,
            task=task,
            inputs=inputs if symbolic else numbers(features),
            targets=found,
            names=list(self.ids) if id else [source],
            places=[f"{source}: {id} {name}" for name in self.ids] if id else [source],
            features=None if symbolic else tuple(features),
            outputs=tuple(targets) if task == "forecast" else None,
            field=", ".join(targets),
            fill=self.options.fill or "last",
            groups=groups,
            rows=None if self.options.labelled else self._own_rows(),
            notes=notes,
            reading={"features": tuple(features)} if self.options.features is None else {},
        )

    def _begin(self, chunk: pl.DataFrame) -> None:
        """Which columns hold numbers, by the first rows."""
        if self.symbolic is None:
            self.symbolic = self._looks_symbolic(chunk)
        if self.options.task == "forecast":
            self.numeric = list(dict.fromkeys((*self.features, *self.targets)))
        elif not self.symbolic:
            self.numeric = [name for name in self.features if name not in self.targets]
        others = (*self.features, *self.targets, *([self.options.group] if self.options.group else []))
        self.cells = {name: [] for name in others if name not in self.numeric}

    def _looks_symbolic(self, chunk: pl.DataFrame) -> bool:
        """Whether there are labels to predict from columns the first cells of which are no numbers."""
        if self.options.task == "forecast" or not self.targets or not self.features:
            return False
        first = [self.cell.known(chunk[name])[:1] for name in self.features]
        return not any(self.cell.holds_numbers(cells) or not len(cells) for cells in first)

    def _codes(self, series: pl.Series) -> np.ndarray:
        ids = texts(series)
        if ids.null_count():
            ids = self._filled(series.name, ids)
        for name in ids.unique(maintain_order=True).to_list():
            self.ids.setdefault(name, len(self.ids))
        known = pl.DataFrame({"id": list(self.ids), "code": np.arange(len(self.ids))})
        return ids.to_frame("id").join(known, on="id", how="left", maintain_order="left")["code"].to_numpy()

    def _filled(self, name: str, ids: pl.Series) -> pl.Series:
        """Ids that stand in the first row of their sequence alone, in all of them."""
        last = list(self.ids)[-1:] if self.ids else []
        filled = pl.concat([pl.Series(ids.name, last, pl.String), ids]).fill_null(strategy="forward")[len(last) :]
        known = ids.drop_nulls()
        if filled.null_count() or (known == known.shift(1)).any():
            raise self._error(ids.is_null().arg_max(), name, "a value", "an empty cell")
        return filled

    def _times(self, chunk: pl.DataFrame) -> np.ndarray:
        try:
            times = self.clock.read(chunk)
        except (pl.exceptions.PolarsError, TypeError):
            times = np.full(chunk.height, np.nan)
        if times.dtype.kind not in "if":
            raise DataError(
                f"{self.table.source}: {', '.join(chunk.columns)}", "numbers or dates", str(chunk.dtypes[0])
            )
        wrong = np.isnan(times) if times.dtype.kind == "f" else np.zeros(len(times), bool)
        if wrong.any():
            row = int(np.argmax(wrong))
            found = " ".join(str(cell) for cell in chunk.row(row))
            raise self._error(row, ", ".join(chunk.columns), "a number, or a date such as 2024-12-31", repr(found))
        return times

    def _matrix(self, chunk: pl.DataFrame) -> np.ndarray:
        """float64 [rows, columns] of the columns of numbers."""
        if not self.numeric:
            return np.empty((chunk.height, 0))
        plain = chunk.select(self.numeric)
        if all(dtype.is_numeric() or dtype == pl.String for dtype in plain.dtypes):
            matrix = plain.select(pl.all().cast(pl.Float64, strict=False)).to_numpy(order="fortran")
        else:
            matrix = np.full((chunk.height, plain.width), np.nan)
        doubtful = ~np.isfinite(matrix).all(axis=0) if not self.options.missing else np.ones(plain.width, bool)
        if doubtful.any():
            matrix = matrix.copy()
        for column in np.flatnonzero(doubtful).tolist():
            matrix[:, column] = self._checked(plain[:, column], self.rows)
        return matrix

    def _checked(self, series: pl.Series, first_row: int | None = None) -> np.ndarray:
        """Numbers, NaN where one is missing; `first_row`: where the cells begin in the table, None: in `order`."""
        if not (series.dtype.is_numeric() or series.dtype in (pl.String, pl.Boolean, pl.Null)):
            raise DataError(f"{self.table.source}: {series.name}", "numbers", str(series.dtype))
        numbers, wrong = self.cell.numbers(series)
        if wrong.any():
            row = wrong.arg_max() or 0
            place = self._place(row) if first_row is None else self.table.place(first_row + row)
            raise DataError(f"{place}: {series.name}", "a finite number", repr(series[row]))
        return numbers.to_numpy()

    def _put_in_order(self) -> tuple[list[int], tuple[str, ...]]:
        """The first row of each sequence, and what is to be told."""
        codes = np.concatenate(self.codes) if self.codes else np.zeros(self.rows, np.int64)
        times = np.concatenate(self.times) if self.times else None
        if self.options.sort:
            self.order = np.lexsort((codes,)) if times is None else np.lexsort((times, codes))
            codes, times = codes[self.order], None if times is None else times[self.order]
        begins = np.flatnonzero(np.diff(codes, prepend=-1))
        notes: tuple[str, ...] = ()
        if times is not None and len(begins) > max(1, len(self.ids)):
            together = np.argsort(codes, kind="stable")
            if (np.diff(times[together]) > 0)[np.diff(codes[together]) == 0].all():  # each in the order of time
                self.order, codes, times = together, codes[together], times[together]
                begins = np.flatnonzero(np.diff(codes, prepend=-1))
                notes = (f"the rows of each {self.options.id} are put together, in the order in which they stand",)
        if len(begins) > max(1, len(self.ids)):
            seen, names = np.maximum.accumulate(codes[begins]), list(self.ids)
            again = next(i for i in range(1, len(begins)) if codes[begins[i]] <= seen[i - 1])
            found = f"{names[codes[begins[again]]]!r} again after {names[codes[begins[again - 1]]]!r}"
            expected = "the rows of each sequence together"
            raise DataError(f"{self._place(int(begins[again]))}: {self.options.id}", expected, f"{found}; add --sort")
        if times is None:
            return begins.tolist(), ()
        same = np.diff(codes) == 0
        wrong = same & ~(np.diff(times) > 0)
        if wrong.any():
            row = int(np.argmax(wrong)) + 1
            raise self._out_of_order(row, bool(times[row] == times[row - 1]))
        gap = describe_gaps(times, same, self.clock.dates)
        return begins.tolist(), notes if gap is None else (*notes, gap)

    def _out_of_order(self, row: int, again: bool) -> DataError:
        time = list(self.options.time or ())
        cells = [
            [" ".join(str(cell).strip() for cell in own) for own in chunk.rows()] for chunk in self.table.rows(time)
        ]
        written = [cell for chunk in cells for cell in chunk]
        own, before = (int(row - back) if self.order is None else int(self.order[row - back]) for back in (0, 1))
        found = written[own] + ("; is an id missing?" if again else "; add --sort")
        return DataError(f"{self._place(row)}: {', '.join(time)}", f"a time after {written[before]}", found)

    def _guess(self, targets: list[pl.Series]) -> str:
        """The task, from what the target column holds."""
        if len(targets) != 1:
            return "forecast"
        target = targets[0]
        if not self.sure and self.cell.holds_numbers(target):
            if not self.cell.holds_numbers(target, whole=True):
                return "forecast"
            expected = "a stated task, as whole numbers may be labels or a series: add --task tag, classify or forecast"
            raise DataError(f"{self.table.source}: {target.name}", expected, "none")
        changes = np.flatnonzero((target != target.shift(1)).fill_null(False).to_numpy())
        return "classify" if len(self.cuts) and set(changes.tolist()) <= set(self.cuts) else "tag"

    def _symbols(self, series: pl.Series) -> pl.Series:
        symbols = texts(series)
        if symbols.null_count():
            raise DataError(
                f"{self._place(symbols.is_null().arg_max() or 0)}: {series.name}", "a value", "an empty cell"
            )
        return symbols

    def _pieces(self, strings: pl.Series) -> list[list[Any]]:
        """The cells of each sequence."""
        found = strings.to_list()
        return [found[begin:end] for begin, end in zip([0, *self.cuts], [*self.cuts, self.rows])]

    def _single(self, values: list[str | None], begin: int, name: str) -> str | None:
        for row, value in enumerate(values, begin):
            if value != values[0]:
                expected = f"{values[0]!r}, as in the sequence's first row"
                raise DataError(f"{self._place(row)}: {name}", expected, repr(value))
        return values[0]

    def _own_rows(self) -> list[np.ndarray]:
        """The rows of each sequence, as the table has them."""
        return np.split(np.arange(self.rows) if self.order is None else self.order, self.cuts)

    def _place(self, row: int) -> str:
        """Where a row is, counted as they are read."""
        return self.table.place(row if self.order is None else int(self.order[row]))

    def _error(self, row: int | None, name: str, expected: str, found: str) -> DataError:
        """About a row of the chunk that is being read."""
        return DataError(f"{self.table.place(self.rows + (row or 0))}: {name}", expected, found)


def _choose(table: Table, options: Options) -> tuple[list[str], list[str]]:
    """The columns of features and of targets."""
    targets = list(options.target or ()) if options.labelled or options.task == "forecast" else []
    if options.task in ("tag", "classify") and options.labelled and len(targets) != 1:
        raise DataError(table.source, f"one target column for the task {options.task}", str(len(targets)))
    if options.task == "classify" and not options.id:
        raise DataError(table.source, "an id column for the task classify", "none")
    if options.features:
        return list(options.features), targets
    parts = (options.id, options.group, *(options.time or ()), *(options.target or ()))
    return [name for name in table.columns if name not in parts], targets
