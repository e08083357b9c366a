"""CoNLL-U: sentences of words in ten columns (Nivre et al., 2020; https://universaldependencies.org/format.html)."""

from __future__ import annotations

import re
from pathlib import Path

from throughtime.data.errors import DataError
from throughtime.data.readers.lines import numbered_lines
from throughtime.data.readers.options import Options
from throughtime.data.records import Records

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
NEED_A_VALUE = (
    "lemma",
    "upos",
    "xpos",
    "deprel",
)  # where "_" says that there is no annotation; elsewhere it is a value
SKIPPED_ID = re.compile(r"[1-9][0-9]*-[1-9][0-9]*|[0-9]+\.[1-9][0-9]*")  # several words in one, and words unwritten


def read_conllu(path: Path, options: Options) -> Records:
    """Words (column form) and, for each, a label: a column, "upos" unless told otherwise.

    A label "_" is ignored in the columns where it says that there is no annotation. Multiword tokens (1-2) and empty nodes
    (8.1) are passed over: what is tagged are the syntactic words.

    Raises:
        DataError: not such a file; tells the line and the field.
    """
    column = options.column or "upos"
    if column not in COLUMNS[2:]:
        raise DataError(f"{path}: column", f"one of {', '.join(COLUMNS[2:])}", repr(column))
    target = COLUMNS.index(column)
    inputs: list[list[str]] = []
    targets: list[list[str | None]] = []
    names: list[str] = []
    places: list[str] = []
    words: list[str] = []
    labels: list[str | None] = []
    name = ""
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            if line.startswith("# sent_id"):
                name = line.partition("=")[2].strip()
        elif line:
            fields = _fields(path, number, line, len(words))
            if fields is not None:
                if not words:
                    places.append(f"{path}:{number}")
                    names.append(name or f"line {number}")
                words.append(fields[1])
                labels.append(None if fields[target] == "_" and column in NEED_A_VALUE else fields[target])
        elif words:
            inputs.append(words)
            targets.append(labels)
            words, labels, name = [], [], ""
    if words:
        inputs.append(words)
        targets.append(labels)
    if inputs and options.labelled and not any(label is not None for sentence in targets for label in sentence):
        raise DataError(f"{path}: {column}", "labels", "'_' in every line")
    return Records(str(path), "tag", inputs, targets if options.labelled else None, names, places, field=column)


def _fields(path: Path, number: int, line: str, words: int) -> list[str] | None:
    """The ten fields of a word, None for a line that is no word; `words`: how many the sentence has so far."""
    fields = line.split("\t")
    if len(fields) != len(COLUMNS):
        raise DataError(f"{path}:{number}", "10 fields separated by tabs", str(len(fields)))
    if SKIPPED_ID.fullmatch(fields[0]):
        return None
    if fields[0] != str(words + 1):
        raise DataError(f"{path}:{number}: id", f"{words + 1}", repr(fields[0]))
    if not fields[1]:
        raise DataError(f"{path}:{number}: form", "a word", "an empty field")
    return fields
