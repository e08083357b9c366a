"""From a source to a data set: a built-in name, a file or folder, or an object in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from throughtime.core.notation import check_seed
from throughtime.data import splits
from throughtime.data.builtin import BUILTIN
from throughtime.data.dataset import Dataset
from throughtime.data.encoding import FILLS, TASKS, Encoding
from throughtime.data.errors import nearest
from throughtime.data.preparation import MIN_COUNT, prepare
from throughtime.data.readers.formats import read_path
from throughtime.data.readers.objects import parts_of, read_object
from throughtime.data.readers.options import ROWS, UNITS, Options
from throughtime.data.readers.source import STDIN, Source
from throughtime.data.records import Records

SPLIT = (0.1, 0.1)


def load(
    source: Any,
    *,
    valid: Any = None,
    test: Any = None,
    encoding: Encoding | None = None,
    labelled: bool = True,
    split: tuple[float, float] | None = None,
    split_by: str | None = None,
    deduplicate: bool = False,
    seed: int = 0,
    min_count: int = MIN_COUNT,
    characters: bool = False,
    predict: str | None = None,
    season: int | None = None,
    format: str | None = None,
    task: str | None = None,
    column: str | None = None,
    inputs: str | Sequence[str] | None = None,
    units: str | None = None,
    id: str | None = None,
    time: str | Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    rows: str | None = None,
    header: bool | None = None,
    sort: bool | None = None,
    group: str | None = None,
    missing: Any = None,
    fill: str | None = None,
    shuffle: bool | None = None,
    text_encoding: str | None = None,
) -> Dataset:
    """The data set of a source.

    What is not stated is found: the format from the beginning of the file and its suffix, the parts of a table's columns from
    their names and the first rows, the task from the data. `Dataset.told` and `notes` say what was found, `reading` the
    arguments that read the same again.

    Args:
        source: a built-in name (python-source, digits, pydoc-topics); the path of a file or folder, "-" for standard input; or
            an object: a pandas or polars frame, or a list of them, a sequence each; a pandas Series; a Hugging Face data set;
            a tuple (X, y) or (X, y, lengths) of lists, arrays or tensors; X alone; or a mapping of such with the keys train,
            valid and test.
        valid, test: sources of the held-out parts, read as `source` is.
        encoding: of a model that is to read this source: symbols, labels and scaling are the model's, not made anew.
        labelled: False: read inputs alone, to predict; needs an `encoding`.
        split: the shares of the sequences that become the valid and the test part. None: (0.1, 0.1), but none where
            `valid`, `test` or an `encoding` is given.
        split_by: "time", "sequence", "class" or "group", see `splits.divide`; None: what suits the data.
        deduplicate: whether a sequence that occurs several times is kept once, rather held out than learnt.
        seed: of the split.
        min_count: symbols that the training part has fewer times become the unknown symbol.
        characters: encode a word with the characters that spell it, too, for a model that reads them.
        predict, season: forecasts: "level", "change" or "seasonal-change" over so many steps, see `differences`; None: what a
            closed form does best on the validation part.
        format: one of `readers.formats.FORMATS`: conllu, conll, csv, tsv, parquet, ts, npz, json, …; None: it is recognised.
        task: tag, classify, lm or forecast; None: the one that the data is plainly made for.
        column, inputs, units, id, time, features, target, rows, header, sort, group, missing, fill, shuffle: how files and
            tables are read, see `readers.options.Options`.
        text_encoding: what text is written in; None: UTF-8, or what a byte order mark says.

    Raises:
        DataError: a source that is malformed, or plainly not sequences with something to learn: one line, with the file, the
            line and the field.
        ValueError: no such source, format or task, or an option that the format does not take; names the nearest.
        ImportError: scikit-learn (digits) or polars (tables) is not installed.
        OSError: a file that cannot be read.
    """
    for name, value, choices in (
        ("task", task, TASKS),
        ("units", units, UNITS),
        ("rows", rows, ROWS),
        ("fill", fill, FILLS),
    ):
        if value is not None and value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {value!r}{nearest(value, choices)}")
    splits.check_choices(split, split_by)
    check_seed(seed)
    if encoding is not None and task not in (None, encoding.task):
        raise ValueError(f"task: expected {encoding.task}, which the encoding is for, found {task}")
    if encoding is None and not labelled:
        raise ValueError("encoding: expected that of a model, as inputs alone tell no labels, found None")
    options = Options(
        task=task if encoding is None else encoding.task,
        column=column,
        inputs=_names(inputs),
        units=units,
        id=id,
        time=_names(time),
        features=_names(features),
        target=_names(target),
        rows=rows,
        header=header,
        sort=sort,
        group=group,
        missing=_cells(missing),
        fill=fill,
        shuffle=shuffle,
        encoding=text_encoding,
        symbolic=None if encoding is None else encoding.vocabulary is not None,
        labelled=labelled or split is not None,  # what is held out may depend on the labels
    )
    parts = _parts(source, valid, test, split, format, options)
    first, way = parts["train"], None
    if encoding is None:
        splits.check_sensible(first)
    whole = len(parts) == 1 and not (isinstance(source, str) and source in BUILTIN)
    if split is None and whole and encoding is None:
        split = SPLIT
    if split is not None and not whole:
        raise ValueError("split: expected None where valid or test are given, found shares")
    notes = list(first.notes)
    if deduplicate:
        parts, lost = splits.deduplicate(parts)
        notes.append(f"{lost:,} sequences that occur elsewhere are left out")
    if split is not None:
        parts, way = splits.divide(parts["train"], *split, seed=seed, by=split_by)
    if encoding is None and (sentence := splits.tell_shared(parts)):
        notes.append(sentence)
    if not labelled:
        parts = {part: replace(records, targets=None) for part, records in parts.items()}
    source = source.path if isinstance(source, Source) else source
    name = source if isinstance(source, (str, os.PathLike)) else "data"
    name = "standard input" if os.fspath(name) == STDIN else Path(name).name
    dataset = prepare(
        name, **parts, min_count=min_count, characters=characters, predict=predict, season=season, encoding=encoding
    )
    reading = dict(first.reading) | ({} if way is None else {"split_by": way})
    return replace(dataset, told=first.told, notes=tuple(notes), reading=reading)


def _names(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return None if given is None else (given,) if isinstance(given, str) else tuple(given)


def _cells(given: Any) -> tuple[str, ...] | None:
    """The cells that stand for missing numbers, as strings."""
    if given is None:
        return None
    return (str(given),) if isinstance(given, (str, int, float)) else tuple(map(str, given))


def _parts(source: Any, valid: Any, test: Any, split: Any, format: str | None, options: Options) -> dict[str, Records]:
    """The records of each part that the sources have."""
    sources = parts_of(source)
    if sources is None:
        sources = {"train": source}
    for part, given in (("valid", valid), ("test", test)):
        if given is not None:
            if part in sources:
                raise ValueError(f"{part}: expected None, as the source has a part of this name, found a source")
            sources[part] = given
    if isinstance(source, str) and source in BUILTIN:
        if len(sources) > 1 or split or format:
            raise ValueError(f"source: expected no valid, test, split or format with {source}, found one of them")
        return _builtin(source, options)
    parts = _read(sources.pop("train"), format, options)
    if sources and len(parts) > 1:
        raise ValueError(f"{next(iter(sources))}: expected None, as the source has parts of its own, found a source")
    first = parts["train"]
    chosen = {name: value for name, value in first.reading.items() if name not in ("format", "encoding")}
    options = replace(options, **chosen, task=first.task, symbolic=first.features is None)
    for part, held_out in sources.items():
        same = format or (first.reading.get("format") if _alike(source, held_out) else None)
        parts[part] = _read(held_out, same, options)["train"]
    return {part: parts[part] for part in ("train", "valid", "test") if part in parts}


def _alike(one: Any, other: Any) -> bool:
    """Whether two sources are files of one suffix."""
    paths = isinstance(one, (str, os.PathLike)) and isinstance(other, (str, os.PathLike))
    return paths and Path(one).suffix == Path(other).suffix and Path(one).is_dir() == Path(other).is_dir()


def _builtin(name: str, options: Options) -> dict[str, Records]:
    options.check_taken(name, ())
    parts = BUILTIN[name]()
    if options.task not in (None, parts["train"].task):
        raise ValueError(f"task: expected {parts['train'].task}, which {name} is for, found {options.task}")
    return parts if options.labelled else {part: replace(records, targets=None) for part, records in parts.items()}


def _read(source: Any, format: str | None, options: Options) -> dict[str, Records]:
    if isinstance(source, Source):
        return read_path(source, format, options)
    if not isinstance(source, (str, os.PathLike)):
        if format is not None:
            raise ValueError(f"format: expected None where the source is no file, found {format!r}")
        return {"train": read_object(source, options)}
    path = Path(source)
    if os.fspath(source) != STDIN and not path.exists():
        expected = f"a file, a folder or one of {', '.join(BUILTIN)}"
        raise ValueError(f"source: expected {expected}, found {str(source)!r}{nearest(str(source), BUILTIN)}")
    return read_path(Source.open(source, options.encoding), format, options)
