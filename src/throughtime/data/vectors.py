"""Pretrained vectors of words: text files as word2vec, GloVe and fastText write them, plain or gzipped.

A line is a word and its numbers, between single spaces; a first line of two whole numbers, as word2vec and fastText write,
tells how many words and how many numbers. Only the rows of words in a vocabulary are kept: memory follows the vocabulary.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from throughtime.data.errors import DataError
from throughtime.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Vectors:
    """The vectors of some words of a vocabulary.

    Attributes:
        rows: int64 [R], the integers of the words.
        values: float32 [R, size].
    """

    rows: np.ndarray
    values: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers a vector has."""
        return self.values.shape[1]

    def put_into(self, table: nn.Embedding, *, frozen: bool = False) -> None:
        """Start `table` from these vectors; the other words draw from their mean and deviation. `frozen`: it is not learnt."""
        with torch.no_grad():
            table.weight.normal_(float(self.values.mean()), float(self.values.std()))
            table.weight[torch.from_numpy(self.rows)] = torch.from_numpy(self.values).to(table.weight)
        table.weight.requires_grad_(not frozen)


def read_vectors(path: Path, vocabulary: Vocabulary, size: int | None = None) -> Vectors:
    """The vectors that a file has for the words of `vocabulary`; for one that it lacks, those of its lower case.

    Args: size: what the file must have; None: what it has.

    Raises:
        DataError: a row of another size or with something else than finite numbers (tells the line), no word of the vocabulary.
        OSError: the file cannot be read.
    """
    lowered: dict[str, list[str]] = {}
    for word in vocabulary.symbols:
        lowered.setdefault(word.lower(), []).append(word)
    found: dict[str, np.ndarray] = {}
    exact: set[str] = set()
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            place = f"{path}:{number}"
            word, _, rest = raw.rstrip(b"\r\n ").partition(b" ")
            if number == 1 and word.isdigit() and rest.isdigit():
                continue
            symbol = word.decode("utf-8", "replace")
            if size is None:
                size = len(rest.split())
            wanted = [symbol] if symbol in vocabulary else []
            wanted += [own for own in lowered.get(symbol, ()) if own not in exact and own != symbol]
            if not wanted:
                continue
            values = _numbers(place, rest, size)
            exact.update([symbol] if symbol in vocabulary else [])
            found |= dict.fromkeys(wanted, values)
    if not found:
        raise DataError(str(path), "a vector for at least one word of the data", "none")
    words = list(found)
    return Vectors(vocabulary.encode(words), np.stack([found[word] for word in words]))


def _numbers(place: str, text: bytes, size: int) -> np.ndarray:
    parts = text.split()
    if len(parts) != size:
        raise DataError(place, f"{size} numbers after the word", str(len(parts)))
    try:
        values = np.array(parts, np.float64)
    except ValueError:
        raise DataError(place, "numbers after the word", repr(text[:40].decode("utf-8", "replace"))) from None
    if not np.isfinite(values).all():
        raise DataError(place, "finite numbers", "NaN or infinity")
    return values.astype(np.float32)
