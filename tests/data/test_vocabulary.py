import json

import numpy as np
import pytest

from throughtime.data import Vocabulary

WORDS = Vocabulary(("<unknown>", "the", "cat"), unknown="<unknown>")
LETTERS = Vocabulary(("a", "b", "σ"))


def test_encode_and_decode_are_inverse():
    codes = LETTERS.encode("abσσa")
    assert codes.dtype == np.int64
    assert codes.tolist() == [0, 1, 2, 2, 0] == LETTERS.encode(["a", "b", "σ", "σ", "a"]).tolist()
    assert "".join(LETTERS.decode(codes)) == "abσσa"
    assert LETTERS.encode("").shape == (0,)


def test_unknown_symbols_map_to_the_unknown_one():
    assert WORDS.encode(["the", "dog", "cat"]).tolist() == [1, 0, 2]
    assert Vocabulary.from_sequences(["aab"]).encode("ab\U0010ffffc\0").tolist() == [1, 2, 0, 0, 0]


@pytest.mark.parametrize("sequence", ["abaz", ["a", "b", "a", "z"], "aba\U0010ffff", ["a", "b", "a", "ab"]])
def test_strict_encoding_names_symbol_and_step(sequence):
    with pytest.raises(ValueError, match="step 3: expected a symbol of the vocabulary of 3, found ") as error:
        LETTERS.encode(sequence)
    assert str(error.value).endswith(repr(sequence[3]))


def test_decode_names_step():
    with pytest.raises(ValueError, match="step 1: expected an integer from 0 to 2, found 3"):
        LETTERS.decode([0, 3])
    with pytest.raises(ValueError, match=r"codes: expected integers \[T\], found float64 \[2\]"):
        LETTERS.decode(np.array([0.5, 1.0]))


def test_from_sequences_orders_by_count_then_code_point_and_drops_the_rare():
    vocabulary = Vocabulary.from_sequences([["b", "a", "c", "c"], ["b", "a", "rare"]], min_count=2)
    assert vocabulary.symbols == ("<unknown>", "a", "b", "c")
    assert Vocabulary.from_sequences(["ba"], unknown=False) == Vocabulary(("a", "b"))
    assert Vocabulary.from_sequences([["<unknown>", "a"]]).encode(["<unknown>"]).tolist() == [0]


def test_json_round_trip():
    for vocabulary in (WORDS, LETTERS):
        assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected an object with a list 'symbols'"),
        ({"version": 1}, "expected an object with a list 'symbols'"),
        ({"version": 2, "symbols": ["a"]}, "expected version 1, found 2"),
        ({"version": 1, "symbols": ["a"], "unknown": "b"}, "unknown: expected one of the 1 symbols, found 'b'"),
        ({"version": 1, "symbols": ["a", "b", "a"]}, "expected each symbol once, found 'a' 2 times"),
        ({"version": 1, "symbols": []}, "expected at least one symbol, found none"),
    ],
)
def test_bad_json(data, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_json(data)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"symbols\[1\]: expected a string, found 1"):
        Vocabulary(("a", 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_count: expected at least 1, found 0"):
        Vocabulary.from_sequences(["a"], min_count=0)
