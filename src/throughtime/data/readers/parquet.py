"""Parquet files."""

from __future__ import annotations

import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.row_reading import read_table
from throughtime.data.readers.source import Source
from throughtime.data.readers.tables import open_frame
from throughtime.data.records import Records


def read_parquet(source: Source, options: Options) -> Records:
    """A table; a cell may hold a list.

    Raises: DataError: not a Parquet file.
    """
    try:
        frame = pl.scan_parquet(source.path if source.content is None else source.binary(), glob=False)
        table = open_frame(source.name, frame, "a Parquet table")
    except pl.exceptions.PolarsError as error:
        raise DataError(source.name, "a Parquet file", str(error).splitlines()[0]) from None
    return read_table(table, options)
