"""The formats of files: which reader each has, and which file is of which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from throughtime.data.encoding import TASKS
from throughtime.data.errors import nearest
from throughtime.data.readers.conll import read_conll
from throughtime.data.readers.conllu import read_conllu
from throughtime.data.readers.folder import read_folder
from throughtime.data.readers.npz import read_npz
from throughtime.data.readers.options import TABLE_OPTIONS, Options
from throughtime.data.readers.text import read_text
from throughtime.data.readers.ts import read_ts
from throughtime.data.records import Records


def read_table(path: Path, options: Options, form: str) -> Records:
    """A CSV, TSV or Parquet file in long form.

    Raises:
        ImportError: polars is not installed.
    """
    try:
        from throughtime.data.readers import long_form, tables
    except ImportError:
        raise ImportError(f"{path}: expected polars, which reads tables: pip install 'throughtime[cli]'") from None
    table = tables.open_parquet(path) if form == "parquet" else tables.open_csv(path, "\t" if form == "tsv" else ",")
    return long_form.read_long_form(table, options)


@dataclass(frozen=True)
class Format:
    """How to read a format, how its files' names end, the tasks that it can be read for, and the options it takes."""

    read: Callable[[Path, Options], Records]
    suffixes: tuple[str, ...]
    tasks: tuple[str, ...]
    takes: tuple[str, ...] = ()


def _table_format(form: str) -> Format:
    return Format(
        lambda path, options: read_table(path, options, form),
        (f".{form}",),
        ("tag", "classify", "forecast"),
        TABLE_OPTIONS,
    )


FORMATS = {
    "conllu": Format(read_conllu, (".conllu",), ("tag",), ("column",)),
    "conll": Format(read_conll, (".conll", ".iob", ".bio"), ("tag",), ("column",)),
    "csv": _table_format("csv"),
    "tsv": _table_format("tsv"),
    "parquet": _table_format("parquet"),
    "ts": Format(read_ts, (".ts",), ("classify", "forecast")),
    "npz": Format(read_npz, (".npz",), TASKS),
    "text": Format(read_text, (".txt",), ("lm",)),
    "folder": Format(read_folder, (), ("classify", "lm")),
}


def read_path(path: Path, format: str | None, options: Options) -> Records:
    """The records of a file or folder, in the format that is named or that its suffix tells.

    Raises:
        DataError: it is malformed.
        ValueError: no such format, a suffix that tells none, or a task or option that is not for the format.
    """
    name = format or _format_of(path)
    if name not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, found {name!r}{nearest(name, FORMATS)}")
    if path.is_dir() != (name == "folder"):
        found = "a folder" if path.is_dir() else "a file"
        raise ValueError(
            f"{path}: expected {'a folder' if name == 'folder' else f'a file in the format {name}'}, found {found}"
        )
    options.check_taken(f"the format {name}", FORMATS[name].takes)
    if options.task is not None and options.task not in FORMATS[name].tasks:
        expected = " or ".join(FORMATS[name].tasks)
        raise ValueError(f"task: expected {expected}, which the format {name} can be read for, found {options.task}")
    return FORMATS[name].read(path, options)


def _format_of(path: Path) -> str:
    if path.is_dir():
        return "folder"
    for name, format in FORMATS.items():
        if path.suffix.lower() in format.suffixes:
            return name
    raise ValueError(f"format: expected one of {', '.join(FORMATS)}, found none, and {path.name!r} does not tell")
