"""Which format is given back by whom, and what any source can be given back as."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.writers import lines
from throughtime.data.writers.answers import Answers

Write = Callable[[Source, Options, Answers], Iterator[str]]


def _table(name: str) -> Write:
    """A writer of a module that needs polars."""

    def write(source: Source, options: Options, answers: Answers) -> Iterator[str]:
        from throughtime.data.writers import tables

        return getattr(tables, name)(source, options, answers)

    return write


WRITERS: dict[str, Write] = {
    "conll": lines.write_conll,
    "conllu": lines.write_conllu,
    "slashes": lines.write_slashes,
    "fasttext": lines.write_fasttext,
    "fasta": lines.write_fasta,
    "ts": lines.write_ts,
    "csv": _table("write_csv"),
    "tsv": _table("write_tsv"),
    "json": _table("write_json"),
    "parquet": _table("write_parquet"),
    "arff": _table("write_arff"),
}
"""Of each format that gives its source back."""
OTHERS = ("csv", "tsv", "conll", "jsonl")
"""What any source can be given back as."""


def write_as(form: str, answers: Answers) -> Iterator[str]:
    """Sequences by name, or their steps, and what is predicted: a table, or (conll) a word and its label on each line.

    Raises: ValueError: "conll" of labels of whole sequences.
    """
    steps = any(not isinstance(label, str) for label in answers.labels)
    if form == "conll":
        if not steps:
            raise ValueError("as: expected csv, tsv or jsonl, as each sequence has one label, found conll")
        return _blocks(answers)
    return _lines(answers, steps, "," if form == "csv" else "\t")


def _blocks(answers: Answers) -> Iterator[str]:
    for i in range(len(answers.labels)):
        yield from ("\t".join(row[2:]) for row in _rows(answers, i))
        yield ""


def _lines(answers: Answers, steps: bool, separator: str) -> Iterator[str]:
    read = [] if answers.inputs is None else ["input"]
    yield _line(["sequence", *(["step"] if steps else []), *read, *answers.columns], separator)
    for i in range(len(answers.labels)):
        yield from (_line(row, separator) for row in _rows(answers, i))


def _rows(answers: Answers, i: int) -> Iterator[list[str]]:
    """Of a sequence its name, the step and what was read there, and what is predicted."""
    label, name = answers.labels[i], answers.names[i]
    shares: Any = None if answers.probabilities is None else np.atleast_1d(answers.probabilities[i])
    read: Any = None if answers.inputs is None else answers.inputs[i]
    if isinstance(label, str):
        whole = [] if read is None else [read if isinstance(read, str) else " ".join(read)]
        yield [name, *whole, label, *([] if shares is None else [f"{shares[0]:.4f}"])]
        return
    for step, own in enumerate(label):
        shown = [str(step + 1), *([] if read is None else [read[step]])]
        yield [name, *shown, own, *([] if shares is None else [f"{shares[step]:.4f}"])]


def _line(cells: list[str], separator: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="").writerow(cells)
    return out.getvalue()
