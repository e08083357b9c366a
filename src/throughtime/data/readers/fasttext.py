"""fastText's format for classification: a text on each line, after (or before) its label, __label__NAME."""

from __future__ import annotations

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.readers.words import choose_units, symbols
from throughtime.data.records import Records

MARK = "__label__"
SHARE = 0.8


def looks_like_fasttext(source: Source) -> bool:
    """Whether most lines have a label."""
    lines = [line for line in source.sample if line.strip()]
    return bool(lines) and sum(MARK in line for line in lines) >= SHARE * len(lines)


def read_fasttext(source: Source, options: Options) -> Records:
    """Texts and the first label of each.

    Raises:
        DataError: a line without a label, or without a text.
    """
    texts: list[str] = []
    targets: list[str] = []
    places: list[str] = []
    rows: list[int] = []
    several = 0
    for number, line in source.lines():
        tokens = line.split()
        if not tokens:
            continue
        labels = [token.removeprefix(MARK) for token in tokens if token.startswith(MARK)]
        text = " ".join(token for token in tokens if not token.startswith(MARK))
        if options.labelled and not labels:
            raise DataError(f"{source}:{number}", f"a label, {MARK}NAME", repr(line[:40]))
        if not text:
            raise DataError(f"{source}:{number}", "a text beside the label", "none")
        several += len(labels) > 1
        texts.append(text)
        targets.append(labels[0] if labels else "")
        places.append(f"{source}:{number}")
        rows.append(number)
    units = options.units or choose_units(texts)
    names = [f"line {place.rpartition(':')[2]}" for place in places]
    return Records(
        str(source),
        "classify",
        [symbols(text, units) for text in texts],
        targets if options.labelled else None,
        names,
        places,
        rows=None if options.labelled else rows,
        told=f"fastText: a text and its label on each line, texts as {units}",
        notes=(f"{several} lines have several labels, of which the first is learnt",) if several else (),
        reading={"units": units},
    )
