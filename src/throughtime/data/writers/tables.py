"""Tables and JSON: every row or object as it was, with further columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from throughtime.data.readers.arff import open_arff
from throughtime.data.readers.csv_files import with_further_cells
from throughtime.data.readers.json_lines import read_objects
from throughtime.data.readers.options import Options
from throughtime.data.readers.parquet import open_parquet
from throughtime.data.readers.source import Source
from throughtime.data.readers.tables import Table, free
from throughtime.data.readers.words import WORD, spans_of
from throughtime.data.writers.answers import PROBABILITY, Answers


def write_csv(source: Source, options: Options, answers: Answers) -> Iterator[str]:
    """The lines as they were, the further cells at their ends."""
    return with_further_cells(source, options, answers.columns, answers.by_row)


def write_tsv(source: Source, options: Options, answers: Answers) -> Iterator[str]:
    """As `write_csv`, where quotation marks are characters like others."""
    return with_further_cells(source, options, answers.columns, answers.by_row, "\t", quoted=False)


def write_parquet(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """As CSV; as JSON lines where cells hold lists."""
    return _write_frame(open_parquet(source), answers)


def write_arff(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """As CSV; as JSON lines where cells hold lists."""
    return _write_frame(open_arff(source)[0], answers)


def write_json(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """The objects with a further key, on a line each; spans of a text as positions in characters, [begin, end, name]."""
    objects, _ = read_objects(source)
    found = dict(zip(_rows_once(answers), range(len(answers.labels)), strict=True))
    cells = answers.by_row()
    names = free(answers.columns, list({name for own in objects for name in own}))
    for row, own in enumerate(objects):
        further: list[Any] = [None] * len(names)
        if row in found:
            i = found[row]
            further = [
                answers.labels[i],
                *([] if answers.probabilities is None else [_plain(answers.probabilities[i])]),
            ]
            text = own.get("text")
            if isinstance(text, str) and "tokens" not in own and len(WORD.findall(text)) == len(further[0]):
                further[0] = spans_of(text, further[0])
        elif row in cells:  # an object is a step
            further = [cells[row][0], *map(float, cells[row][1:])]
        yield json.dumps(dict(own) | dict(zip(names, further, strict=True)), ensure_ascii=False)


def _rows_once(answers: Answers) -> list[int]:
    """The row of each sequence that has one of its own; other numbers for those that have several."""
    return [int(rows) if isinstance(rows, int) else -1 - i for i, rows in enumerate(answers.rows or ())]


def _plain(value: Any) -> Any:
    return value if isinstance(value, float) else [round(share, 4) for share in value.tolist()]


def _write_frame(table: Table, answers: Answers) -> Iterator[str]:
    frame = pl.concat([*table.rows(table.columns)])
    cells, names = answers.by_row(), free(answers.columns, frame.columns)
    for column, name in enumerate(names):
        own = [cells[row][column] if row in cells else None for row in range(frame.height)]
        frame = frame.with_columns(pl.Series(name, own, pl.String))
        if name.rstrip("_") == PROBABILITY:
            frame = frame.with_columns(pl.col(name).cast(pl.Float64, strict=False))
    if any(dtype.is_nested() for dtype in frame.dtypes):
        yield from frame.write_ndjson().splitlines()
    else:
        yield from frame.write_csv().splitlines()
