"""A table as records: what its columns are is found where it is not said, then its rows are steps or sequences."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from throughtime.data.errors import DataError
from throughtime.data.readers.guesses import guess
from throughtime.data.readers.long_form import read_long_form
from throughtime.data.readers.options import TABLE_OPTIONS, Options
from throughtime.data.readers.sequence_rows import read_sequence_rows
from throughtime.data.readers.tables import Table
from throughtime.data.records import Records


def read_table(table: Table, options: Options, declared: tuple[str, ...] = ()) -> Records:
    """The records of a table; `Records.reading` says what its columns were taken for.

    Where `options.rows` is stated, the columns are those that are named, and the inputs are all the others where none are.

    Args: declared: columns that are known to hold labels.

    Raises: DataError: it is malformed, or there is no telling what its columns are.
    """
    named = (options.id, options.group, *(options.time or ()), *(options.features or ()))
    table.check_columns([*named, *((options.target or ()) if options.labelled else ())])
    chosen, told, sure = options, "", False
    if options.rows is None:
        chosen, told, sure = guess(table, options, declared)
    elif not table.named and options.header is None:
        raise DataError(f"{table.source}:1", "names of columns: add --no-header", "numbers")
    records = read_long_form(table, chosen, sure) if chosen.rows == "steps" else read_sequence_rows(table, chosen)
    return replace(
        records,
        told=f"{table.told}: {told}" if told else table.told,
        reading=table.reading | _chosen(chosen) | records.reading,
    )


def _chosen(options: Options) -> dict[str, Any]:
    """What tables take of the options, as it was chosen."""
    values = {field.name: getattr(options, field.name) for field in fields(options) if field.name in TABLE_OPTIONS}
    return {name: value for name, value in values.items() if value is not None}
