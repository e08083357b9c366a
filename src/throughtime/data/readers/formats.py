"""The formats of files: which reader each has, how it is known, and the options it takes. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from throughtime.data.encoding import TASKS
from throughtime.data.errors import DataError, nearest
from throughtime.data.readers import arff, conll, conllu, fasta, fasttext, folder, npz, slashes, text, ts
from throughtime.data.readers.options import TABLE_OPTIONS, Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

Read = Callable[[Source, Options], "Records | Mapping[str, Records]"]


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        read: the reader; of a file that holds the parts train, valid or test, the records of each by name.
        looks: whether the beginning of a file is like it.
        suffixes: how its files' names end.
        tasks: what it can be read for.
        takes: the options it takes.
    """

    read: Read
    looks: Callable[[Source], bool]
    suffixes: tuple[str, ...]
    tasks: tuple[str, ...]
    takes: tuple[str, ...] = ()


def _table(module: str, function: str) -> Any:
    """A function of a module that needs polars.

    Raises: ImportError: it is not installed.
    """

    def call(source: Source, *options: Options) -> Any:
        from importlib import import_module

        try:
            found = import_module(f"throughtime.data.readers.{module}")
        except ImportError:
            raise ImportError(
                f"{source}: expected polars, which reads tables: pip install 'throughtime[cli]'"
            ) from None
        return getattr(found, function)(source, *options)

    return call


def _csv(function: str) -> Any:
    return _table("csv_files", function)


def _by_bytes(*magic: bytes) -> Callable[[Source], bool]:
    return lambda source: source.head.startswith(magic)


FORMATS = {
    "parquet": Format(_table("parquet", "read_parquet"), _by_bytes(b"PAR1"), (".parquet",), TASKS, TABLE_OPTIONS),
    "npz": Format(npz.read_npz, npz.looks_like_npz, (".npz",), TASKS, ("missing", "fill")),
    "npy": Format(npz.read_npy, _by_bytes(npz.MAGIC), (".npy",), ("lm", "forecast"), ("missing", "fill")),
    "arff": Format(arff.read_arff, arff.looks_like_arff, (".arff",), TASKS, TABLE_OPTIONS),
    "ts": Format(ts.read_ts, ts.looks_like_ts, (".ts",), ("classify", "forecast"), ("fill",)),
    "fasta": Format(fasta.read_fasta, fasta.looks_like_fasta, (".fasta", ".fa", ".faa"), ("tag", "classify", "lm")),
    "fasttext": Format(fasttext.read_fasttext, fasttext.looks_like_fasttext, (), ("classify",), ("units",)),
    "json": Format(_table("json_lines", "read_json"), _by_bytes(b"{", b"["), (".json", ".jsonl"), TASKS, TABLE_OPTIONS),
    "conllu": Format(conllu.read_conllu, conllu.looks_like_conllu, (".conllu",), ("tag",), ("column", "inputs")),
    "conll": Format(conll.read_conll, conll.looks_like_conll, (".conll", ".iob", ".bio"), ("tag",), ("column", "inputs")),
    "slashes": Format(slashes.read_slashes, slashes.looks_like_slashes, (), ("tag",)),
    "csv": Format(_csv("read_csv"), _csv("looks_like_csv"), (".csv",), TASKS, TABLE_OPTIONS),
    "tsv": Format(_csv("read_tsv"), _csv("looks_like_tsv"), (".tsv", ".tab"), TASKS, TABLE_OPTIONS),
    "text": Format(text.read_text, text.looks_like_text, (), ("lm",), ("units", "shuffle")),
    "folder": Format(folder.read_folder, lambda source: source.is_folder, (), TASKS, (*TABLE_OPTIONS, "shuffle")),
}  # fmt: skip
"""In the order in which a file whose name does not tell is compared with them."""

BINARY = ("parquet", "npz", "npy")
FOREIGN = {
    b"\x89HDF": "an HDF5 file",
    b"MATLAB 5.0": "a MATLAB file",
    b"%PDF": "a PDF file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save it as CSV or text",
    b"ARROW1": "an Arrow file; save it as Parquet",
    b"\x80\x04\x95": "a pickle, which could run code; save the arrays as .npz",
    b"\x80\x05\x95": "a pickle, which could run code; save the arrays as .npz",
    b"PK": "a ZIP archive; unpack it first",
    b"BZh": "bzip2; unpack it first",
    b"\xfd7zXZ": "xz; unpack it first",
}
"""How files begin that are known and not read, and what they are."""


def read_path(source: Source, format: str | None, options: Options) -> dict[str, Records]:
    """The records of a file or folder by part, all in "train" where the source has no parts; in the format that is named, or
    that its beginning and its suffix tell. `Records.reading` says which format it was.

    Raises:
        DataError: it is malformed.
        ValueError: no such format, none that it looks like, or a task or option that is not for the format.
    """
    name = format or recognise(source)
    if name not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, found {name!r}{nearest(name, FORMATS)}")
    if source.is_folder != (name == "folder"):
        found = "a folder" if source.is_folder else "a file"
        raise ValueError(
            f"{source}: expected {'a folder' if name == 'folder' else f'a file in the format {name}'}, found {found}"
        )
    form = FORMATS[name]
    options.check_taken(f"the format {name}", form.takes)
    if options.task is not None and options.task not in form.tasks:
        expected = " or ".join(form.tasks)
        raise ValueError(f"task: expected {expected}, which the format {name} can be read for, found {options.task}")
    found = form.read(source, options)
    parts = {"train": found} if isinstance(found, Records) else dict(found)
    written = {} if source.encoding == "utf-8" else {"encoding": source.encoding}
    return {
        part: replace(records, reading={"format": name, **written, **records.reading})
        for part, records in parts.items()
    }


def recognise(source: Source) -> str:
    """The name of the format that a source is in: that of its suffix where it looks like it, else the first that it looks
    like, else that of its suffix.

    Raises:
        DataError: a file of a kind that is not read.
        ValueError: there is no telling.
    """
    if source.is_folder:
        return "folder"
    named = next((name for name, form in FORMATS.items() if source.suffix in form.suffixes), None)
    if named is not None and FORMATS[named].looks(source):
        return named
    for name, form in FORMATS.items():
        if form.looks(source) and (named is None or name != "text"):
            return name
    if named is None or (b"\0" in source.head and named not in BINARY):
        _refuse_foreign(source)
    if named is None:
        expected = f"format: expected one of {', '.join(FORMATS)}, found none"
        raise ValueError(f"{expected}, and {source.path.name!r} does not tell")
    return named


def _refuse_foreign(source: Source) -> None:
    found = next((kind for magic, kind in FOREIGN.items() if source.head.startswith(magic)), None)
    if source.head.startswith(b"PK") and b"[Content_Types].xml" in source.head:
        found = "an Excel or Word file; save it as CSV or text"
    if found is None and b"\0" in source.head:
        even, odd = source.head[::2].count(0), source.head[1::2].count(0)
        wide = max(even, odd) > len(source.head) // 4
        found = (
            f"UTF-16; encoding {'utf-16-le' if odd > even else 'utf-16-be'} reads it"
            if wide
            else "bytes that are no text"
        )
    if found is not None:
        raise DataError(source.name, "text, a table or arrays", found)
