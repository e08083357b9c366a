"""`pydoc-topics`: the chapters of Python's language reference that `help()` shows, character by character."""

from __future__ import annotations

from throughtime.data.dataset import Dataset
from throughtime.data.language import language_dataset


def pydoc_topics() -> Dataset:
    """The texts of `pydoc_data.topics`, to predict each next character.

    A sequence is a topic, about 80 of them, 465,000 characters in all; they depend a little on the version of Python. In
    the order of their lengths, of every ten topics the fifth is valid, the tenth is test.

    Raises:
        ImportError: this Python comes without `pydoc_data`.
    """
    from pydoc_data.topics import topics

    documents = sorted(topics.items(), key=lambda topic: (len(topic[1]), topic[0]))
    return language_dataset(
        "pydoc-topics",
        train=[document for i, document in enumerate(documents) if i % 5 != 4],
        valid=documents[4::10],
        test=documents[9::10],
        min_count=2,
    )
