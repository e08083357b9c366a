"""What the columns of a table are likely to be, from their names and the first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.columns import IDS, LABELS, TEXTS, TIMES, WORDS, Column, describe
from throughtime.data.readers.options import Options
from throughtime.data.readers.tables import Cells, Table, labels, texts
from throughtime.data.readers.times import PARTS, Clock
from throughtime.data.readers.words import FEW_WORDS

SERIES = 8  # numbered columns that make a series of each row
LONG = 15  # characters of a string that is rather a sequence than a name
RUN = 5  # rows that a label stays, on average, in a recording


def guess(table: Table, options: Options, declared: Sequence[str] = ()) -> tuple[Options, str, bool]:
    """The options with everything that was left open chosen; what was taken for what, in words; and whether the targets are
    surely labels, even where they are numbers.

    Args: declared: columns that are known to hold labels.

    Raises: DataError: there is no telling; says what to add.
    """
    return _Guess(table, options, declared).made()


class _Guess:
    """`columns`: by name, in order; `sample`: the first rows."""

    def __init__(self, table: Table, options: Options, declared: Sequence[str]) -> None:
        self.table, self.options, self.declared = table, options, declared
        self.sample = table.sample()
        self.cells = Cells.of(table, options.missing)
        self.columns = {series.name: describe(series, self.cells, declared) for series in self.sample}

    def made(self) -> tuple[Options, str, bool]:
        options = self.options
        if not self.sample.height:
            raise DataError(self.table.source, "at least one row", "none")
        if any(column.kind == "lists" for column in self.columns.values()):
            return self._lists()
        if not self.table.named and options.features is None and not self._texts():
            self._ask_about_numbers()
        time, id = options.time or self._time(), options.id
        if id is None:
            id = self._id(time)
        if id is None and options.time is None and options.rows is None:
            if text := self._text():
                return self._text_rows(text)
            if time is None and (series := self._numbered()):
                return self._wide(series)
        return self._steps(id, time)

    # ---- the parts

    def _time(self) -> tuple[str, ...] | None:
        """The columns that tell the time, by their names and what is in them."""
        left = [column for column in self.columns.values() if not self._taken(column.name)]
        parts = [column.name for column in left if column.plain in PARTS and column.kind == "numbers"]
        if "year" in [self.columns[name].plain for name in parts] and len(parts) > 1:
            return tuple(parts)
        times = [column for column in left if column.kind == "times"]
        day, hour = (next((c.name for c in times if c.plain == name), None) for name in ("date", "time"))
        if day and hour:
            return (day, hour)
        if times:
            return (times[0].name,)
        named = [column for column in left if column.kind == "numbers" and column.plain in TIMES]
        ordered = sorted(named, key=lambda column: column.plain in ("index",))
        return (ordered[0].name,) if ordered and ordered[0].distinct > 1 else None

    def _id(self, time: tuple[str, ...] | None) -> str | None:
        """The column that tells the sequences apart."""
        left = [c for c in self.columns.values() if not self._taken(c.name) and c.name not in (time or ())]
        named = [c for c in left if c.plain in IDS]
        for column in named:
            known = texts(self.sample[column.name])
            if known.drop_nulls().n_unique() < len(known) and known[0] is not None:
                return column.name
        if time is None or self.sample.height < 2:
            return None
        clock = Clock().read(self.sample.select(time))
        if np.isnan(clock.astype(float)).any() or len(np.unique(clock)) == len(clock):
            return None
        for column in left:  # times that occur several times: whose are they?
            whole = column.kind == "words" or (column.kind == "numbers" and column.categorical)
            pairs = pl.DataFrame({"id": texts(self.sample[column.name]), "t": clock})
            if whole and column.distinct > 1 and pairs.n_unique() == len(pairs) and column.plain not in LABELS:
                return column.name
        return None

    def _label(self, among: Sequence[Column]) -> Column | None:
        """The column of labels that its name tells, or the last that is declared to be one."""
        found = [c for c in among if c.plain in LABELS and (c.categorical or c.kind == "words")]
        found = [column for column in found if column.plain != "y" or column.kind != "numbers"] or found
        last = next((column for column in reversed(among) if column.name in self.declared), None)
        return min(found, key=lambda column: LABELS.index(column.plain), default=last)

    def _taken(self, name: str) -> bool:
        options = self.options
        return name in (
            options.id,
            options.group,
            *(options.time or ()),
            *(options.target or ()),
            *(options.features or ()),
        )

    # ---- rows that are steps

    def _steps(self, id: str | None, time: tuple[str, ...] | None) -> tuple[Options, str, bool]:
        options = replace(self.options, rows="steps", id=id, time=time)
        parts = (id, options.group, *(time or ()))
        left = [column for column in self.columns.values() if column.name not in parts]
        sure, left_out = options.task in ("tag", "classify"), []
        if options.target is None and options.task != "forecast":
            label = self._label([c for c in left if c.name not in (options.features or ())])
            label = label or self._only_label(left, id, time)
            if label is not None and label.kind == "numbers" and options.features is None and len(left) == 1:
                label = None  # there would be nothing to predict it from
            if label is not None:
                options, sure = replace(options, target=(label.name,)), True
        target = options.target or ()
        if options.features is None:
            rest = [column for column in left if column.name not in target]
            words = [c for c in rest if c.kind == "words"]
            numbers = [c for c in rest if c.kind == "numbers" and not self._counts(c)]
            if (target or options.symbolic) and words and (not numbers or any(c.plain in WORDS for c in words)):
                chosen = [next((c for c in words if c.plain in WORDS), words[0])]
            else:
                chosen = numbers
            left_out = [c.name for c in rest if c not in chosen]
            if chosen and left_out:
                options = replace(options, features=tuple(c.name for c in (*chosen, *self._series(target, options))))
        if id is None and time is None and sure and self.options.target is None and self.options.features is None:
            self._check_recording(options, [c for c in left if c.name not in target])
        return options, self._told(options, left_out), sure

    def _series(self, target: tuple[str, ...], options: Options) -> list[Column]:
        """The targets that are inputs too: those of a forecast."""
        numeric = all(self.columns[name].kind == "numbers" for name in target if name in self.columns)
        forecast = options.task == "forecast" or (options.task is None and numeric and target == self.options.target)
        return [self.columns[name] for name in target if name in self.columns] if forecast else []

    def _only_label(self, left: Sequence[Column], id: str | None, time: tuple[str, ...] | None) -> Column | None:
        """The one column of words that may be labels: beside words, or beside numbers without dates or with an id for which it
        never changes."""
        words = [column for column in left if column.kind == "words" and column.categorical]
        if len(words) != 1 or len(left) < 2:
            return None
        if id is not None:
            pairs = pl.DataFrame({"id": texts(self.sample[id]), "label": texts(self.sample[words[0].name])})
            return words[0] if pairs.n_unique() == pairs["id"].n_unique() else None
        known = [self.columns[name] for name in time or () if name in self.columns]
        dated = any(column.kind == "times" or column.plain in PARTS for column in known)
        return None if dated else words[0]

    def _counts(self, column: Column) -> bool:
        """Whether a column counts the rows."""
        numbers, _ = self.cells.numbers(self.sample[column.name])
        steps = numbers.diff().drop_nulls()
        return (
            column.plain in ("", "no", "index", "row", "number", "id") and bool((steps == 1).all()) and len(steps) > 1
        )

    def _check_recording(self, options: Options, inputs: Sequence[Column]) -> None:
        """Rows without an id and a time, with labels that do not stay, may be anything."""
        target = (options.target or ("",))[0]
        if any(column.kind == "words" for column in inputs):
            return
        found = labels(self.sample[target])
        runs = int((found != found.shift(1)).fill_null(True).sum())
        if runs > found.n_unique() and self.sample.height >= RUN * runs:
            return
        expected = (
            "rows that are steps of a recording, or sequences of their own: add --rows steps, or --rows sequences"
        )
        raise DataError(self.table.source, expected, f"columns without an id and a time, and labels in {target!r}")

    # ---- rows that are sequences

    def _texts(self) -> list[Column]:
        """The columns that may have texts: words that hardly repeat themselves."""
        rows = self.sample.height
        return [
            column
            for column in self.columns.values()
            if column.kind == "words"
            and (
                (not column.categorical and column.distinct > rows / 2)
                or column.words >= FEW_WORDS
                or column.length >= LONG
            )
            and column.length >= 3
            and column.plain not in IDS
            and not self._taken_but_feature(column.name)
            and not str(self.sample[column.name].drop_nulls()[0]).startswith("http")
        ]

    def _taken_but_feature(self, name: str) -> bool:
        return self._taken(name) and name not in (self.options.features or ())

    def _text(self) -> Column | None:
        if self.options.features is not None and len(self.options.features) != 1:
            return None
        found = self._texts()
        if self.options.features:
            found = [column for column in found if column.name == self.options.features[0]]
        named = [column for column in found if column.plain in TEXTS]
        text = (
            min(named, key=lambda c: TEXTS.index(c.plain))
            if named
            else max(found, key=lambda c: c.length, default=None)
        )
        target = self.options.target
        if text is None or target is None or len(target) != 1:
            return text
        if not named and text.plain in WORDS:
            return None
        return text

    def _text_rows(self, text: Column) -> tuple[Options, str, bool]:
        names = self.options.id or self._row_names(text.name)
        options = replace(self.options, rows="sequences", features=(text.name,), id=names)
        others = [c for c in self.columns.values() if c.name not in (text.name, options.id, options.group)]
        if options.target is None and options.task != "lm":
            beside = [c.name for c in others if c.kind == "words" and self._same_lengths(text.name, c.name)]
            label = self._label(others)
            if len(beside) > 1:
                expected = f"one column to predict: add --target {beside[-1]}, or another"
                raise DataError(self.table.source, expected, f"strings as long as {text.name!r} in {', '.join(beside)}")
            if beside:
                options = replace(options, target=(beside[0],))
            elif label is not None:
                options = replace(options, target=(label.name,))
            else:
                may = [c for c in others if c.categorical]
                if len(may) > 1:
                    expected = f"one column of labels: add --target {may[0].name}, or another"
                    raise DataError(self.table.source, expected, ", ".join(c.name for c in may))
                options = replace(options, target=(may[0].name,)) if may else replace(options, task="lm")
        return options, self._told(options, []), True

    def _row_names(self, text: str) -> str | None:
        """The column that names each row."""
        rows = self.sample.height
        named = [
            c for c in self.columns.values() if c.plain in (*IDS, "name") and c.distinct == rows and c.name != text
        ]
        return next((c.name for c in named if not self._taken(c.name)), None)

    def _same_lengths(self, one: str, other: str) -> bool:
        lengths = [texts(self.sample[name]).str.len_chars() for name in (one, other)]
        return bool((lengths[0] == lengths[1]).fill_null(False).all()) and int(lengths[0].max() or 0) > 1  # type: ignore[arg-type]

    def _numbered(self) -> list[str]:
        """The columns of numbers that are numbered themselves, in order: the steps of a series in each row."""
        if self.options.features is not None:
            return []
        found: dict[str, list[tuple[int, str]]] = {}
        for column in self.columns.values():
            match = re.fullmatch(r"(.*?)(\d+)", column.name)
            if match and column.kind == "numbers" and not self._taken(column.name):
                found.setdefault(match[1], []).append((int(match[2]), column.name))
        numbered = max(found.values(), key=len, default=[])
        numbers = [number for number, _ in numbered]
        consecutive = numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else False
        others = sum(c.kind == "numbers" for c in self.columns.values()) - len(numbered)
        if not consecutive or len(numbered) < max(SERIES, 4 * others):
            return []
        if not self.table.named and self.options.target is None:
            return []
        return [name for _, name in numbered]

    def _wide(self, series: list[str]) -> tuple[Options, str, bool]:
        options = replace(self.options, rows="sequences", features=tuple(series))
        if options.target is None and options.task != "forecast":
            others = [c for c in self.columns.values() if c.name not in series and not self._taken(c.name)]
            may = [c for c in others if c.categorical]
            label = self._label(others) or (may[0] if len(may) == 1 else None)
            if label is None and may:
                expected = f"one column of labels: add --target {may[0].name}, or another"
                raise DataError(self.table.source, expected, ", ".join(c.name for c in may))
            options = replace(options, target=(label.name,)) if label else replace(options, task="forecast")
        return options, self._told(options, []), True

    def _lists(self) -> tuple[Options, str, bool]:
        options = replace(self.options, rows="sequences")
        lists = [column for column in self.columns.values() if column.kind == "lists"]
        if options.features is None:
            open_ = [c for c in lists if c.name not in (options.target or ())]
            named = [column for column in open_ if column.plain in WORDS] or [c for c in open_ if c.plain not in LABELS]
            if len(named) != 1 and not all(self.sample[c.name].dtype.inner.is_numeric() for c in named):  # type: ignore[attr-defined]
                named = named[:1]
            options = replace(options, features=tuple(column.name for column in named))
        if options.target is None and options.task not in ("lm", "forecast"):
            others = [
                c for c in self.columns.values() if c.name not in (*(options.features or ()), options.id, options.group)
            ]
            beside = [c for c in others if c.kind == "lists" and self._alike((options.features or ("",))[0], c.name)]
            found = [c for c in beside if c.plain in LABELS] or beside
            label = min(found, key=lambda c: LABELS.index(c.plain) if c.plain in LABELS else 99, default=None)
            label = label or self._label(others)
            may = [c for c in others if c.categorical]
            label = label or (may[0] if len(may) == 1 else None)
            options = replace(options, target=(label.name,)) if label is not None else options
        return options, self._told(options, []), True

    def _alike(self, one: str, other: str) -> bool:
        """Whether the lists of two columns have the same lengths."""
        return (
            bool((self.sample[one].list.len() == self.sample[other].list.len()).all()) if one in self.columns else False
        )

    # ---- words

    def _told(self, options: Options, left_out: list[str]) -> str:
        rows = "a step" if options.rows == "steps" else "a sequence"
        parts = [f"{rows} in each row"]
        if options.id:
            parts.append(f"{'sequences' if options.rows == 'steps' else 'named'} by {options.id}")
        if options.time:
            parts.append(f"time in {', '.join(options.time)}")
        if options.target:
            parts.append(f"{'target' if options.task == 'forecast' else 'label'} in {', '.join(options.target)}")
        if options.features and len(options.features) <= 3:
            parts.append(f"inputs {', '.join(options.features)}")
        if left_out:
            parts.append(f"left out: {', '.join(left_out[:8])}")
        return ", ".join(parts)

    def _ask_about_numbers(self) -> None:
        """A table without names: what its numbers are cannot be told."""
        if self.options.header is False and self.options.rows is not None:
            return
        columns = list(self.columns.values())
        ends = [column for column in (columns[-1], columns[0]) if column.categorical]
        label = f" --target {ends[0].name}" if ends and len(columns) > 2 else ""
        known = f" (column {ends[0].name} may have the labels)" if label else ""
        if self.options.target or self.options.id or self.options.task == "forecast":
            label = ""
        expected = (
            f"names of columns: add --no-header and --rows steps, or --rows sequences{label} for a sequence in each row"
        )
        raise DataError(f"{self.table.source}:1", expected, f"values in {len(columns)} columns{known}")
