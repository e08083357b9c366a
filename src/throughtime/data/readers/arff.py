"""ARFF, the format of WEKA and of the UCR archive: attributes with their kinds, then a row of values on each line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

if TYPE_CHECKING:
    from throughtime.data.readers.tables import Table


def looks_like_arff(source: Source) -> bool:
    """Whether the first line that is no comment is @relation."""
    first = next((line for line in source.sample if line.strip() and not line.startswith("%")), "")
    return first.strip().lower().startswith("@relation")


def read_arff(source: Source, options: Options) -> Records:
    """A table, as `readers.row_reading` reads it; a nominal attribute has labels. A relational attribute, with a row for each
    dimension of a series, is a sequence.

    Raises:
        DataError: not such a file.
        ImportError: scipy or polars is not installed.
    """
    table, declared = open_arff(source)
    from throughtime.data.readers.row_reading import read_table

    return read_table(table, options, declared)


def open_arff(source: Source) -> tuple[Table, tuple[str, ...]]:
    """The table of a file, and the names of its nominal attributes.

    Raises: DataError, ImportError: as `read_arff`.
    """
    try:
        import polars as pl
        from scipy.io.arff import loadarff

        from throughtime.data.readers.tables import open_frame
    except ImportError:
        raise ImportError(
            f"{source}: expected scipy and polars, which read ARFF: pip install 'throughtime[cli]'"
        ) from None
    try:
        data, meta = loadarff(io.StringIO(source.text()))
    except (ValueError, NotImplementedError, StopIteration, IndexError, KeyError, OverflowError) as error:
        raise DataError(source.name, "ARFF", " ".join(str(error).split()) or type(error).__name__) from None
    kinds = dict(zip(meta.names(), meta.types()))
    columns = {name: _column(data[name], kind) for name, kind in kinds.items()}
    table = open_frame(source.name, pl.DataFrame(columns, strict=False), "ARFF")
    declared = tuple(name for name, kind in kinds.items() if kind == "nominal")
    return table, declared


def _column(values: np.ndarray, kind: str) -> list[Any]:
    if kind == "nominal":
        return [None if value == b"?" else value.decode() for value in values]
    if kind == "relational":  # each row of the relation is a dimension, each of its attributes a step
        return [np.array([list(row) for row in own], np.float64).T.tolist() for own in values]
    if kind == "date":
        return values.astype("datetime64[us]").tolist()
    return values.astype(np.float64).tolist()
