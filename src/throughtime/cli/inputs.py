"""What a trained model is given to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime.data import Dataset, Sequences
    from throughtime.learning.run import Run


def held_out(run: Run, source: str | None) -> tuple[Dataset, str, Sequences]:
    """The data set of a source, and the name and sequences of the part of it that `run` has not learnt from.

    Raises: ValueError: a source that there is not, or one that the run cannot read.
    """
    from throughtime import data

    dataset = data.load(source or str(run.config.get("source")))
    if dataset.encoding != run.encoding:
        raise ValueError(f"{dataset.name}: expected what {run.path} was trained to read, found other symbols or labels")
    name = list(dataset.parts)[-1]
    return dataset, name, dataset.parts[name]
