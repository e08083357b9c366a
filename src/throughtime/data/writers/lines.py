"""Formats of lines: every line as it was, with what is predicted at its end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from throughtime.data.readers import conll, slashes
from throughtime.data.readers.fasttext import MARK
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.writers.answers import Answers


def write_conll(source: Source, options: Options, answers: Answers) -> Iterator[str]:
    """A further column on each line of a word, and a name for it where the first line has names."""
    layout = conll.layout_of(source, options)
    separator = layout.separator or " "
    cells, header = answers.by_row(), layout.header
    for number, line in source.lines():
        further = cells.get(number)
        if further is None and header and line.strip() and not line.startswith((conll.DOCUMENT_START, "#")):
            further, header = answers.columns, False
        yield line if further is None else separator.join([line.rstrip(" "), *further])


def write_conllu(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """An eleventh column; "_" where a line is no word of a sentence (several words in one, words unwritten)."""
    cells, none = answers.by_row(), ["_"] * len(answers.columns)
    for number, line in source.lines():
        yield line if not line or line.startswith("#") else "\t".join([line, *cells.get(number, none)])


def write_slashes(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """What is predicted at the end of each token, WORD/LABEL/PREDICTED."""
    mark = slashes.mark_of(source)
    labels = {int(row): own for row, own in zip(answers.rows or (), answers.labels, strict=True)}
    shares = {int(row): own for row, own in zip(answers.rows or (), answers.probabilities or (), strict=False)}
    for number, line in source.lines():
        further = list(labels.get(number, ()))
        if number in shares:
            further = [f"{label}{mark}{share:.4f}" for label, share in zip(further, shares[number], strict=True)]
        ends = iter(further)
        yield re.sub(r"\S+", lambda token, ends=ends: f"{token[0]}{mark}{next(ends)}", line)


def write_fasttext(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """The label, written as such, after a tab."""
    cells = answers.by_row()
    for number, line in source.lines():
        found = cells.get(number)
        yield line if found is None else "\t".join([line, MARK + found[0], *found[1:]])


def write_fasta(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """Of labels of characters a further line after each record, of classes a further field of its name."""
    cells, last = answers.by_row(), None
    steps = any(not isinstance(label, str) for label in answers.labels)
    for number, line in source.lines():
        if line.startswith(">"):
            if last:
                yield from last
            last = cells.get(number) if steps else None
            yield line if steps else " ".join([line, *cells.get(number, [])])
        else:
            yield line
    if last:
        yield from last


def write_ts(source: Source, _options: Options, answers: Answers) -> Iterator[str]:
    """What is predicted after a further colon."""
    cells = answers.by_row()
    for number, line in source.lines():
        yield ":".join([line, *cells.get(number, [])])
