"""From the name of a source to a data set."""

from __future__ import annotations

import difflib

from throughtime.data.builtin import BUILTIN
from throughtime.data.dataset import Dataset


def load(source: str) -> Dataset:
    """The data set that `source` names.

    Args:
        source: the name of a built-in data set: python-source, digits, pydoc-topics.

    Raises:
        ValueError: there is no such source; names those there are and the nearest.
        ImportError: digits: scikit-learn is not installed.
    """
    if source in BUILTIN:
        return BUILTIN[source]()
    nearest = difflib.get_close_matches(source, BUILTIN, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ValueError(f"source: expected one of {', '.join(BUILTIN)}, found {source!r}{hint}")
