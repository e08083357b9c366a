"""Column CoNLL: a word and its labels on each line, an empty line between sentences (CoNLL-2000, -2002, -2003)."""

from __future__ import annotations

from pathlib import Path

from throughtime.data.errors import DataError
from throughtime.data.readers.lines import numbered_lines
from throughtime.data.readers.options import Options
from throughtime.data.records import Records

DOCUMENT_START = "-DOCSTART-"  # CoNLL-2003's line between documents


def read_conll(path: Path, options: Options) -> Records:
    """Words (column 1) and, for each, a label: the last column, or the one with the number `column`.

    The columns are separated by tabs where the first line has one, else by spaces. Lines that begin with -DOCSTART- are
    passed over. There are no comments, as a word may be "#".

    Raises:
        DataError: not such a file; tells the line and the column.
    """
    column = _number(path, options.column)
    inputs: list[list[str]] = []
    targets: list[list[str]] = []
    places: list[str] = []
    separator: str | None = None
    columns, inside = 0, False
    for number, line in numbered_lines(path):
        if not line.strip() or line.startswith(DOCUMENT_START):
            inside = False
            continue
        if not columns:
            separator = "\t" if "\t" in line else None
            columns = _columns(path, number, len(line.split(separator)), column, options.labelled)
        fields = line.split(separator)
        if len(fields) != columns:
            raise DataError(f"{path}:{number}", f"{columns} columns, as in the lines before", str(len(fields)))
        if not all(fields):
            raise DataError(f"{path}:{number}: column {fields.index('') + 1}", "a value", "an empty field")
        if not inside:
            inputs.append([])
            targets.append([])
            places.append(f"{path}:{number}")
            inside = True
        inputs[-1].append(fields[0])
        targets[-1].append(fields[column - 1] if column else fields[-1])
    names = [f"line {place.rpartition(':')[2]}" for place in places]
    field = f"column {column or columns}"
    return Records(str(path), "tag", inputs, targets if options.labelled else None, names, places, field=field)


def _number(path: Path, column: str | None) -> int:
    """The number of the column with the labels; 0: the last."""
    if column is None:
        return 0
    if not column.isdecimal() or int(column) < 2:
        raise DataError(f"{path}: column", "a number from 2 up (the word is column 1)", repr(column))
    return int(column)


def _columns(path: Path, number: int, found: int, column: int, labelled: bool) -> int:
    needed = max(2, column) if labelled else 1
    if found < needed:
        raise DataError(f"{path}:{number}", f"at least {needed} columns", str(found))
    return found
