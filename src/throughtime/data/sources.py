"""From a source to a data set: a built-in name, a file or folder, or an object in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from throughtime.data.builtin import BUILTIN
from throughtime.data.dataset import Dataset
from throughtime.data.encoding import TASKS, Encoding
from throughtime.data.errors import nearest
from throughtime.data.preparation import MIN_COUNT, prepare
from throughtime.data.readers.formats import read_path
from throughtime.data.readers.objects import parts_of, read_object
from throughtime.data.readers.options import Options
from throughtime.data.records import Records, divide

SPLIT = (0.1, 0.1)


def load(
    source: Any,
    *,
    valid: Any = None,
    test: Any = None,
    encoding: Encoding | None = None,
    labelled: bool = True,
    split: tuple[float, float] | None = None,
    seed: int = 0,
    min_count: int = MIN_COUNT,
    format: str | None = None,
    task: str | None = None,
    column: str | None = None,
    id: str | None = None,
    time: str | None = None,
    features: Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
) -> Dataset:
    """The data set of a source.

    Args:
        source: a built-in name (python-source, digits, pydoc-topics); the path of a file or folder; or an object: a pandas
            or polars frame, a Hugging Face data set, a tuple (X, y) or (X, y, lengths) of lists or arrays, or a mapping of
            such with the keys train, valid and test.
        valid, test: sources of the held-out parts, read as `source` is.
        encoding: of a model that is to read this source: symbols, labels and scaling are the model's, not made anew.
        labelled: False: read inputs alone, to predict; needs an `encoding`.
        split: the shares of the sequences that become the valid and the test part. None: (0.1, 0.1), but none where
            `valid`, `test` or an `encoding` is given. A forecast's series are split in time.
        seed: of the split.
        min_count: symbols that the training part has fewer times become the unknown symbol.
        format: one of conllu, conll, csv, tsv, parquet, ts, npz, text, folder; None: from the suffix.
        task: tag, classify, lm or forecast; None: the one that the data is plainly made for.
        column: CoNLL-U, CoNLL: the column with the labels, by name (default upos) or by number (default the last).
        id, time, features, target: tables: the columns, see `readers.long_form.read_long_form`.

    Raises:
        DataError: a source that is malformed: one line, with the file, the line and the field.
        ValueError: no such source, format or task, or an option that the format does not take; names the nearest.
        ImportError: scikit-learn (digits) or polars (tables) is not installed.
        OSError: a file that cannot be read.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task: expected one of {', '.join(TASKS)}, found {task!r}{nearest(task, TASKS)}")
    if encoding is not None and task not in (None, encoding.task):
        raise ValueError(f"task: expected {encoding.task}, which the encoding is for, found {task}")
    if encoding is None and not labelled:
        raise ValueError("encoding: expected that of a model, as inputs alone tell no labels, found None")
    options = Options(
        task=task if encoding is None else encoding.task,
        column=column,
        id=id,
        time=time,
        features=None if features is None else tuple(features),
        target=(target,) if isinstance(target, str) else None if target is None else tuple(target),
        symbolic=None if encoding is None else encoding.vocabulary is not None,
        labelled=labelled,
    )
    sources = _sources(source, valid, test)
    if isinstance(source, str) and source in BUILTIN:
        if len(sources) > 1 or split or format:
            raise ValueError(f"source: expected no valid, test, split or format with {source}, found one of them")
        parts = _builtin(source, options)
    else:
        parts = {"train": _read(sources.pop("train"), format, options)}
        options = replace(options, task=parts["train"].task, symbolic=parts["train"].features is None)
        parts |= {part: _read(held_out, format, options) for part, held_out in sources.items()}
        if split is None and len(parts) == 1 and encoding is None:
            split = SPLIT
    if split is not None:
        if len(parts) > 1:
            raise ValueError("split: expected None where valid or test are given, found shares")
        parts = divide(parts["train"], *split, seed=seed)
    name = Path(source).name if isinstance(source, (str, os.PathLike)) else "data"
    return prepare(name, **parts, min_count=min_count, encoding=encoding)


def _sources(source: Any, valid: Any, test: Any) -> dict[str, Any]:
    """The source of each part that has one of its own."""
    sources = parts_of(source)
    if sources is None:
        sources = {"train": source}
    for part, given in (("valid", valid), ("test", test)):
        if given is not None:
            if part in sources:
                raise ValueError(f"{part}: expected None, as the source has a part of this name, found a source")
            sources[part] = given
    return sources


def _builtin(name: str, options: Options) -> dict[str, Records]:
    options.check_taken(name, ())
    parts = BUILTIN[name]()
    if options.task not in (None, parts["train"].task):
        raise ValueError(f"task: expected {parts['train'].task}, which {name} is for, found {options.task}")
    return parts if options.labelled else {part: replace(records, targets=None) for part, records in parts.items()}


def _read(source: Any, format: str | None, options: Options) -> Records:
    if not isinstance(source, (str, os.PathLike)):
        if format is not None:
            raise ValueError(f"format: expected None where the source is no file, found {format!r}")
        return read_object(source, options)
    path = Path(source)
    if not path.exists():
        expected = f"a file, a folder or one of {', '.join(BUILTIN)}"
        raise ValueError(f"source: expected {expected}, found {str(source)!r}{nearest(str(source), BUILTIN)}")
    return read_path(path, format, options)
