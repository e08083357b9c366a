"""Texts as symbols: characters, or words; and names of stretches of a text as labels of its words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from throughtime.data.readers.options import UNITS

CHARACTERS, WORDS = UNITS
WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")
"""A word, with apostrophes and hyphens inside, or a single other character."""
FEW_WORDS = 3
"""Texts of so many words on average are read as words, shorter ones (names, proteins) as characters."""


def split_words(text: str) -> list[str]:
    """The words and punctuation marks of a text."""
    return WORD.findall(text)


def choose_units(texts: Sequence[str]) -> str:
    """Characters or words, by what the texts are like."""
    some = texts[:1000]
    return WORDS if sum(len(text.split()) for text in some) >= FEW_WORDS * len(some) else CHARACTERS


def symbols(text: str, units: str) -> str | list[str]:
    """A text as `Records.inputs` has it."""
    return split_words(text) if units == WORDS else text


def tag_spans(text: str, spans: Sequence[tuple[int, int, str]]) -> tuple[list[str], list[str]]:
    """The words of a text and for each a label, B-NAME for the first in a span, I-NAME for further ones, else O.

    Args: spans: (begin, end, name) in characters; where two overlap, the one that begins first counts.
    """
    words, labels = [], []
    ordered, last = sorted(spans), None
    for match in WORD.finditer(text):
        inside = next((span for span in ordered if span[0] < match.end() and match.start() < span[1]), None)
        words.append(match.group())
        if inside is None:
            labels.append("O")
            last = None
        else:
            labels.append(f"{'I' if last == inside else 'B'}-{inside[2]}")
            last = inside
    return words, labels


def spans_of(text: str, labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """The inverse of `tag_spans`: (begin, end, name) in characters, from a label for each word of a text.

    E- and S- end a span, too.
    """
    spans: list[tuple[int, int, str]] = []
    going = False
    for match, label in zip(WORD.finditer(text), labels, strict=True):
        letter, _, name = label.partition("-")
        if going and letter in ("I", "E") and spans[-1][2] == name:
            spans[-1] = (spans[-1][0], match.end(), name)
        elif name:
            spans.append((match.start(), match.end(), name))
        going = bool(name) and letter in ("B", "I")
    return spans
