"""From options to data: what a model is trained on, measured on, and asked about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.cells import own_cell
from throughtime.cli.options import DataOptions, SourceOptions, TrainOptions, check_kinds

if TYPE_CHECKING:
    from throughtime.data import Dataset, Sequences
    from throughtime.data.readers.options import Options
    from throughtime.data.readers.source import Source
    from throughtime.learning.run import Run

USUAL = "python-source"
PLACES = ("source", "valid", "test")
FILES = (*PLACES, "vectors")
READING = tuple(field.name for field in fields(DataOptions) if field.name != "source")
DIVIDING = ("split", "split_by", "group", "deduplicate", "shuffle", "seed")
"""Options that tell what is held out."""
CHOICES = ("column", "inputs", "units", "rows", "id", "time", "features", "target")
"""Options that say what a reader otherwise finds."""
NAMED = ("column", "inputs")
"""The same of formats of words."""
STDIN = "-"
TABLES = (".csv", ".tsv", ".parquet")


def training_data(options: TrainOptions) -> tuple[TrainOptions, Dataset]:
    """The data to learn from; and the options with the choices made that tell which it was, wherever it is read again.

    Raises: ValueError: a source that cannot be read, or is malformed.
    """
    if options.resume and STDIN in (options.source, options.valid, options.test):
        raise ValueError("--resume: expected a training on files, as standard input cannot be read again, found -")
    vectors = absolute(options.vectors)
    _check_path("vectors", vectors)
    predict = None if options.predict == "auto" else options.predict
    model = {"characters": options.characters, "predict": predict, "season": options.season}
    dataset, chosen = read_source(options, before=options.resume, **model)
    return replace(options, vectors=vectors, **chosen), dataset


def read_source(options: SourceOptions, before: bool = False, **model: Any) -> tuple[Dataset, dict[str, Any]]:
    """The data of a source, and the options that were chosen by reading it.

    Args:
        before: whether the options may be those of a training that was begun by version 0.1.
        model: what `data.load` is told about the model.

    Raises: ValueError: a source that cannot be read, or is malformed.
    """
    from throughtime import data
    from throughtime.data.sources import SPLIT

    places = {name: absolute(getattr(options, name)) for name in PLACES} | {"source": absolute(options.source or USUAL)}
    for name, place in places.items():
        _check_path(name, place)
    dividing = {name: value for name in DIVIDING if (value := getattr(options, name)) is not None}
    given = options.given() | dividing
    given = arguments(_as_before(given, str(places["source"]), options.task) if before else given)
    dataset = data.load(**places, task=options.task, **model, **given)
    split = options.split or (SPLIT if "split_by" in dataset.reading else None)
    return dataset, {**places, "split": split, "task": dataset.task, **dataset.reading}


def _check_path(name: str, place: str | None) -> None:
    if place is not None and re.search("[\ud800-\udfff]", place):  # config.toml could not tell it
        raise ValueError(f"{name}: expected a path whose name is UTF-8, found {place!r}")


def describe(dataset: Dataset) -> list[str]:
    """What the source was taken for and how to choose otherwise, and what else is to be told about it: a line each."""
    flags = choices(dataset)
    return [f"read as {dataset.told}; {', '.join(flags)} change it", *dataset.notes] if flags else list(dataset.notes)


def choices(dataset: Dataset) -> list[str]:
    """The flags that say how the source is read; none for a built-in one."""
    from throughtime.data.readers.formats import FORMATS

    form = FORMATS.get(dataset.reading.get("format", ""))
    return [] if form is None else ["--format", *(f"--{name}" for name in CHOICES if name in form.takes)]


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Options as arguments of `data.load`, where the encoding is another thing."""
    return {"text_encoding" if name == "encoding" else name: value for name, value in given.items()}


def open_run(path: Path, cell: str | None = None) -> Run:
    """The run in a folder, with options that can be those of a training. `cell`: package.module:Class of a model of such.

    Raises: ValueError: it is not a run, or a file of it is wrong; the message names it.
    """
    from throughtime.learning.run import load

    run = load(path, cell=own_cell(cell))
    check_kinds(run.config, path / "config.toml")
    return run


def held_out(run: Run, options: DataOptions) -> tuple[Dataset, str]:
    """A source as `run` reads it, by default that of its training, and the name of the part that it has not learnt from.

    Raises: ValueError: a source that cannot be read, or not by this model.
    """
    dataset = _load(run, options, labelled=True)
    return dataset, list(dataset.parts)[-1]


def inputs(run: Run, options: DataOptions) -> tuple[Sequences, Given | None]:
    """The sequences of a source without their labels, which need not be there, and the source, to be given back; None: it is
    a text, or that of the training.

    Raises: ValueError: a source that cannot be read, or not by this model.
    """
    from throughtime.data.readers.formats import FORMATS
    from throughtime.data.readers.options import TABLE_OPTIONS, Options
    from throughtime.data.readers.source import Source

    path = Path(options.source or "")
    vocabulary = run.encoding.vocabulary
    tagged = {suffix for form in FORMATS.values() if run.encoding.task in form.tasks for suffix in form.suffixes}
    config = run.config
    as_trained = config.get("format", "text") != "text" and _alike(str(path), str(config.get("source")))
    plain = options.format is None and path.suffix not in tagged and not as_trained
    if path.is_file() and run.reads_characters and plain:
        assert vocabulary is not None
        return replace(run.encode(Source.open(path, options.encoding).text()), names=(str(path),)), None
    if options.source is None or (options.source != STDIN and not path.exists()):
        return list(_load(run, options, labelled=False).parts.values())[-1], None
    source = Source.open(options.source, options.encoding)
    dataset = _load(run, options, labelled=False, source=source)
    reading = {name: value for name, value in dataset.reading.items() if name in TABLE_OPTIONS or name in NAMED}
    return dataset.train, Given(source, dataset.reading["format"], Options(**reading))


@dataclass(frozen=True)
class Given:
    """A source that was read: its format, and how."""

    source: Source
    format: str
    options: Options


def _load(run: Run, options: DataOptions, labelled: bool, source: Source | None = None) -> Dataset:
    from throughtime import data

    config = _as_before(run.config, str(run.config.get("source")), run.encoding.task)
    trained_on = {name: config[name] for name in READING if name in config}
    if options.source is None:
        if STDIN in [config.get(name) for name in PLACES]:
            raise ValueError("source: expected a file, as the training read standard input, found none")
        own = {name: config[name] for name in (*PLACES, *DIVIDING) if name in config}
        split = config.get("split")
        given: dict[str, Any] = trained_on | own | {"split": None if split is None else tuple(split)} | options.given()
    elif STDIN in (options.source, config.get("source")) or _alike(options.source, str(config.get("source"))):
        given = trained_on | options.given() | {"source": options.source}
    else:
        given = options.given() | {"source": options.source}
    if source is not None:  # standard input is read once
        given |= {"source": source}
    return data.load(**arguments(given), encoding=run.encoding, labelled=labelled)


def _alike(one: str, other: str) -> bool:
    """Whether two files have the same suffix, but for one that says that they are packed."""
    suffixes = [Path(name.removesuffix(".gz")).suffix for name in (one, other)]
    return suffixes[0] == suffixes[1]


def _as_before(config: Mapping[str, Any], source: str, task: str | None) -> dict[str, Any]:
    """The options of a training; those of version 0.1, which did not tell the format, with what it did without asking."""
    if "format" in config:
        return dict(config)
    before: dict[str, Any] = {} if task in ("lm", "forecast") or "split" not in config else {"split_by": "sequence"}
    if Path(source).suffix in TABLES:
        before |= {"rows": "steps"}
    if task == "lm" and Path(source).suffix == ".txt":
        before |= {"shuffle": False, "format": "text"}
    return before | dict(config)


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
