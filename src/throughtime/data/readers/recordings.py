"""A folder of tables, one a recording: of classes, with a label in each row, or to be forecast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.csv_files import open_csv
from throughtime.data.readers.options import Options
from throughtime.data.readers.parquet import open_parquet
from throughtime.data.readers.row_reading import read_table
from throughtime.data.readers.source import Source
from throughtime.data.readers.tables import Table, labels, texts
from throughtime.data.records import Records

CHOSEN = ("rows", "header", "id", "time", "features", "target")
"""What the first recording tells about the others."""
LABELS = re.compile(r"(label|target|class|annotation|meta|truth|subjects)", re.IGNORECASE)


def read_recordings(source: Source, files: Sequence[Path], classes: Sequence[str] | None, options: Options) -> Records:
    """A sequence in each file: the columns are those that `readers.columns` finds in the first.

    Args: classes: of each file; None: they are in a table of labels among `files`, or there are none.

    Raises: DataError: a table that is malformed or has other columns than the first, or labels that name no recording.
    """
    if classes is None and (beside := [file for file in files if LABELS.search(file.stem)]):
        files, classes = _labelled(_open(beside[0], options), [file for file in files if file not in beside])
    if not files:
        raise DataError(source.name, "at least one recording", "none")
    known = sorted(zip(files, classes or [""] * len(files)), key=lambda pair: _order(pair[0]))
    classify = classes is not None and options.task in (None, "classify")
    own = replace(options, task="forecast" if classify else options.task)
    parts: list[Records] = []
    for file, _ in known:
        table = _open(file, options)
        if not table.named:
            own = replace(own, rows="steps", header=False)
        part = read_table(table, own)
        if parts and part.features != parts[0].features:
            found = ", ".join(part.features or ())
            raise DataError(file, f"the columns {', '.join(parts[0].features or ())}, as in {parts[0].source}", found)
        if classify and len(part) > 1:
            raise DataError(file, "one sequence", str(len(part)))
        own = replace(own, task=part.task, **{key: value for key, value in part.reading.items() if key in CHOSEN})
        parts.append(part)
    first = parts[0]
    targets = [y for part in parts for y in part.targets or ()]
    told = f"a folder of {len(known)} recordings: {first.told}"
    if classify:
        targets, told = (
            [name for _, name in known],
            f"a folder of {len(known)} recordings with a class each: {first.told}",
        )
    single = all(len(part) == 1 for part in parts)
    return Records(
        source.name,
        "classify" if classify else first.task,
        [x for part in parts for x in part.inputs],
        targets if options.labelled else None,
        [file.stem for file, _ in known] if single else [name for part in parts for name in part.names],
        [str(file) for file, _ in known] if single else [place for part in parts for place in part.places],
        first.features,
        None if classify else first.outputs,
        field="class" if classify else first.field,
        fill=first.fill,
        told=told,
        reading={
            key: value for key, value in first.reading.items() if key in CHOSEN and not (classify and key == "target")
        },
    )


def _open(file: Path, options: Options) -> Table:
    opened = Source.open(file, options.encoding)
    if file.suffix == ".parquet":
        return open_parquet(opened)
    return open_csv(opened, options)


def _labelled(table: Table, files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The recordings that a table of labels names, in a column of their names or numbers, and their classes."""
    frame = pl.concat([*table.rows(table.columns)])
    by_name = {file.stem: file for file in files} | {file.name: file for file in files}
    by_number = {str(number): file for file in files if (number := _number(file)) is not None}
    for known in (by_name, by_number):
        for name in table.columns:
            keys = labels(frame[name]).to_list()
            others = [other for other in table.columns if other != name]
            if keys and others and all(key in known for key in keys) and len(set(keys)) == len(keys):
                classes = texts(labels(frame[others[-1]])).fill_null("").to_list()
                return [known[key] for key in keys], classes
    raise DataError(table.source, "a column with the names or the numbers of the recordings", ", ".join(table.columns))


def _number(file: Path) -> int | None:
    found = re.search(r"(\d+)$", file.stem)
    return int(found[1]) if found else None


def _order(file: Path) -> tuple[str, int, str]:
    """Recordings by folder, number and name."""
    number = _number(file)
    return str(file.parent), np.iinfo(np.int64).max if number is None else number, file.name
