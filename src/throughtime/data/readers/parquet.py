"""Parquet files. A malformed one may end the process that decodes it, whatever is caught: another one decodes it first."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator

import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers import tables
from throughtime.data.readers.options import Options
from throughtime.data.readers.row_reading import read_table
from throughtime.data.readers.source import Source
from throughtime.data.readers.tables import Table, check_names
from throughtime.data.records import Records

ROWS_AT_LEAST, ROWS_PER_BYTE = 10**7, 100
"""What a file may claim: ten million rows, or a hundred for each of its bytes."""

DECODE = """
import json, sys
import polars as pl
most, chunk = map(int, sys.argv[1:3])
source = sys.argv[3] if len(sys.argv) > 3 else sys.stdin.buffer.read()
try:
    scan = pl.scan_parquet(source, glob=False)
    about = {"columns": scan.collect_schema().names(), "rows": scan.select(pl.len()).collect().item()}
    if about["rows"] <= most:
        for _ in scan.collect_batches(chunk_size=chunk):
            pass
except BaseException as error:
    about = {"error": str(error).splitlines()[0]}
sys.stdout.write(json.dumps(about))
"""
"""The program of that process: it decodes all of a file, and tells the columns and the number of rows."""


def read_parquet(source: Source, options: Options) -> Records:
    """A table; a cell may hold a list.

    Raises: DataError: not a Parquet file, or one that claims more rows than it can hold.
    """
    return read_table(open_parquet(source), options)


def open_parquet(source: Source) -> Table:
    """The table of a file.

    Raises: DataError: as `read_parquet`.
    """
    columns = _columns(source)
    check_names(source.name, columns)
    lazy = pl.scan_parquet(source.path if source.content is None else source.content, glob=False)

    def chunks(chosen: list[str]) -> Iterator[pl.DataFrame]:
        try:
            yield from lazy.select(chosen).collect_batches(chunk_size=tables.CHUNK_ROWS)
        except pl.exceptions.PolarsError as error:
            raise DataError(source.name, "a Parquet file", str(error).splitlines()[0]) from None

    return Table(source.name, columns, chunks, lambda row: f"{source}: row {row + 1}", "a Parquet table")


def _columns(source: Source) -> list[str]:
    """The names of the columns of a file that a process of its own has decoded from end to end."""
    with source.binary() as file:
        size = file.seek(0, io.SEEK_END)
    most = max(ROWS_AT_LEAST, ROWS_PER_BYTE * size)
    named = [str(source.path)] if source.content is None else []
    command = [sys.executable, "-c", DECODE, str(most), str(tables.CHUNK_ROWS), *named]
    ended = subprocess.run(command, input=source.content or b"", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        about = json.loads(ended.stdout)
    except ValueError:
        found = "one that cannot be decoded, which ended the process that tried"
        raise DataError(source.name, "a Parquet file", found) from None
    if "error" in about:
        raise DataError(source.name, "a Parquet file", about["error"])
    if about["rows"] > most:
        raise DataError(source.name, f"at most {most:,} rows in {size:,} bytes", f"{about['rows']:,}")
    return about["columns"]
