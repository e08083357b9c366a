"""CoNLL-U: sentences of words in ten columns (Nivre et al., 2020; https://universaldependencies.org/format.html)."""

from __future__ import annotations

import re

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
NEED_A_VALUE = (
    "lemma",
    "upos",
    "xpos",
    "deprel",
)  # where "_" says that there is no annotation; elsewhere it is a value
SKIPPED_ID = re.compile(r"[1-9][0-9]*-[1-9][0-9]*|[0-9]+\.[1-9][0-9]*")  # several words in one, and words unwritten


def looks_like_conllu(source: Source) -> bool:
    """Whether the first lines are words in ten columns, the first of them a number, or comments."""
    lines = [line for line in source.sample if line and not line.startswith("#")]
    return bool(lines) and all(
        len(fields := line.split("\t")) == len(COLUMNS) and fields[0][:1].isdecimal() for line in lines
    )


def read_conllu(source: Source, options: Options) -> Records:
    """Words (column form, or the columns `inputs`) and, for each, a label: a column, "upos" unless told otherwise.

    A label "_" is ignored in the columns where it says that there is no annotation. Multiword tokens (1-2) and empty nodes
    (8.1) are passed over: what is tagged are the syntactic words.

    Raises:
        DataError: not such a file; tells the line and the field.
    """
    column = options.column or "upos"
    if column not in COLUMNS[2:]:
        raise DataError(f"{source}: column", f"one of {', '.join(COLUMNS[2:])}", repr(column))
    target = COLUMNS.index(column)
    chosen = options.inputs or ("form",)
    for given in chosen:
        if given not in COLUMNS[1:] or given == column:
            raise DataError(
                f"{source}: inputs", f"columns of {', '.join(COLUMNS[1:])}, other than {column}", repr(given)
            )
    read = [COLUMNS.index(name) for name in chosen]
    inputs: list[list[list[str]]] = []
    targets: list[list[str | None]] = []
    names: list[str] = []
    places: list[str] = []
    words: list[list[str]] = []
    labels: list[str | None] = []
    rows: list[list[int]] = []
    name = ""
    for number, line in source.lines():
        if line.startswith("#"):
            if line.startswith("# sent_id"):
                name = line.partition("=")[2].strip()
        elif line:
            fields = _fields(source, number, line, len(words))
            if fields is not None:
                if not words:
                    places.append(f"{source}:{number}")
                    names.append(name or f"line {number}")
                    rows.append([])
                words.append([fields[own] for own in read])
                rows[-1].append(number)
                labels.append(None if fields[target] == "_" and column in NEED_A_VALUE else fields[target])
        elif words:
            inputs.append(words)
            targets.append(labels)
            words, labels, name = [], [], ""
    if words:
        inputs.append(words)
        targets.append(labels)
    if inputs and options.labelled and not any(label is not None for sentence in targets for label in sentence):
        raise DataError(f"{source}: {column}", "labels", "'_' in every line")
    columns = [tuple(list(own) for own in zip(*sentence)) for sentence in inputs]
    return Records(
        str(source),
        "tag",
        columns if len(read) > 1 else [own[0] for own in columns],
        targets if options.labelled else None,
        names,
        places,
        field=options.column or "upos",
        rows=None if options.labelled else rows,
        told=f"CoNLL-U: words in {', '.join(chosen)}, label in {options.column or 'upos'}",
        reading={"column": options.column or "upos", "inputs": chosen},
    )


def _fields(source: Source, number: int, line: str, words: int) -> list[str] | None:
    """The ten fields of a word, None for a line that is no word; `words`: how many the sentence has so far."""
    fields = line.split("\t")
    if len(fields) != len(COLUMNS):
        raise DataError(f"{source}:{number}", "10 fields separated by tabs", str(len(fields)))
    if SKIPPED_ID.fullmatch(fields[0]):
        return None
    if fields[0] != str(words + 1):
        raise DataError(f"{source}:{number}: id", f"{words + 1}", repr(fields[0]))
    if not fields[1]:
        raise DataError(f"{source}:{number}: form", "a word", "an empty field")
    return fields
