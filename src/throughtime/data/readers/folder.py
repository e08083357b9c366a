"""A folder: a class in each text file or subfolder; tables, one a recording; or, for language models, a text in each file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.readers.words import choose_units, symbols
from throughtime.data.records import Records

TEXT, TABLES = ".txt", (".csv", ".tsv", ".parquet", ".dat", ".data")
ABOUT = re.compile(r"(readme|licen[cs]e|copying|notice|changelog|citation|description)", re.IGNORECASE)
"""Files that tell about the others."""
LABELS = re.compile(r"(label|target|class|annotation|meta|index|truth)", re.IGNORECASE)
FEWEST = 2


def read_folder(source: Source, options: Options) -> Records:
    """Files NAME.txt: each line is a sequence of the class NAME (spaces at its ends are dropped, as they would give a file
    away, and so are empty lines). Subfolders with .txt files: each file is a text of the class that its folder is named after.
    Tables: each is a recording; its class is in a table of labels beside it, with the name or the number of the recording, or
    is the name of its subfolder. lm: each .txt file is a text. Files such as README and LICENSE are not looked at; where all
    the data is in one subfolder, that is read.

    Raises:
        DataError: no such files, a single class, a file without text, or one that is malformed.
    """
    folder = source.path
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    texts = [file for file in files if file.suffix == TEXT and not ABOUT.search(file.stem)]
    tables = [file for file in files if file.suffix in TABLES]
    inside = {
        sub.name: sorted(file for file in sub.iterdir() if file.is_file() and file.suffix in (TEXT, *TABLES))
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and not sub.name.startswith(".")
    }
    inside = {name: own for name, own in inside.items() if own}
    if options.task == "lm" and texts:
        return _language(source, texts, options)
    if len(texts) >= FEWEST and not tables and options.task != "forecast":
        return _lines(source, texts, options)
    if len(tables) >= FEWEST:
        from throughtime.data.readers.recordings import read_recordings

        return read_recordings(source, tables, None, options)
    if len(inside) >= FEWEST:
        classes = [name for name, own in inside.items() for _ in own]
        own = [file for files in inside.values() for file in files]
        if all(file.suffix == TEXT for file in own):
            return _files(source, own, classes, options)
        if all(file.suffix in TABLES for file in own):
            from throughtime.data.readers.recordings import read_recordings

            return read_recordings(source, own, classes, options)
    if len(inside) == 1 and not tables:
        name = next(iter(inside))
        found = read_folder(Source.open(folder / name, options.encoding), options)
        return replace(found, notes=(f"read from the folder {name} in it", *found.notes))
    needed = 1 if options.task == "lm" else FEWEST
    expected = f"at least {needed} files whose names end in {TEXT} or, of tables, in {', '.join(TABLES[:3])}"
    raise DataError(
        source.name,
        expected,
        f"{len(texts) or len(tables)}" + (f", and folders: {', '.join(inside)}" if inside else ""),
    )


def _language(source: Source, files: Sequence[Path], options: Options) -> Records:
    texts = [Source.open(file, options.encoding).text() for file in files]
    about: dict[str, Any] = {"names": [file.stem for file in files], "places": [str(file) for file in files]}
    told = "a folder of texts: a language model of characters"
    return Records(source.name, "lm", texts, texts if options.labelled else None, told=told, **about)


def _lines(source: Source, files: Sequence[Path], options: Options) -> Records:
    inputs: list[str] = []
    targets: list[str] = []
    places: list[str] = []
    for file in files:
        before = len(inputs)
        for number, line in Source.open(file, options.encoding).lines():
            if text := line.strip():
                inputs.append(text)
                targets.append(file.stem)
                places.append(f"{file}:{number}")
        if len(inputs) == before:
            raise DataError(file, "at least one line of text", "none")
    names = [f"{target} {place.rpartition(':')[2]}" for target, place in zip(targets, places)]
    told = f"a folder of {len(files)} classes: a text on each line of NAME{TEXT}"
    return _classes(source, inputs, targets, names, places, [file.stem for file in files], told, options)


def _files(source: Source, files: Sequence[Path], classes: Sequence[str], options: Options) -> Records:
    inputs = [Source.open(file, options.encoding).text().strip() for file in files]
    for file, text in zip(files, inputs):
        if not text:
            raise DataError(file, "a text", "none")
    names = [f"{file.parent.name}/{file.stem}" for file in files]
    told = f"a folder of {len(set(classes))} folders: a class in each, a text in each file"
    return _classes(source, inputs, classes, names, list(map(str, files)), sorted(set(classes)), told, options)


def _classes(
    source: Source,
    inputs: Sequence[str],
    targets: Sequence[str],
    names: Sequence[str],
    places: Sequence[str],
    classes: Sequence[str],
    told: str,
    options: Options,
) -> Records:
    units = options.units or choose_units(inputs[:: max(1, len(inputs) // 1000)])
    found: Any = [symbols(text, units) for text in inputs]
    return Records(
        source.name,
        "classify",
        found,
        targets if options.labelled else None,
        names,
        places,
        outputs=tuple(classes),
        field="class",
        told=f"{told}, as {units}",
        reading={"units": units},
    )
