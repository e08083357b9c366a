"""`pydoc-topics`: the chapters of Python's language reference that `help()` shows, character by character."""

from __future__ import annotations

from throughtime.data.records import Records


def pydoc_topics() -> dict[str, Records]:
    """The texts of `pydoc_data.topics`, to predict each next character.

    A sequence is a topic, about 80 of them, 465,000 characters in all; they depend a little on the version of Python. In
    the order of their lengths, of every ten topics the fifth is valid, the tenth is test.

    Raises:
        ImportError: this Python comes without `pydoc_data`.
    """
    from pydoc_data.topics import topics

    names = sorted(topics, key=lambda name: (len(topics[name]), name))
    parts = {"train": [name for i, name in enumerate(names) if i % 5 != 4], "valid": names[4::10], "test": names[9::10]}
    return {
        part: Records(
            source="pydoc-topics",
            task="lm",
            inputs=[topics[name] for name in chosen],
            targets=[topics[name] for name in chosen],
            names=chosen,
            places=[f"pydoc-topics: {name}" for name in chosen],
        )
        for part, chosen in parts.items()
    }
