"""Symbols (characters, words) and the integers 0 … K−1 that stand for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

UNKNOWN = "<unknown>"
JSON_VERSION = 1


@dataclass(frozen=True)
class Vocabulary:
    """An immutable one-to-one mapping between K symbols and the integers 0 … K−1.

    Args:
        symbols: the K symbols, in the order of their integers; no two alike.
        unknown: the one among them that stands for every symbol that is not in the vocabulary; None: there is no such
            symbol, and encoding is strict.

    Raises:
        ValueError: no symbol at all, a symbol that occurs twice, or an `unknown` that is not among the symbols.
        TypeError: a symbol that is not a string.
    """

    symbols: tuple[str, ...]
    unknown: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if not self.symbols:
            raise ValueError("symbols: expected at least one symbol, found none")
        for position, symbol in enumerate(self.symbols):
            if not isinstance(symbol, str):
                raise TypeError(f"symbols[{position}]: expected a string, found {symbol!r}")
        if len(self._index) < len(self.symbols):
            symbol, count = Counter(self.symbols).most_common(1)[0]
            raise ValueError(f"symbols: expected each symbol once, found {symbol!r} {count} times")
        if self.unknown is not None and self.unknown not in self._index:
            raise ValueError(f"unknown: expected one of the {len(self)} symbols, found {self.unknown!r}")

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], min_count: int = 1, unknown: bool = True) -> Vocabulary:
        """The symbols that occur at least `min_count` times, most frequent first (equal counts: by code point).

        With `unknown`, the symbol "<unknown>" comes first, as integer 0; in the data it means itself.
        """
        if min_count < 1:
            raise ValueError(f"min_count: expected at least 1, found {min_count}")
        kept = [
            symbol for symbol, count in counts.items() if count >= min_count and not (unknown and symbol == UNKNOWN)
        ]
        kept.sort(key=lambda symbol: (-counts[symbol], symbol))
        return cls((UNKNOWN, *kept), UNKNOWN) if unknown else cls(tuple(kept))

    @classmethod
    def from_sequences(cls, sequences: Iterable[Sequence[str]], min_count: int = 1, unknown: bool = True) -> Vocabulary:
        """As `from_counts`, from the sequences themselves; a string is a sequence of characters."""
        counts: Counter[str] = Counter()
        for sequence in sequences:
            counts.update(sequence)
        return cls.from_counts(counts, min_count, unknown)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._index

    def encode(self, sequence: Sequence[str]) -> np.ndarray:
        """The integers of a sequence of T symbols: int64 [T]. A string is a sequence of characters.

        Raises:
            ValueError: a symbol that is not in the vocabulary, where there is no unknown symbol; names it and its step.
        """
        if isinstance(sequence, str) and self._code_points is not None:
            points = np.frombuffer(sequence.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            codes = self._code_points[np.minimum(points, len(self._code_points) - 1)]
        else:
            index, absent = self._index, self._absent
            codes = np.fromiter((index.get(symbol, absent) for symbol in sequence), np.int64, len(sequence))
        if self.unknown is None and len(codes) and codes.min() < 0:
            step = int(np.argmax(codes < 0))
            raise ValueError(
                f"step {step}: expected a symbol of the vocabulary of {len(self)}, found {sequence[step]!r}"
            )
        return codes

    def decode(self, codes: Iterable[int] | np.ndarray) -> list[str]:
        """The symbols of integers; the inverse of `encode`, but for symbols that became the unknown one.

        Raises:
            ValueError: an integer that is not in 0 … K−1; names it and its step.
        """
        numbers = np.asarray(codes if isinstance(codes, np.ndarray) else list(codes))
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise ValueError(f"codes: expected integers [T], found {numbers.dtype} {list(numbers.shape)}")
        wrong = (numbers < 0) | (numbers >= len(self))
        if wrong.any():
            step = int(np.argmax(wrong))
            raise ValueError(f"step {step}: expected an integer from 0 to {len(self) - 1}, found {numbers[step]}")
        return [self.symbols[code] for code in numbers.tolist()]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for `json.dump`; `from_json` is its inverse."""
        return {"version": JSON_VERSION, "symbols": list(self.symbols), "unknown": self.unknown}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary that `to_json` described.

        Raises:
            ValueError: not such a dictionary, or one of another version.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("symbols"), list):
            raise ValueError("vocabulary: expected an object with a list 'symbols', found none")
        if data.get("version") != JSON_VERSION:
            raise ValueError(f"vocabulary: expected version {JSON_VERSION}, found {data.get('version')!r}")
        return cls(tuple(data["symbols"]), data.get("unknown"))

    @cached_property
    def of_characters(self) -> bool:
        """Whether every symbol but the unknown one is a single character."""
        return all(len(symbol) == 1 for symbol in self.symbols if symbol != self.unknown)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: code for code, symbol in enumerate(self.symbols)}

    @cached_property
    def _absent(self) -> int:
        return -1 if self.unknown is None else self._index[self.unknown]

    @cached_property
    def _code_points(self) -> np.ndarray | None:
        """For a vocabulary of characters: the integer of each code point, the last entry for all beyond; else None."""
        if not self.of_characters:
            return None
        characters = [symbol for symbol in self.symbols if symbol != self.unknown]
        table = np.full(max(map(ord, characters), default=-1) + 2, self._absent, np.int64)
        for symbol in characters:
            table[ord(symbol)] = self._index[symbol]
        return table
