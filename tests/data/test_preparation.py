"""Records to numbers: several columns of symbols, missing values."""

import numpy as np
import pytest

from throughtime.data import Encoding
from throughtime.data.preparation import prepare
from throughtime.data.records import Records


def records(inputs, targets, **more):
    names = [str(i) for i in range(len(inputs))]
    return Records("a", "tag", inputs, targets, names, names, **more)


def test_several_columns_of_symbols_have_a_vocabulary_each():
    inputs = [(["the", "cat"], ["D", "N"]), (["the"], ["D"]), (["a", "the", "cat"], ["D", "D", "N"])]
    data = prepare("a", records(inputs, [["x", "y"], ["x"], ["y", "y", "x"]]))
    assert [vocabulary.symbols for vocabulary in data.encoding.vocabularies] == [
        ("<unknown>", "the", "cat"),
        ("<unknown>", "D", "N"),
    ]
    assert data.train.x.tolist() == [[1, 1], [2, 2], [1, 1], [0, 1], [1, 1], [2, 2]]
    assert (data.train.symbolic, data.n) == (True, 3)
    assert data.train.words[2] == ["a", "the", "cat"]
    assert data.train.take([2]).words == (["a", "the", "cat"],)
    assert Encoding.from_json(data.encoding.to_json()) == data.encoding
    cut = records(inputs, [["x", "y"], ["x"], ["y", "y", "x"]]).stretch(0.5, 1)
    assert cut.inputs == [(["cat"], ["N"]), (["the"], ["D"]), (["cat"], ["N"])]
    with pytest.raises(ValueError, match="a: expected 2 columns of symbols, found 1"):
        prepare("a", records([["the"]], [["x"]]), encoding=data.encoding)


NAN = np.nan
GAPS = [np.array([[NAN, 1], [4, 3], [NAN, 5]]), np.array([[8.0, 3]])]


@pytest.mark.parametrize(("fill", "expected"), [("last", [0, -1, -1, 1]), ("mean", [0, -1, 0, 1])])
def test_missing_values_are_filled_and_flagged(fill, expected):
    given = records(GAPS, [["u", "v", "u"], ["v"]], features=("p", "q"), fill=fill)
    data = prepare("a", given)
    assert (data.n, data.encoding.flagged) == (3, ("p",))
    assert data.train.x[:, 0].tolist() == expected  # mean 6, deviation 2
    assert data.train.x[:, 2].tolist() == [1, 0, 1, 0]
    assert Encoding.from_json(data.encoding.to_json()) == data.encoding
    again = prepare("a", records([np.array([[8.0, NAN]])], None, features=("p", "q")), encoding=data.encoding)
    assert again.train.x.tolist() == [[1, 0, 0]]  # q lacked nothing in the training, and has no flag


def test_an_encoding_of_before_reads_as_it_did():
    data = prepare("a", records(GAPS, [["u", "v", "u"], ["v"]], features=("p", "q"), fill="mean"))
    old = {name: value for name, value in data.encoding.to_json().items() if name not in ("further", "fill", "flagged")}
    encoding = Encoding.from_json(old)
    assert (encoding.fill, encoding.flagged, encoding.n) == ("mean", (), 2)
    assert encoding.encode_features(GAPS[0])[:, 0].tolist() == [0, -1, 0]
