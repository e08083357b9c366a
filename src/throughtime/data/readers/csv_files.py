"""CSV, TSV and their like: the separator, decimal commas and the header are found; cells are read as strings."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers import tables
from throughtime.data.readers.options import Options
from throughtime.data.readers.row_reading import read_table
from throughtime.data.readers.source import Source
from throughtime.data.readers.tables import Table, check_names, free
from throughtime.data.records import Records

SEPARATORS = ("\t", ";", ",", "|")
NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "spaces"}
SAMPLED_LINES, ALIKE, FEWEST = 200, 0.9, 5
"""Lines that are looked at; the share of them with as many fields; lines that make a table though it is not called so."""
MOST_FILLED = 0.5
"""The share of the fields that have something in them, at least."""


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        separator: between two fields; " " for any number of spaces.
        decimal: "." or ",".
        fields: how many a line has.
        header: whether the first line has the names of the columns.
        rows: the first ones, the header's too.
    """

    separator: str
    decimal: str
    fields: int
    header: bool
    rows: list[list[str]]


def looks_like_csv(source: Source) -> bool:
    """Whether the lines have like numbers of fields, two or more, most of them filled."""
    lines = [line for line in source.sample[:SAMPLED_LINES] if line.strip()]
    if source.suffix == ".csv":
        return b"\0" not in source.head
    dialect = _dialect(lines, (*SEPARATORS, " "))
    if dialect is None or len(lines) < 2:
        return False
    filled = sum(bool(cell.strip()) for row in dialect.rows for cell in row) / sum(map(len, dialect.rows))
    numeric = any(_is_number(cell, dialect.decimal) for row in dialect.rows[1:] for cell in row)
    return filled > MOST_FILLED and (len(lines) >= FEWEST or numeric) and not _is_prose(dialect)


def looks_like_tsv(source: Source) -> bool:
    """Whether it is called so; other files with tabs are read as CSV, where a field may be in quotation marks."""
    return source.suffix in (".tsv", ".tab") and b"\0" not in source.head


def read_csv(source: Source, options: Options) -> Records:
    """A table whose separator is found; a field may be in double quotes."""
    return read_table(open_csv(source, options), options)


def read_tsv(source: Source, options: Options) -> Records:
    """A table separated by tabs; a quotation mark is a character like any other (IANA, text/tab-separated-values)."""
    return read_table(open_csv(source, options, "\t", quoted=False), options)


def open_csv(source: Source, options: Options, separator: str | None = None, quoted: bool = True) -> Table:
    """A text file; lines that are empty are passed over.

    Raises:
        DataError: a header that is missing or names a column twice; while reading, a line of too many fields, a quotation
            that does not end, a byte that is not UTF-8.
    """
    source = _without_ends(source)
    dialect = _dialect_of(source, separator, quoted)
    header = dialect.header if options.header is None else options.header
    first, columns = next(_records(source, dialect.separator, quoted), (0, []))
    columns = (
        [name.strip().lstrip("#").strip() for name in columns] if header else [str(i + 1) for i in range(len(columns))]
    )
    blank = [i for i, name in enumerate(columns) if not name]
    if blank and all(not row[i].strip() for row in dialect.rows for i in blank if i < len(row)):
        kept = [i for i in range(len(columns)) if i not in blank]  # separators at the ends of all lines
    else:
        kept = list(range(len(columns)))
        if blank == [0] and dialect.rows[1:]:
            columns[0] = "index"  # pandas leaves the name of its index out
    named = [columns[i] for i in kept]
    check_names(f"{source}:{first or 1}", named)
    internal = [f"{i}" for i in range(len(columns))]
    content = source.content if source.content is not None else source.path
    if dialect.separator == " ":
        content = "".join(",".join(line.split()) + "\n" for _, line in source.lines()).encode()

    def rows(chosen: list[str]) -> Iterator[pl.DataFrame]:
        taken = {internal[kept[named.index(name)]]: name for name in chosen} if len(chosen) < 20 else None
        if taken is None:
            position = {name: kept[i] for i, name in enumerate(named)}
            taken = {internal[position[name]]: name for name in chosen}
        scan = pl.scan_csv(
            content,
            separator="," if dialect.separator == " " else dialect.separator,
            quote_char='"' if quoted else None,
            has_header=False,
            schema=dict.fromkeys(internal, pl.String),
            glob=False,
        )
        skip = header
        try:
            for chunk in scan.collect_batches(chunk_size=tables.CHUNK_ROWS):
                chunk = _filled(chunk)
                if skip and chunk.height:
                    chunk, skip = chunk[1:], False
                yield chunk.select(list(taken)).rename(taken)
        except pl.exceptions.PolarsError as error:
            for number, fields in _records(source, dialect.separator, quoted):
                if len(fields) > len(columns):
                    raise DataError(f"{source}:{number}", f"{len(columns)} fields", str(len(fields))) from None
            raise DataError(source.name, "a table", str(error).splitlines()[0]) from None

    def place(row: int) -> str:
        for i, (number, _) in enumerate(_records(source, dialect.separator, quoted), start=-1 if header else 0):
            if i == row:
                return f"{source}:{number}"
        return f"{source}: row {row + 1}"

    told = f"a table separated by {NAMES[dialect.separator]}" + (
        ", with decimal commas" if dialect.decimal == "," else ""
    )
    reading = {} if header and dialect.header else {"header": header}
    return Table(source.name, named, rows, place, told, dialect.decimal, header, reading)


def with_further_cells(
    source: Source,
    options: Options,
    names: Sequence[str],
    cells_of: Callable[[str], dict[int, list[str]]],
    separator: str | None = None,
    quoted: bool = True,
) -> Iterator[str]:
    """The lines of a table as they are, with further cells at the ends of its rows: empty where there are none.

    Args:
        names: of the further columns.
        cells_of: what separates the digits after the point to the cells by row, from 0.
    """
    source = _without_ends(source)
    dialect = _dialect_of(source, separator, quoted)
    header = dialect.header if options.header is None else options.header
    lines, cells, row = [line for _, line in source.lines()], cells_of(dialect.decimal), -1 if header else 0
    for begin, end, fields in _all_records(source, dialect.separator, quoted):
        yield from lines[begin - 1 : end - 1]
        if not any(field.strip() for field in fields):
            yield lines[end - 1]
            continue
        own = free(names, [field.strip() for field in fields]) if row < 0 else cells.get(row, [""] * len(names))
        if quoted:
            own = [_quoted(cell, dialect.separator) for cell in own]
        yield dialect.separator.join([lines[end - 1], *own])
        row += 1


def _quoted(cell: str, separator: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in (separator, '"', "\n")) else cell


def _dialect_of(source: Source, separator: str | None, quoted: bool) -> Dialect:
    lines = [line for line in source.sample[:SAMPLED_LINES] if line.strip()]
    separators = (*SEPARATORS, " ") if separator is None else (separator,)
    return _dialect(lines, separators, quoted) or _plain(source, lines, separator or ",", quoted)


def _without_ends(source: Source) -> Source:
    """A source each line of which ends with a semicolon, though commas separate its fields, without those."""
    lines = [line for line in source.sample[:SAMPLED_LINES] if line.strip()]
    if not lines or not all(line.count(";") == 1 and line.endswith(";") and "," in line for line in lines):
        return source
    with source.binary() as file:
        return replace(source, content=file.read().replace(b"\r\n", b"\n").replace(b";\n", b"\n"))


def _filled(chunk: pl.DataFrame) -> pl.DataFrame:
    """Without the rows that have nothing in any cell."""
    candidates = None
    for series in chunk:
        empty = series.is_null() | (series.str.strip_chars() == "")
        candidates = empty if candidates is None else candidates & empty
        if not candidates.any():
            return chunk
    return chunk if candidates is None else chunk.filter(~candidates)


def _dialect(lines: list[str], separators: tuple[str, ...], quoted: bool = True) -> Dialect | None:
    """The separator that cuts the lines into most alike rows of two fields or more; None: there is none."""
    best: tuple[float, Dialect] | None = None
    for separator in separators:
        rows = _split(lines, separator, quoted)
        if not rows:
            continue
        counts = [len(row) for row in rows]
        fields = max(set(counts), key=counts.count)
        alike = counts.count(fields) / len(counts)
        if fields < 2 or alike < ALIKE or len(rows[0]) != fields:
            continue
        body = [row for row in rows if len(row) == fields]
        if separator == " " and not all(_is_number(cell, ".") for row in body for cell in row):
            continue
        filled = sum(bool(cell.strip()) for row in body for cell in row) / (fields * len(body))
        comma = separator != "," and any(_is_number(c, ",") and "," in c for row in body for c in row)
        decimal = "," if comma and not any(_is_number(c, ".") and "." in c for row in body[1:] for c in row) else "."
        score = alike + filled
        if best is None or score > best[0]:
            best = score, Dialect(separator, decimal, fields, _has_header(body, decimal), rows)
    return None if best is None else best[1]


def _plain(source: Source, lines: list[str], separator: str, quoted: bool) -> Dialect:
    """Of a table with a single column, or whose lines have different numbers of fields."""
    rows = _split(lines, separator, quoted)
    if not rows:
        rows = [fields for _, fields in _records(source, separator, quoted)][:SAMPLED_LINES]  # tells what is wrong
    fields = len(rows[0]) if rows else 0
    return Dialect(separator, ".", fields, not rows or _has_header(rows, "."), rows)


def _split(lines: list[str], separator: str, quoted: bool) -> list[list[str]]:
    """The rows of some lines; empty: they are no such table."""
    if separator == " ":
        return [line.split() for line in lines]
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    try:
        return [row for row in csv.reader(lines, delimiter=separator, quoting=quoting) if row]
    except csv.Error:
        return []


def _has_header(rows: list[list[str]], decimal: str) -> bool:
    """Whether the first row has names: none of them a number, unless they count; and none that its column has again."""
    first = [cell.strip() for cell in rows[0]]
    numeric = [_is_number(cell, decimal) for cell in first]
    if any(numeric):
        counting = [int(cell) for cell in first if cell.isdecimal()]
        consecutive = len(counting) > 2 and counting == list(range(counting[0], counting[0] + len(counting)))
        return consecutive and sum(numeric) == len(counting) and counting[0] in (0, 1)
    if not any(first):
        return False
    columns = list(zip(*(row for row in rows[1:] if len(row) == len(first))))
    repeated = [name and name in own for name, own in zip(first, columns)]
    return not any(repeated)


def _is_number(cell: str, decimal: str) -> bool:
    try:
        float(cell.replace(",", ".", 1) if decimal == "," else cell)
    except ValueError:
        return False
    return "_" not in cell and cell.strip().lower() not in ("nan", "inf", "infinity", "-inf")


def _is_prose(dialect: Dialect) -> bool:
    """Whether commas seem to be those of sentences: a space follows each of them."""
    cells = [cell for row in dialect.rows for cell in row[1:]]
    return (
        dialect.separator == ","
        and not any(_is_number(cell, ".") for cell in cells)
        and all(cell.startswith(" ") for cell in cells)
    )


def _records(source: Source, separator: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line that is not empty, with its number: slow, to tell where something is."""
    found = _all_records(source, separator, quoted)
    return ((begin, fields) for begin, _, fields in found if any(field.strip() for field in fields))


def _all_records(source: Source, separator: str, quoted: bool) -> Iterator[tuple[int, int, list[str]]]:
    """The numbers of the first and the last line of each record, and its fields; of empty lines, too."""
    if separator == " ":
        yield from ((number, number, line.split()) for number, line in source.lines())
        return
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = csv.reader((line for _, line in source.lines()), delimiter=separator, quoting=quoting, strict=True)
    before = 0
    while True:
        try:
            fields = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{source}:{before + 1}", "fields separated by " + repr(separator), str(error)) from None
        yield before + 1, lines.line_num, fields
        before = lines.line_num
