"""Tagged text: words and their labels in one token, word/TAG, a sentence on each line (Brown corpus, taggers' output)."""

from __future__ import annotations

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

MARKS = ("/", "_", "|")
FEWEST, TAGGED, MOST_LABELS = 6, 0.95, 0.5
"""Tokens that are enough to recognise the format; the share of them that has a label; labels are at most this share of them."""


def looks_like_slashes(source: Source) -> bool:
    """Whether nearly every token is a word and a label, and there are few labels."""
    tokens = " ".join(source.sample).split()
    return len(tokens) >= FEWEST and _mark(tokens) is not None


def read_slashes(source: Source, options: Options) -> Records:
    """Words and, for each, what stands after the last "/" (or "_" or "|", where that is in every token) of its token.

    Raises:
        DataError: a token without a label; tells the line and the token.
    """
    mark = mark_of(source)
    inputs: list[list[str]] = []
    targets: list[list[str]] = []
    places: list[str] = []
    rows: list[int] = []
    for number, line in source.lines():
        pairs = [token.rpartition(mark) for token in line.split()]
        if not pairs:
            continue
        if options.labelled:
            for position, (word, _, label) in enumerate(pairs, 1):
                if not (word and label):
                    raise DataError(f"{source}:{number}: token {position}", f"WORD{mark}LABEL", repr(word + label))
        inputs.append([word or token for word, _, token in pairs])
        targets.append([label for _, _, label in pairs])
        places.append(f"{source}:{number}")
        rows.append(number)
    names = [f"line {place.rpartition(':')[2]}" for place in places]
    told = f"tagged text: WORD{mark}LABEL, a sentence on each line"
    if not options.labelled:
        return Records(str(source), "tag", inputs, None, names, places, rows=rows, told=told)
    return Records(str(source), "tag", inputs, targets, names, places, told=told)


def mark_of(source: Source) -> str:
    """What separates the words from their labels."""
    return _mark(" ".join(source.sample).split()) or MARKS[0]


def _mark(tokens: list[str]) -> str | None:
    """What separates the words from their labels; None: there is no such mark."""
    for mark in MARKS:
        pairs = [token.rpartition(mark) for token in tokens]
        labels = [label for word, _, label in pairs if word and label]
        few = len(set(labels)) <= max(2, MOST_LABELS * len(tokens))
        if len(labels) >= TAGGED * len(tokens) and few and all(not label.isdecimal() for label in labels):
            return mark
    return None
