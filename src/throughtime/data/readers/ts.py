"""The .ts files of the UEA and UCR archives of time series classification (Bagnall et al., 2018).

A header of `@key value` lines, then `@data` and a series on each line: its dimensions separated by colons, the values of
a dimension by commas, the class at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

KEYS = (
    "problemname timestamps missing univariate dimension dimensions equallength serieslength classlabel targetlabel data"
).split()


@dataclass
class Header:
    """What the header says; None where it says nothing.

    Attributes:
        classes: the names of the classes; empty: the series have none.
        dimensions: of each series.
        length: steps of each series, where they are alike.
        missing: whether values may be missing ("?").
    """

    classes: tuple[str, ...] | None = None
    dimensions: int | None = None
    length: int | None = None
    missing: bool = False


def looks_like_ts(source: Source) -> bool:
    """Whether the first line that is no comment is one of the header."""
    first = next((line.strip().lower() for line in source.sample if line.strip() and not line.startswith("#")), "")
    return first.startswith("@") and first.split()[0].removeprefix("@") in KEYS


def read_ts(source: Source, options: Options) -> Records:
    """Series of one or several dimensions, of like or of different lengths.

    classify (where the series have classes): the class of each. forecast: every dimension's next value.

    Raises:
        DataError: not such a file; tells the line and the field.
    """
    lines = source.lines()
    header = _read_header(source, lines)
    task = options.task or ("classify" if header.classes else "forecast")
    if task == "classify" and not header.classes and options.labelled:
        raise DataError(f"{source}: @classLabel", "true and the names of the classes", "false")
    inputs: list[np.ndarray] = []
    targets: list[str] = []
    places: list[str] = []
    for number, line in lines:
        if line.strip():
            place = f"{source}:{number}"
            *dimensions, label = line.split(":") if header.classes else [*line.split(":"), ""]
            if header.classes and label.strip() not in header.classes:
                raise DataError(f"{place}: class", f"one of {', '.join(header.classes)}", repr(label.strip()))
            inputs.append(_read_series(place, dimensions, header))
            targets.append(label.strip())
            places.append(place)
    names = [f"line {place.rpartition(':')[2]}" for place in places]
    columns = tuple(f"dimension {column + 1}" for column in range(header.dimensions or 0))
    told = f".ts: series of {len(columns)} {'dimension' if len(columns) == 1 else 'dimensions'}"
    if task == "forecast":
        series = inputs if options.labelled else None
        return Records(
            str(source), task, inputs, series, names, places, columns, columns, fill=options.fill or "last", told=told
        )
    labels = targets if options.labelled else None
    return Records(
        str(source),
        task,
        inputs,
        labels,
        names,
        places,
        columns,
        header.classes,
        field="class",
        fill=options.fill or "last",
        rows=None if options.labelled else [int(place.rpartition(":")[2]) for place in places],
        told=told,
    )


def _read_header(source: Source, lines: Iterator[tuple[int, str]]) -> Header:
    header = Header()
    for number, line in lines:
        key, *values = line.split()[:1] + line.split()[1:] if line.strip() else [""]
        place = f"{source}:{number}: {key}"
        match key.lower():
            case "@data":
                return header
            case "@classlabel":
                header.classes = tuple(values[1:]) if _flag(place, values) else ()
                if _flag(place, values) and not header.classes:
                    raise DataError(place, "the names of the classes after 'true'", "none")
            case "@dimensions" | "@dimension":
                header.dimensions = _count(place, values)
            case "@univariate":
                header.dimensions = 1 if _flag(place, values) else header.dimensions
            case "@serieslength":
                header.length = _count(place, values)
            case "@missing":
                header.missing = _flag(place, values)
            case "@timestamps" if _flag(place, values):
                raise DataError(place, "false (series without time stamps)", "true")
            case "@targetlabel" if _flag(place, values):
                expected = "@classLabel, as labels are learnt here (numbers: throughtime.estimators.SequenceRegressor)"
                raise DataError(place, expected, "numbers to predict")
            case other if other and not other.startswith(("@", "#")):
                raise DataError(
                    f"{source}:{number}", "a line of the header, beginning with '@' or '#'", repr(line[:20])
                )
    raise DataError(source.name, "a line '@data'", "none")


def _flag(place: str, values: list[str]) -> bool:
    if not values or values[0].lower() not in ("true", "false"):
        raise DataError(place, "true or false", repr(" ".join(values)))
    return values[0].lower() == "true"


def _count(place: str, values: list[str]) -> int:
    if len(values) != 1 or not values[0].isdecimal() or int(values[0]) < 1:
        raise DataError(place, "a number of 1 or more", repr(" ".join(values)))
    return int(values[0])


def _read_series(place: str, dimensions: list[str], header: Header) -> np.ndarray:
    """[T, n] from the n dimensions of a line; the first line sets n where the header does not."""
    header.dimensions = header.dimensions or len(dimensions)
    if len(dimensions) != header.dimensions:
        raise DataError(place, f"{header.dimensions} dimensions", str(len(dimensions)))
    columns = [
        _read_values(f"{place}: dimension {i}", text, header.missing) for i, text in enumerate(dimensions, start=1)
    ]
    length = header.length or len(columns[0])
    for i, column in enumerate(columns, start=1):
        if len(column) != length:
            raise DataError(f"{place}: dimension {i}", f"{length} values", str(len(column)))
    return np.stack(columns, axis=1)


def _read_values(place: str, text: str, missing: bool) -> np.ndarray:
    fields = text.split(",")
    try:
        values = np.array(fields, np.float64)
    except ValueError:
        values = np.array([_read_value(field, missing) for field in fields])
    wrong = np.isinf(values) | (np.isnan(values) & (not missing))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(f"{place}, value {i + 1}", "a number", repr(fields[i].strip()))
    return values


def _read_value(field: str, missing: bool) -> float:
    """NaN for what is missing, infinity for what is no number."""
    try:
        return np.nan if missing and field.strip() == "?" else float(field)
    except ValueError:
        return np.inf
