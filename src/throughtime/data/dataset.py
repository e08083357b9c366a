"""A data set: up to three parts of sequences, and the encoding that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from throughtime.data.encoding import Encoding
from throughtime.data.sequences import Sequences
from throughtime.untrusted.showing import short


@dataclass(frozen=True, repr=False)
class Dataset:
    """Sequences to train on, and those held out.

    Attributes:
        name: what to call it.
        encoding: task, names of inputs and outputs, scaling.
        train: the part that the encoding was made from.
        valid: the part that tells when to stop; None: there is none.
        test: the part that is looked at once; None: there is none.
        told: what the source was taken for, in words.
        notes: what else there is to tell about it, in sentences.
        reading: how it was read: arguments of `load`, with which it reads the same again.

    Raises:
        ValueError: a symbol, label or number of features that does not fit the encoding.
    """

    name: str
    encoding: Encoding
    train: Sequences
    valid: Sequences | None = None
    test: Sequences | None = None
    told: str = ""
    notes: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, sequences in self.parts.items():
            if sequences.symbolic != (self.encoding.vocabulary is not None):
                expected, found = ("features", "symbols") if sequences.symbolic else ("symbols", "features")
                raise ValueError(f"{part}.x: expected {expected}, found {found}")
            sizes = self.encoding.sizes
            columns = sequences.x.shape[1] if sequences.symbolic and sequences.x.ndim > 1 else 1
            if sizes and columns != len(sizes):
                raise ValueError(f"{part}.x: expected {len(sizes)} columns of symbols, found {columns}")
            sequences.check_range(sizes if len(sizes) > 1 else self.n, self.k, part)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name} {len(part):,} sequences of {int(part.lengths.sum()):,} steps" for name, part in self.parts.items()
        )
        return f"Dataset({short(self.name)!r}, {self.task}, n={self.n}, k={self.k}: {parts})"

    @property
    def parts(self) -> dict[str, Sequences]:
        """The parts there are, by name, in the order train, valid, test."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def task(self) -> str:
        """tag, classify, lm or forecast."""
        return self.encoding.task

    @property
    def n(self) -> int:
        """Number of inputs: symbols or features."""
        return self.encoding.n

    @property
    def k(self) -> int:
        """Number of outputs: classes, or values to forecast."""
        return self.encoding.k
