"""Tables with a sequence in each row: a text, a series in as many columns as it has steps, or lists in cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.tables import Cells, Table, labels, texts
from throughtime.data.readers.words import choose_units, symbols
from throughtime.data.records import Records


def read_sequence_rows(table: Table, options: Options) -> Records:
    """The inputs are the columns `features`, all but those with another part where none are named:

    - one of texts, as `units`: characters or words;
    - several of numbers: the steps of a series, in their order; what is missing at its end shortens it;
    - of lists: numbers (a feature for each such column), or strings (symbols).

    tag: `target` is a string as long as the text, or a list as long as the others. classify: it is a label. lm, forecast: there
    is none. Rows without a text, or without a label, are left out, and counted.

    Raises:
        DataError: columns of no such kind, or of different lengths, something else than a number among numbers; tells line and
            column.
    """
    return _Rows(table, options).records()


class _Rows:
    """`frame`: the whole table, of the columns that are read."""

    def __init__(self, table: Table, options: Options) -> None:
        self.table, self.options = table, options
        self.cell = Cells.of(table, options.missing)
        target = list(options.target or ()) if options.labelled else []
        if len(target) > 1:
            raise DataError(f"{table.source}: target", "one column, where a row is a sequence", ", ".join(target))
        self.target = target[0] if target else None
        others = (options.id, options.group, *(options.target or ()))
        self.features = list(options.features or (name for name in table.columns if name not in others))
        if not self.features:
            raise DataError(table.source, "at least one column to predict from", "none")
        names = [*self.features, *target, *(name for name in (options.id, options.group) if name is not None)]
        self.frame = pl.concat([*table.rows(list(dict.fromkeys(names)))]) if names else pl.DataFrame()
        if not self.frame.height:
            raise DataError(table.source, "at least one row", "none")
        self.rows = np.arange(self.frame.height)
        self.notes: list[str] = []
        self.units: str | None = None

    def records(self) -> Records:
        first = self.frame[self.features[0]]
        if first.dtype.is_nested():
            inputs, features = self._lists()
        elif len(self.features) == 1 and not self.cell.holds_numbers(first):
            inputs, features = self._texts(first), None
        else:
            inputs, features = self._series(), ("value",)
        task = self._task(inputs, features is not None)
        targets = self._targets(task, inputs)
        return Records(
            self.table.source,
            task,
            inputs,
            targets,
            self._names(),
            [self._place(row) for row in range(len(inputs))],
            features,
            features if task == "forecast" else None,
            field=self.target or "label",
            fill=self.options.fill or "last",
            groups=None if self.options.group is None else self._column(self.options.group),
            rows=None if self.options.labelled else self.rows.tolist(),
            notes=tuple(self.notes),
            reading={"features": tuple(self.features)} | ({} if self.units is None else {"units": self.units}),
        )

    def _texts(self, series: pl.Series) -> list[Any]:
        strings = texts(series)
        self._keep(strings.is_not_null(), f"without {series.name}")
        found = strings.gather(self.rows).to_list()
        beside = self.target is not None and self.options.task in (None, "tag") and self._is_label_string(found)
        self.units = self.options.units or ("characters" if beside else choose_units(found))
        inputs = [symbols(text, self.units) for text in found]
        for row, value in enumerate(inputs):
            if not value:
                raise DataError(f"{self._place(row)}: {series.name}", "a word", repr(found[row][:40]))
        return inputs

    def _is_label_string(self, found: Sequence[str]) -> bool:
        """Whether the target is a string as long as the text, in the rows that are looked at first."""
        own = self._column(self.target or "")[:100]
        return (
            bool(own)
            and any(len(label or "") > 1 for label in own)
            and all(len(text) == len(label or "") for text, label in zip(found, own))
        )

    def _series(self) -> list[np.ndarray]:
        columns = []
        for name in self.features:
            numbers, wrong = self.cell.numbers(self.frame[name])
            if wrong.any():
                row = wrong.arg_max() or 0
                raise DataError(f"{self._place(row)}: {name}", "a finite number", repr(self.frame[name][row]))
            columns.append(numbers.to_numpy())
        matrix = np.stack(columns, axis=1)
        known = ~np.isnan(matrix)
        lengths = matrix.shape[1] - np.argmax(known[:, ::-1], axis=1)
        self._keep(pl.Series(np.any(known, axis=1)), "without a value")
        return [matrix[row, : lengths[row], None] for row in self.rows]

    def _lists(self) -> tuple[list[Any], tuple[str, ...] | None]:
        columns = [self.frame[name] for name in self.features]
        for series in columns:
            if not isinstance(series.dtype, (pl.List, pl.Array)):
                raise DataError(
                    f"{self.table.source}: {series.name}", "lists, as in the other columns", str(series.dtype)
                )
        if isinstance(columns[0].dtype, pl.List):
            self._keep(columns[0].list.len().fill_null(0) > 0, "without a step")
        cells = [[series[int(row)].to_list() for row in self.rows] for series in columns]
        for row, own in enumerate(zip(*cells)):
            if len({len(values) for values in own}) > 1:
                found = ", ".join(str(len(values)) for values in own)
                raise DataError(f"{self._place(row)}: {', '.join(self.features)}", "lists of one length", found)
        if any(isinstance(series.dtype.inner, pl.String) for series in columns):  # type: ignore[attr-defined]
            words = [[[str(value) for value in values] for values in column] for column in cells]
            return (words[0] if len(words) == 1 else list(zip(*words))), None
        inputs = []
        for row, own in enumerate(zip(*cells)):
            try:
                value = np.array(own, np.float64)
            except (TypeError, ValueError):
                raise DataError(
                    f"{self._place(row)}: {self.features[0]}", "a list of numbers or of strings", str(own[0])[:40]
                ) from None
            inputs.append(value.T if value.ndim == 2 else np.moveaxis(value, 0, -1).reshape(value.shape[1], -1))
        width = inputs[0].shape[1]
        for row, value in enumerate(inputs):
            if value.shape[1] != width:
                raise DataError(self._place(row), f"{width} numbers in each step", str(value.shape[1]))
        names = self.features if width == len(self.features) else [f"feature {i + 1}" for i in range(width)]
        return inputs, tuple(names)

    def _task(self, inputs: list[Any], numeric: bool) -> str:
        task = self.options.task
        nested = self.target is not None and self.frame[self.target].dtype.is_nested()
        if self.target is None and self.options.labelled:
            alone = "forecast" if numeric else "lm"
            if task not in (None, alone):
                raise DataError(f"{self.table.source}: target", f"a column of labels for the task {task}", "none")
            return alone
        if task is None:
            texts_beside = isinstance(inputs[0], str) and self._is_label_string(inputs)
            return "tag" if nested or texts_beside else "classify"
        return task

    def _targets(self, task: str, inputs: list[Any]) -> Sequence[Any] | None:
        if not self.options.labelled:
            return None
        if task in ("lm", "forecast"):
            return inputs
        assert self.target is not None
        if task == "classify":
            return self._column(self.target, labels(self.frame[self.target]))
        series = self.frame[self.target]
        own = (
            [list(value or "") for value in self._column(self.target)]
            if not series.dtype.is_nested()
            else [[None if label is None else str(label) for label in series[int(row)].to_list()] for row in self.rows]
        )
        for row, (value, labels_) in enumerate(zip(inputs, own)):
            steps = len(value[0]) if isinstance(value, tuple) else len(value)
            if len(labels_) != steps:
                raise DataError(
                    f"{self._place(row)}: {self.target}", f"{steps} labels, one for each step", str(len(labels_))
                )
        return own

    def _keep(self, there: pl.Series, lacking: str) -> None:
        """Leave out the rows where nothing is `there`, or no label; what is to be predicted must be there."""
        if not there.all() and not self.options.labelled:
            raise DataError(self._place((~there).arg_max() or 0), "a sequence", f"a row {lacking}")
        kept = [(there, lacking)]
        if self.target is not None and not self.frame[self.target].dtype.is_nested():
            kept.append((texts(self.frame[self.target]).is_not_null(), f"without {self.target}"))
        whole = pl.Series([True]).new_from_index(0, self.frame.height)
        for which, what in kept:
            lost = int((whole & ~which).sum())
            if lost:
                self.notes.append(f"{lost:,} {'row' if lost == 1 else 'rows'} {what} left out")
            whole = whole & which
        self.rows = np.flatnonzero(whole.to_numpy())
        if not len(self.rows):
            raise DataError(self.table.source, "a row with a sequence and a label", "none")

    def _column(self, name: str, series: pl.Series | None = None) -> list[Any]:
        return (texts(self.frame[name]) if series is None else series).gather(self.rows).to_list()

    def _names(self) -> list[str]:
        if self.options.id is not None:
            return [name or "" for name in self._column(self.options.id)]
        return [f"row {row + 1}" for row in self.rows.tolist()]

    def _place(self, row: int) -> str:
        return f"{self.table.source}: row {int(self.rows[row]) + 1}"
