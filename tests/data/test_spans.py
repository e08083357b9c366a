"""Labels of spans: their scheme, and the best sequence without a forbidden transition against all sequences there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from throughtime.data.spans import decode, may_follow, scheme_of, transitions

IOB = ("O", "B-a", "I-a", "B-b", "I-b")
IOBES = ("O", "B-a", "I-a", "E-a", "S-a")


@pytest.mark.parametrize(
    ("labels", "sequences", "expected"),
    [
        (IOB, [["B-a", "I-a", "O", "B-b"]], "IOB2"),
        (IOB, [["I-a", "I-a", "O", "I-b", "B-b"]], "IOB1"),
        (IOB, [["B-a", "I-b"], ["O", "B-a"]], None),
        (IOBES, [["O", "S-a", "B-a", "I-a", "E-a"]], "IOBES"),
        (IOBES, [["B-a", "O"]], None),
        (IOB, [["B-a", None, "I-a"]], "IOB2"),
        (("NOUN", "VERB"), [["NOUN"]], None),
        (("O", "B-a", "X"), [["O"]], None),
    ],
)
def test_the_scheme_is_that_of_the_training_part(labels, sequences, expected):
    assert scheme_of(labels, sequences) == expected


@pytest.mark.parametrize(("labels", "scheme"), [(IOB, "IOB2"), (IOB, "IOB1"), (IOBES, "IOBES")])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_what_is_decoded_is_the_best_sequence_that_may_be(labels, scheme, T):
    scores = np.random.default_rng(T).normal(size=(T, len(labels)))
    allowed = transitions(labels, scheme)

    def fits(path: tuple[int, ...]) -> bool:
        named = ["O", *(labels[i] for i in path), "O"]
        return all(may_follow(one, other, scheme) for one, other in itertools.pairwise(named))

    paths = [path for path in itertools.product(range(len(labels)), repeat=T) if fits(path)]
    best = max(paths, key=lambda path: sum(scores[t, i] for t, i in enumerate(path)))
    assert decode(scores, allowed).tolist() == list(best)
