"""Plain text, for language models."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.readers.words import CHARACTERS, symbols
from throughtime.data.records import Records

SUFFIXES = (".txt", ".text", ".md", ".log", ".py", ".abc", "")
LONG_ENOUGH = 100  # bytes of text in a file whose name tells nothing
FEWEST_SORTED, SORTED, MOST_WORDS = 20, 0.95, 3
"""Lines, the share of them that come after the one before in the alphabet, and their words, that make a list of names."""


def looks_like_text(source: Source) -> bool:
    """Whether it is text at all."""
    return b"\0" not in source.head and (source.suffix in SUFFIXES or len(source.head) >= LONG_ENOUGH)


def read_text(source: Source, options: Options) -> Records:
    """A file as one sequence of characters, or of words (`units`). Lines in alphabetical order are shuffled (`shuffle`), as
    the end of such a list, which is held out, is unlike its beginning.

    Raises:
        DataError: an empty file, or a byte that is not UTF-8.
    """
    text = source.text()
    shuffle = options.shuffle if options.shuffle is not None else options.labelled and _alphabetical(text.split("\n"))
    if shuffle:
        text = shuffled(text)
    units = options.units or CHARACTERS
    inputs = [symbols(text, units)]
    return Records(
        str(source),
        "lm",
        inputs,
        inputs if options.labelled else None,
        [source.path.name],
        [str(source)],
        told=f"plain text: a language model of {units}",
        notes=("the lines are in alphabetical order, and were shuffled",)
        if shuffle and options.shuffle is None
        else (),
        reading={"units": units, "shuffle": bool(shuffle)},
    )


def shuffled(text: str) -> str:
    """The lines in another order, always the same."""
    lines = text.rstrip("\n").split("\n")
    order = np.random.default_rng(0).permutation(len(lines))
    return "\n".join(lines[row] for row in order) + "\n" * (len(text) - len(text.rstrip("\n")))


def _alphabetical(lines: list[str]) -> bool:
    keys = [line.strip().casefold() for line in lines if line.strip()]
    if sum(len(key.split()) for key in keys) > MOST_WORDS * len(keys) or not all(key[0].isalpha() for key in keys):
        return False  # a log, whose lines begin with the time, is in its own order
    after = sum(one <= other for one, other in pairwise(keys))
    return len(keys) >= FEWEST_SORTED and len(set(keys)) > len(keys) // 2 and after >= SORTED * (len(keys) - 1)
