"""From options to data: what a model is trained on, measured on, and asked about."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.options import DataOptions, TrainOptions

if TYPE_CHECKING:
    from throughtime.data import Dataset, Sequences
    from throughtime.learning.run import Run

USUAL = "python-source"
PLACES = ("source", "valid", "test")
READING = tuple(field.name for field in fields(DataOptions) if field.name != "source")


def training_data(options: TrainOptions) -> tuple[TrainOptions, Dataset]:
    """The data to learn from; and the options with the choices made that tell which it was, wherever it is read again.

    Raises: ValueError: a source that cannot be read, or is malformed.
    """
    from throughtime import data
    from throughtime.data.builtin import BUILTIN
    from throughtime.data.sources import SPLIT

    options = replace(options, source=options.source or USUAL)
    split = options.split
    if split is None and options.source not in BUILTIN and options.valid is None and options.test is None:
        split = SPLIT
    places = {name: absolute(getattr(options, name)) for name in PLACES}
    for name, place in places.items():
        if place is not None and re.search("[\ud800-\udfff]", place):  # config.toml could not tell it
            raise ValueError(f"{name}: expected a path whose name is UTF-8, found {place!r}")
    dataset = data.load(**places, split=split, seed=options.seed, task=options.task, **options.given())  # type: ignore[arg-type]
    return replace(options, **places, split=split, task=dataset.task), dataset


def held_out(run: Run, options: DataOptions) -> tuple[Dataset, str]:
    """A source as `run` reads it, by default that of its training, and the name of the part that it has not learnt from.

    Raises: ValueError: a source that cannot be read, or not by this model.
    """
    dataset = _load(run, options, labelled=True)
    return dataset, list(dataset.parts)[-1]


def inputs(run: Run, options: DataOptions) -> Sequences:
    """The sequences of a source without their labels, which need not be there.

    Raises: ValueError: a source that cannot be read, or not by this model.
    """
    from throughtime.data.readers.formats import FORMATS

    path = Path(options.source or "")
    vocabulary = run.encoding.vocabulary
    tagged = {suffix for form in FORMATS.values() if run.encoding.task in form.tasks for suffix in form.suffixes}
    if path.is_file() and run.reads_characters and options.format is None and path.suffix not in tagged:
        assert vocabulary is not None
        return replace(run.encode(read_text(path)), names=(str(path),))
    return list(_load(run, options, labelled=False).parts.values())[-1]


def _load(run: Run, options: DataOptions, labelled: bool) -> Dataset:
    from throughtime import data

    trained_on = {name: run.config[name] for name in READING if name in run.config}
    if options.source is None:
        own = {name: run.config[name] for name in (*PLACES, "seed") if name in run.config}
        split = run.config.get("split")
        given: dict[str, Any] = trained_on | own | {"split": None if split is None else tuple(split)} | options.given()
    elif Path(options.source).suffix == Path(str(run.config.get("source"))).suffix:
        given = trained_on | options.given() | {"source": options.source}
    else:
        given = options.given() | {"source": options.source}
    return data.load(**given, encoding=run.encoding, labelled=labelled)


def absolute(source: str | None) -> str | None:
    """A path that means the same wherever one is; the names of built-in sources as they are."""
    if source is None or not Path(source).exists():
        return source
    return str(Path(source).absolute())


def read_text(path: Path) -> str:
    """What is in a text file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8; tells the byte.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        found = f"{error.object[error.start]:#04x}"
        raise ValueError(f"{path}, byte {error.start}: expected UTF-8, found {found}") from error
