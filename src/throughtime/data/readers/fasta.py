"""FASTA: ">name" and a sequence of letters; with a second string of labels, as long as the first, or a class in the name."""

from __future__ import annotations

import re
from typing import Any

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

ENERGY = re.compile(r"\s+\(\s*[-+]?[0-9.]+\)$")  # after the second string of a folded RNA
MOST_CLASSES = 20


def looks_like_fasta(source: Source) -> bool:
    """Whether the first line begins with ">" and the next one does not."""
    lines = [line for line in source.sample if line.strip()]
    return len(lines) > 1 and lines[0].startswith(">") and not lines[1].startswith(">") and " " not in lines[1].strip()


def read_fasta(source: Source, options: Options) -> Records:
    """Sequences of characters. tag: the second half of a record's lines is a label for each character. classify: the last
    field of each name, after "|" or a space, is its class. lm: the characters to come.

    Raises:
        DataError: a name without a sequence, or strings of different lengths; tells the line.
    """
    headers, strings, places = _records(source)
    halves = [_halves(lines) for lines in strings]
    paired = all(half is not None for half in halves)
    classes = _classes(headers)
    task = options.task or ("tag" if paired else "classify" if classes else "lm")
    names = [
        header.split()[0].split("|")[0] if header.split() else f"record {i}" for i, header in enumerate(headers, 1)
    ]
    rows = None if options.labelled else [int(place.rpartition(":")[2]) for place in places]
    about: dict[str, Any] = {"names": names, "places": places, "rows": rows}
    if task == "tag":
        if options.labelled and not paired:
            row = next(row for row, half in enumerate(halves) if half is None)
            raise DataError(
                places[row], "a sequence and a string of labels of its length", " and ".join(strings[row])[:60]
            )
        pairs = [half or ("".join(lines), "") for half, lines in zip(halves, strings)]
        targets = [list(labels) for _, labels in pairs] if options.labelled else None
        told = "FASTA: a sequence and a string with a label for each character"
        return Records(str(source), task, [text for text, _ in pairs], targets, told=told, **about)
    texts = ["".join(lines) for lines in strings]
    if task == "classify":
        if options.labelled and not classes:
            raise DataError(source.name, 'a class at the end of each name, after "|" or a space', "none")
        told = "FASTA: sequences of characters, the class at the end of each name"
        return Records(str(source), task, texts, classes if options.labelled else None, told=told, **about)
    told = "FASTA: sequences of characters"
    return Records(str(source), task, texts, texts if options.labelled else None, told=told, **about)


def _records(source: Source) -> tuple[list[str], list[list[str]], list[str]]:
    """Of each record the name, the lines of letters, and where it is."""
    headers: list[str] = []
    strings: list[list[str]] = []
    places: list[str] = []
    for number, line in source.lines():
        if line.startswith(">"):
            headers.append(line[1:].strip())
            strings.append([])
            places.append(f"{source}:{number}")
        elif line.strip():
            if not headers:
                raise DataError(f"{source}:{number}", "a name after '>'", repr(line[:40]))
            strings[-1].append(ENERGY.sub("", line.strip()))
    for lines, place in zip(strings, places):
        if not lines:
            raise DataError(place, "a sequence after its name", "none")
    if not headers:
        raise DataError(source.name, "at least one sequence", "none")
    return headers, strings, places


def _halves(lines: list[str]) -> tuple[str, str] | None:
    """The sequence and its labels; None: the lines are not two strings of one length."""
    middle = len(lines) // 2
    text, labels = "".join(lines[:middle]), "".join(lines[middle:])
    likely = len(lines) % 2 == 0 and len(text) == len(labels) and len(set(labels)) <= max(8, len(set(text)))
    return (text, labels) if likely else None


def _classes(headers: list[str]) -> list[str] | None:
    """The last field of each name, where these are classes: few, and each more than once."""
    for separator in ("|", None):
        fields = [header.split(separator) for header in headers]
        if all(len(own) > 1 for own in fields):
            found = [own[-1].strip() for own in fields]
            if 1 < len(set(found)) <= min(MOST_CLASSES, len(found) // 2):
                return found
    return None
