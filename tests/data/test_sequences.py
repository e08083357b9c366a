# pyright: reportOptionalMemberAccess=false
import numpy as np
import pytest

from throughtime.data import Dataset, Encoding, Sequences, Standardizer, Vocabulary


def test_symbols_with_a_label_for_each_step():
    part = Sequences.from_arrays([[3, 1, 2], np.array([4], np.int32)], [[0, -100, 1], [2]], names=["a", "b"])
    assert part.symbolic
    assert part.per_step
    assert len(part) == 2
    assert part.lengths.tolist() == [3, 1]
    assert (part.x.dtype, part.y.dtype) == (np.int64, np.int64)
    assert [x.tolist() for x in part.inputs] == [[3, 1, 2], [4]]
    assert [y.tolist() for y in part.targets] == [[0, -100, 1], [2]]


def test_features():
    part = Sequences.from_arrays(np.ones((2, 5, 3)), [1, 0])
    assert part.x.shape == (10, 3)
    assert part.x.dtype == np.float32
    assert not part.per_step
    assert part.targets == [1, 0]
    series = Sequences.from_arrays([[0.5, 1.5], [2.5]], [[1.0, np.nan], [3.0]], dtype=np.float64)
    assert series.x.shape == series.y.shape == (3, 1)
    assert series.x.dtype == np.float64
    assert Sequences.from_arrays([[1.0], [2.0, 3.0]], [0.5, 0.25]).y.tolist() == [[0.5], [0.25]]
    assert Sequences.from_arrays([[1.0], [2.0]], [[0.5, 0.25], [1, 2]], per_step=False).y.shape == (2, 2)


def test_take():
    part = Sequences.from_arrays([[1], [2, 3], [4, 5, 6]], [[1], [2, 3], [4, 5, 6]], names="abc", texts="def")
    taken = part.take([2, 0, 2])
    assert [x.tolist() for x in taken.inputs] == [y.tolist() for y in taken.targets] == [[4, 5, 6], [1], [4, 5, 6]]
    assert (taken.names, taken.texts) == (("c", "a", "c"), ("f", "d", "f"))
    assert Sequences.from_arrays([[1], [2]], [7, 8]).take([1]).y.tolist() == [8]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], None, "x: expected at least one sequence, found none"),
        ([[1], []], None, r"x\[1\]( \(second\))?: expected at least one step, found none"),
        ([[1], [2]], [[1]], "y: expected targets for 2 sequences, as many as x has, found 1"),
        ([[1], [2, 3]], [[1], [2]], r"y\[1\] \(second\): expected 2 steps, as many as x\[1\] has, found 1"),
        ([[1.0], [2.0, np.nan]], None, r"x\[1\] \(second\), step 1: expected a finite number, found nan"),
        ([[1.0], [[1.0, 2.0]]], None, r"x\[1\] \(second\): expected 1 columns, as x\[0\] has, found 2"),
        (
            [[[1.0, 2.0]], [[1.0, np.inf]]],
            None,
            r"x\[1\] \(second\), step 0, column 1: expected a finite number, found inf",
        ),
        ([[1], [2, -3]], None, r"x\[1\] \(second\), step 1: expected a symbol of 0 or more, found -3"),
        ([[1], [2]], [[1], [-1]], r"y\[1\] \(second\), step 0: expected a label of 0 or more, or -100, found -1"),
        ([[1], [2]], [3, -1], r"y\[1\] \(second\): expected a label of 0 or more, or -100, found -1"),
        ([[1.0], [2.0]], [[1.0], [np.inf]], r"y\[1\] \(second\), step 0: expected a finite number, or NaN"),
        ([[[1, 2], [3]], [1]], None, r"x\[0\] \(first\): expected rows of one length, found rows of different lengths"),
        ([1, 2], None, r"x\[0\] \(first\): expected one or two dimensions, found 0"),
    ],
)
def test_bad_values(x, y, message):
    with pytest.raises(ValueError, match=message):
        Sequences.from_arrays(x, y, names=["first", "second"][: len(x)])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (["ab", "c"], r"x\[0\]: expected numbers, found <U2"),
        ([[1, 2], [1.5]], r"x\[1\]: expected integers, as x\[0\] has, found numbers with a decimal point"),
        ([[1 + 2j]], r"x\[0\]: expected numbers, found complex128"),
    ],
)
def test_bad_types(x, message):
    with pytest.raises(TypeError, match=message):
        Sequences.from_arrays(x)


def test_names_must_be_one_for_each():
    with pytest.raises(ValueError, match="names: expected 2, one for each sequence, found 1"):
        Sequences.from_arrays([[1], [2]], names=["a"])


TAGS = Encoding("tag", ("x", "y"), vocabulary=Vocabulary(("a", "b", "c")))


def test_a_dataset_knows_its_sizes_and_parts():
    part = Sequences.from_arrays([[0, 2]], [[1, 0]])
    data = Dataset("toy", TAGS, part, test=part)
    assert (data.n, data.k, data.task, list(data.parts)) == (3, 2, "tag", ["train", "test"])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0], [1, 3]], [[0], [1, 0]], r"test.x\[1\], step 1: expected a symbol from 0 to 2, found 3"),
        ([[0], [1, 2]], [[0], [1, 2]], r"test.y\[1\], step 1: expected a label from 0 to 1, or -100, found 2"),
        ([[0.0], [1.0]], [[0], [1]], "test.x: expected symbols, found features"),
    ],
)
def test_a_part_that_does_not_fit_the_encoding(x, y, message):
    with pytest.raises(ValueError, match=message):
        Dataset("toy", TAGS, Sequences.from_arrays([[0]], [[0]]), test=Sequences.from_arrays(x, y))


def test_number_of_features_must_fit():
    part = Sequences.from_arrays([[[1.0, 2.0]]], [0])
    with pytest.raises(ValueError, match=r"train.x: expected 3 features, found 2"):
        Dataset("toy", Encoding("classify", ("a",), features=("f", "g", "h")), part)


def test_encoding_round_trip_and_refusals():
    scaled = Encoding("forecast", ("y",), features=("a", "b"), input_scale=Standardizer((0.5, 0.1), (1.0, 3.0)))
    for encoding in (TAGS, scaled):
        assert Encoding.from_json(encoding.to_json()) == encoding
    with pytest.raises(ValueError, match="task: expected one of tag, classify, lm, forecast, found 'guess'"):
        Encoding("guess", ("a",), features=("f",))
    with pytest.raises(ValueError, match="expected a vocabulary or the names of features, found neither"):
        Encoding("tag", ("a",))
    with pytest.raises(ValueError, match="labels: expected at least one, no two alike"):
        Encoding("tag", ("a", "a"), features=("f",))
    with pytest.raises(ValueError, match="expected an object of version 1, found 'list'"):
        Encoding.from_json([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected the key 'labels'"):
        Encoding.from_json({"version": 1, "task": "tag"})


def test_standardizer():
    values = np.array([[1.0, 5.1, 2.0, np.nan], [3.0, 5.1, np.nan, np.nan], [8.0, 5.1, 4.0, np.nan]], np.float32)
    scaler = Standardizer.fit(values)
    assert scaler.mean == pytest.approx((4.0, 5.1, 3.0, 0.0), rel=1e-6)
    assert scaler.scale == pytest.approx((np.sqrt(26 / 3), 1.0, 1.0, 1.0), rel=1e-6)
    scaled = scaler.apply(values)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], (values[:, 0] - 4) / np.sqrt(26 / 3), rtol=1e-6)
    np.testing.assert_allclose(scaler.invert(scaled), values, rtol=1e-6)
    constant = np.full((3, 1), 0.1)  # the sum of which, and so the mean, is rounded
    assert Standardizer.fit(constant).scale == (1.0,)
    assert abs(Standardizer.fit(constant).apply(constant)).max() < 1e-15
