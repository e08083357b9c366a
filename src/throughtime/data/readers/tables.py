"""Tables, a chunk of rows at a time: CSV, TSV and Parquet files, pandas and polars frames. Everything polars is here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.lines import numbered_lines

CHUNK_ROWS = 100_000


@dataclass(frozen=True)
class Table:
    """A table that is yet to be read.

    Attributes:
        source: what to call it.
        columns: their names.
        rows: an iterator over the chunks of some columns; in a text file, every cell is a string or null.
        place: where a row (from 0) is, as `file:line`.
    """

    source: str
    columns: list[str]
    rows: Callable[[list[str]], Iterator[pl.DataFrame]]
    place: Callable[[int], str]


def open_csv(path: Path, separator: str) -> Table:
    """A text file with a header; lines that are empty are passed over. Separated by commas, a field may be in double quotes;
    separated by tabs, a quotation mark is a character like any other (as IANA registered text/tab-separated-values).

    Raises:
        DataError: a header that is missing or names a column twice; while reading, a line of too many fields, a quotation
            that does not end, a byte that is not UTF-8.
    """
    columns = next(_records(path, separator), (0, []))[1]
    _check_names(f"{path}:1", columns)

    def rows(chosen: list[str]) -> Iterator[pl.DataFrame]:
        scan = pl.scan_csv(path, separator=separator, quote_char=_quote(separator), infer_schema=False, glob=False)
        scan = scan.filter(~pl.all_horizontal(pl.all().is_null())).select(pl.col(chosen).str.strip_chars())
        try:
            yield from scan.collect_batches(chunk_size=CHUNK_ROWS)
        except pl.exceptions.PolarsError as error:
            for number, fields in _records(path, separator):
                if len(fields) > len(columns):
                    raise DataError(f"{path}:{number}", f"{len(columns)} fields", str(len(fields))) from None
            raise DataError(path, "a table", str(error).splitlines()[0]) from None

    def place(row: int) -> str:
        for i, (number, _) in enumerate(_records(path, separator), start=-1):
            if i == row:
                return f"{path}:{number}"
        raise AssertionError(row)

    return Table(str(path), columns, rows, place)


def open_parquet(path: Path) -> Table:
    """A Parquet file.

    Raises:
        DataError: not a Parquet file.
    """
    try:
        return open_frame(str(path), pl.scan_parquet(path, glob=False))
    except pl.exceptions.PolarsError as error:
        raise DataError(path, "a Parquet file", str(error).splitlines()[0]) from None


def open_frame(source: str, frame: Any) -> Table:
    """A polars frame, lazy or not, or a pandas one; whose index is no column.

    Raises:
        DataError: a name that is no string, or occurs twice.
    """
    if not isinstance(frame, pl.LazyFrame):
        names = list(frame.columns)
        _check_names(source, names)
        frame = (
            frame if isinstance(frame, pl.DataFrame) else pl.DataFrame({name: frame[name].to_list() for name in names})
        )
    lazy = frame.lazy()

    def rows(chosen: list[str]) -> Iterator[pl.DataFrame]:
        try:
            yield from lazy.select(chosen).collect_batches(chunk_size=CHUNK_ROWS)
        except pl.exceptions.PolarsError as error:
            raise DataError(source, "a table", str(error).splitlines()[0]) from None

    return Table(source, lazy.collect_schema().names(), rows, lambda row: f"{source}: row {row + 1}")


def _check_names(place: str, names: list[Any]) -> None:
    if not names:
        raise DataError(place, "a header with the names of the columns", "none")
    for name in names:
        if not isinstance(name, str) or not name:
            raise DataError(f"{place}: header", "a name for each column", repr(name))
        if names.count(name) > 1:
            raise DataError(f"{place}: header", "each name once", f"{name!r} {names.count(name)} times")


def _quote(separator: str) -> str | None:
    return '"' if separator == "," else None


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line that is not empty, with its number: slow, to tell where something is."""
    quoting = csv.QUOTE_MINIMAL if _quote(separator) else csv.QUOTE_NONE
    lines = csv.reader((line for _, line in numbered_lines(path)), delimiter=separator, quoting=quoting, strict=True)
    before = 0
    while True:
        try:
            fields = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{before + 1}", "fields separated by " + repr(separator), str(error)) from None
        if any(fields):
            yield before + 1, fields
        before = lines.line_num
