"""Pretrained vectors of words from text files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from throughtime.data import DataError, Vocabulary
from throughtime.data.vectors import read_vectors

WORDS = Vocabulary(("<unknown>", "the", "The", "cat", "Oslo"), "<unknown>")
GLOVE = "the 1 2.5\nunheard 7 7\ncat -1 3e-1\nThe 9 9\noslo 4 4\n"


@pytest.mark.parametrize("header", ["", "5 2\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_rows_of_the_vocabulary_alone(tmp_path, header, zipped):
    path = tmp_path / ("vectors.gz" if zipped else "vectors.txt")
    content = (header + GLOVE).encode()
    path.write_bytes(gzip.compress(content) if zipped else content)
    vectors = read_vectors(path, WORDS)
    found = dict(zip(WORDS.decode(vectors.rows), vectors.values.tolist(), strict=True))
    assert found == {"the": [1, 2.5], "cat": [-1, pytest.approx(0.3)], "The": [9, 9], "Oslo": [4, 4]}
    table = torch.nn.Embedding(len(WORDS), 2)
    vectors.put_into(table, frozen=True)
    assert table.weight[1].tolist() == [1, 2.5]
    assert not table.weight.requires_grad
    assert bool(table.weight.isfinite().all())


@pytest.mark.parametrize(
    ("content", "size", "expected"),
    [
        ("the 1 2\ncat 1 2 3\n", None, ":2: expected 2 numbers after the word, found 3"),
        ("the 1 2\n", 3, ":1: expected 3 numbers after the word, found 2"),
        ("the 1 two\n", None, ":1: expected numbers after the word, found '1 two'"),
        ("the 1 nan\n", None, ":1: expected finite numbers, found NaN or infinity"),
        ("dog 1 2\n", None, ": expected a vector for at least one word of the data, found none"),
    ],
)
def test_rows_that_are_wrong_are_refused(tmp_path: Path, content, size, expected):
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_vectors(path, WORDS, size)
    assert str(caught.value) == f"{path}{expected}"
