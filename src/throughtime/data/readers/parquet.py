"""Parquet files, decoded in a process of their own: a malformed one may end the process that decodes it, whatever is caught."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

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
import io, json, sys
import polars as pl
most, chunk, *columns = json.loads(sys.stdin.buffer.readline())
source = sys.argv[1] if len(sys.argv) > 1 else sys.stdin.buffer.read()
def send(content):
    sys.stdout.buffer.write(len(content).to_bytes(8, "little"))
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
try:
    scan = pl.scan_parquet(source, glob=False)
    about = {"columns": scan.collect_schema().names(), "rows": scan.select(pl.len()).collect().item()}
    send(json.dumps(about).encode())
    if about["rows"] <= most:
        for frame in scan.select(columns or pl.all()).collect_batches(chunk_size=chunk):
            content = io.BytesIO()
            frame.write_ipc_stream(content)
            send(content.getbuffer())
        send(b"")
except BrokenPipeError:
    pass
except BaseException as error:
    send(json.dumps({"error": str(error).splitlines()[0]}).encode())
"""
"""The program of that process: it tells the columns and the number of rows, then sends the rows as Arrow's IPC streams."""


def read_parquet(source: Source, options: Options) -> Records:
    """A table; a cell may hold a list.

    Raises: DataError: not a Parquet file, or one that claims more rows than it can hold.
    """
    return read_table(open_parquet(source), options)


def open_parquet(source: Source) -> Table:
    """The table of a file.

    Raises: DataError: as `read_parquet`.
    """
    with _decoding(source, []) as (about, frames):
        columns, rows = about["columns"], about["rows"]
        check_names(source.name, columns)
        first = next(frames, None)
        whole = first is not None and first.height == rows

    def chunks(chosen: list[str]) -> Iterator[pl.DataFrame]:
        if first is not None and whole:
            yield first.select(chosen)
            return
        with _decoding(source, chosen) as (_, later):
            yield from later

    return Table(source.name, columns, chunks, lambda row: f"{source}: row {row + 1}", "a Parquet table")


@contextmanager
def _decoding(source: Source, columns: list[str]) -> Iterator[tuple[dict[str, Any], Iterator[pl.DataFrame]]]:
    """What the file says of itself, and its rows."""
    with source.binary() as file:
        size = file.seek(0, io.SEEK_END)
    most = max(ROWS_AT_LEAST, ROWS_PER_BYTE * size)
    command = [sys.executable, "-c", DECODE, *([str(source.path)] if source.content is None else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps([most, tables.CHUNK_ROWS, *columns]).encode() + b"\n")
            process.stdin.write(source.content or b"")
            process.stdin.close()
            about = _about(source, process.stdout)
            if about["rows"] > most:
                raise DataError(source.name, f"at most {most:,} rows in {size:,} bytes", f"{about['rows']:,}")
            yield about, _frames(source, process.stdout)
        finally:
            process.kill()


def _about(source: Source, stream: IO[bytes]) -> dict[str, Any]:
    about = json.loads(_received(source, stream) or b"{}")
    if "rows" not in about:
        raise DataError(source.name, "a Parquet file", about.get("error", "nothing"))
    return about


def _frames(source: Source, stream: IO[bytes]) -> Iterator[pl.DataFrame]:
    while content := _received(source, stream):
        if content.startswith(b"{"):
            raise DataError(source.name, "a Parquet file", json.loads(content)["error"])
        yield pl.read_ipc_stream(io.BytesIO(content))


def _received(source: Source, stream: IO[bytes]) -> bytes:
    """The next message; empty: all is said."""
    length = stream.read(8)
    content = stream.read(int.from_bytes(length, "little")) if len(length) == 8 else b""
    if len(length) < 8 or len(content) < int.from_bytes(length, "little"):
        raise DataError(source.name, "a Parquet file", "one that cannot be decoded, which ended the process that tried")
    return content
