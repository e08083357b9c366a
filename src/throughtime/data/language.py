"""Text for language models: the input is each character, the target the one after it."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.data.dataset import Dataset
from throughtime.data.encoding import Encoding
from throughtime.data.sequences import Sequences
from throughtime.data.vocabulary import Vocabulary

Document = tuple[str, str]  # name, text


def language_dataset(
    name: str, train: Sequence[Document], valid: Sequence[Document], test: Sequence[Document], min_count: int = 1
) -> Dataset:
    """A data set for the task "lm". Characters rarer than `min_count` in the training part become the unknown symbol,
    which is also a class to predict.

    Raises:
        ValueError: a document of fewer than two characters.
    """
    vocabulary = Vocabulary.from_sequences((text for _, text in train), min_count)
    encoding = Encoding("lm", vocabulary.symbols, vocabulary=vocabulary)
    parts = [language_sequences(documents, vocabulary) if documents else None for documents in (train, valid, test)]
    assert parts[0] is not None
    return Dataset(name, encoding, parts[0], parts[1], parts[2])


def language_sequences(documents: Sequence[Document], vocabulary: Vocabulary) -> Sequences:
    """Inputs text[:-1] and targets text[1:] of each document.

    Raises:
        ValueError: a document of fewer than two characters.
    """
    for name, text in documents:
        if len(text) < 2:
            raise ValueError(f"{name}: expected at least 2 characters, found {len(text)}")
    codes = [vocabulary.encode(text) for _, text in documents]
    return Sequences.from_arrays(
        [code[:-1] for code in codes],
        [code[1:] for code in codes],
        names=[name for name, _ in documents],
        texts=[text for _, text in documents],
    )
