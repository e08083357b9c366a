"""Column CoNLL: a word and its labels on each line, an empty line between sentences (CoNLL-2000, -2002, -2003, GermEval)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

DOCUMENT_START = "-DOCSTART-"  # CoNLL-2003's line between documents
HEADER = frozenset(
    "word words token tokens form text sentence tag tags label labels ner ner_tag pos pos_tag upos xpos chunk lemma iob bio id "
    "index entity named_entity_tag".split()
)
"""What the columns are called in files whose first line says so."""
FEWEST, MOST_LABELS = 3, 0.5
"""Lines that are enough to recognise the format; labels are at most this share of the lines."""


@dataclass(frozen=True)
class Layout:
    """What the first lines tell: the separator (None: spaces), how many columns, whether the first line names them, and the
    numbers, from 1, of the columns with words and labels."""

    separator: str | None
    columns: int
    header: bool
    words: int
    label: int


def looks_like_conll(source: Source) -> bool:
    """Whether there are blocks of lines with like numbers of columns, the labels of which repeat themselves."""
    lines = source.sample
    rows = [row for line in lines if (row := _row(line, _separator(lines))) is not None]
    if len(rows) < FEWEST or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return False
    blocks = sum(not line.strip() for line in lines[:-1]) > 0
    layout = _layout(lines, 0)
    labels = {row[layout.label - 1] for row in rows}
    return blocks and len(labels) <= max(2, MOST_LABELS * len(rows)) and not _numeric(rows)


def read_conll(source: Source, options: Options) -> Records:
    """Words (the first column that does not merely count them) and, for each, a label: the last column that changes, or the
    one with the number `column`. `inputs` names the column, or columns, with the words by number.

    The columns are separated by tabs where the first line has one, else by spaces. Passed over are lines that begin with
    -DOCSTART-, a first line that names the columns, and comments: lines that begin with "#" and have other columns than a word,
    which may be "#".

    Raises:
        DataError: not such a file; tells the line and the column.
    """
    layout = layout_of(source, options)
    columns = [_input(source, layout, given) for given in options.inputs or ()] or [layout.words]
    needed = max([2, layout.label, *columns] if options.labelled else columns)
    sentences: list[list[list[str]]] = []
    rows: list[list[int]] = []
    places: list[str] = []
    inside, before = False, False
    for number, line in source.lines():
        if not line.strip() or line.startswith(DOCUMENT_START):
            inside = False
            continue
        fields = line.split(layout.separator)
        if (layout.header and not before) or _is_comment(line, fields, layout.columns):
            before = True
            continue
        if layout.columns < needed:
            raise DataError(f"{source}:{number}", f"at least {needed} columns", str(layout.columns))
        if len(fields) != layout.columns:
            raise DataError(f"{source}:{number}", f"{layout.columns} columns, as in the lines before", str(len(fields)))
        if not all(fields):
            raise DataError(f"{source}:{number}: column {fields.index('') + 1}", "a value", "an empty field")
        if not inside:
            sentences.append([])
            rows.append([])
            places.append(f"{source}:{number}")
            inside = True
        sentences[-1].append(fields)
        rows[-1].append(number)
        before = True
    words = [tuple([fields[column - 1] for fields in own] for column in columns) for own in sentences]
    targets = [[fields[layout.label - 1] for fields in own] for own in sentences] if options.labelled else None
    where = "in the last" if layout.label == layout.columns else f"in column {layout.label}"
    return Records(
        str(source),
        "tag",
        words if len(columns) > 1 else [own[0] for own in words],
        targets,
        [f"line {place.rpartition(':')[2]}" for place in places],
        places,
        field=f"column {layout.label}",
        rows=None if options.labelled else rows,
        told=f"column CoNLL: {layout.columns} columns, words in {', '.join(map(str, columns))}, label {where}",
        reading={"column": str(layout.label), "inputs": tuple(map(str, columns))},
    )


def layout_of(source: Source, options: Options) -> Layout:
    """How a file is written, by its first lines."""
    return _layout(source.sample, _number(source, options.column))


def _separator(lines: Sequence[str]) -> str | None:
    first = next((line for line in lines if line.strip() and not line.startswith((DOCUMENT_START, "#"))), "")
    return "\t" if "\t" in first else None


def _row(line: str, separator: str | None) -> list[str] | None:
    """The columns of a line; None: there are none, or they are a comment's."""
    if not line.strip() or line.startswith((DOCUMENT_START, "#\t", "# ")):
        return None
    return line.split(separator)


def _layout(lines: Sequence[str], chosen: int) -> Layout:
    separator = _separator(lines)
    rows = [row for line in lines if (row := _row(line, separator)) is not None] or [
        line.split(separator) for line in lines if line.strip() and not line.startswith(DOCUMENT_START)
    ]
    first = rows[0] if rows else [""]
    columns = len(first)
    header = len(rows) > 1 and all(name.strip().lower() in HEADER for name in first) and first not in rows[1:]
    rows = [row for row in rows[header:] if len(row) == columns]
    counted = columns > 2 and bool(rows) and all(row[0].isdecimal() for row in rows)
    words = 2 if counted else 1
    changing = [column for column in range(words + 1, columns + 1) if len({row[column - 1] for row in rows}) > 1]
    return Layout(separator, columns, header, words, chosen or (changing or [columns])[-1])


def _is_comment(line: str, fields: list[str], columns: int) -> bool:
    return line.startswith("#") and len(line) > 1 and (len(fields) != columns or not all(fields))


def _numeric(rows: list[list[str]]) -> bool:
    """Whether every field is a number, as in a table."""
    try:
        return all(np.isfinite(float(field)) for row in rows for field in row)
    except ValueError:
        return False


def _number(source: Source, column: str | None) -> int:
    """The number of the column with the labels; 0: it is not said."""
    if column is None:
        return 0
    if not column.isdecimal() or int(column) < 1:
        raise DataError(f"{source}: column", "a number from 1 up", repr(column))
    return int(column)


def _input(source: Source, layout: Layout, given: str) -> int:
    if not given.isdecimal() or int(given) < 1 or int(given) == layout.label:
        raise DataError(f"{source}: inputs", f"numbers of columns, other than the label's {layout.label}", repr(given))
    return int(given)
