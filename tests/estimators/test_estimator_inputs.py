"""Everything X and y may be, and what is said of everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from throughtime.data import load
from throughtime.estimators import (
    SequenceClassifier,
    SequenceForecaster,
    SequenceRegressor,
    SequenceTagger,
    from_lengths,
)

QUICK: dict[str, Any] = {"hidden_size": 3, "max_iter": 2, "random_state": 0}
RANDOM = np.random.default_rng(0)
CUBE = RANDOM.normal(size=(8, 5, 2))
TABLE = RANDOM.normal(size=(8, 5))
LABELS = np.arange(8) % 2


def curve(X: Any) -> list[float]:
    return SequenceClassifier(**QUICK).fit(X, LABELS).loss_curve_


def test_the_forms_of_the_same_sequences():
    assert curve(CUBE) == curve(list(CUBE)) == curve(CUBE.tolist())
    ragged = np.empty(8, object)
    ragged[:] = list(CUBE)
    assert curve(ragged) == curve(CUBE)
    assert curve(TABLE) == curve(TABLE[:, :, None]) == curve(list(TABLE)) == curve(TABLE.tolist())


def test_the_number_of_features():
    def features(X: Any) -> int:
        return SequenceClassifier(**QUICK).fit(X, LABELS).n_features_in_

    assert (features(CUBE), features(list(CUBE)), features(TABLE), features(TABLE.tolist())) == (2, 2, 5, 5)
    assert (features(list(TABLE)), features(["abc"] * 8)) == (1, 1)


def test_integers_are_symbols_in_a_list_and_numbers_in_an_array():
    codes = np.arange(40).reshape(8, 5) % 7
    assert hasattr(SequenceClassifier(**QUICK).fit(codes.tolist(), LABELS), "vocabulary_")
    assert not hasattr(SequenceClassifier(**QUICK).fit(codes, LABELS), "vocabulary_")


def test_a_model_of_one_feature_takes_the_rows_of_a_table_of_any_width():
    fitted = SequenceClassifier(**QUICK).fit(list(TABLE), LABELS)
    np.testing.assert_array_equal(fitted.predict_proba(TABLE[:, :3]), fitted.predict_proba([row[:3] for row in TABLE]))


def test_the_columns_of_a_frame_keep_their_names():
    polars = pytest.importorskip("polars")
    names = ["t1", "t2", "t3", "t4", "t5"]
    frame = polars.DataFrame(TABLE, schema=names)
    fitted = SequenceClassifier(**QUICK).fit(frame, LABELS)
    assert fitted.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(fitted.predict(frame), SequenceClassifier(**QUICK).fit(TABLE, LABELS).predict(TABLE))
    assert "must be in the same order" in message_of(fitted.predict, frame[names[::-1]])
    assert not hasattr(fitted.fit(list(TABLE), LABELS), "feature_names_in_")


def test_features_are_standardised_by_the_training_data():
    assert curve(CUBE * [1000, 0.01] + [5e6, 0]) == pytest.approx(curve(CUBE), rel=1e-4)
    plain = SequenceClassifier(**QUICK, standardize=False)
    assert plain.fit(CUBE, LABELS).loss_curve_ != pytest.approx(plain.fit(CUBE * 2, LABELS).loss_curve_, rel=1e-4)


def test_from_lengths_cuts_one_long_array():
    X, lengths = RANDOM.normal(size=(10, 2)), [3, 1, 6]
    parts = from_lengths(X, lengths)
    assert [part.shape for part in parts] == [(3, 2), (1, 2), (6, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), X)
    tags = from_lengths(np.arange(10) % 2, lengths)
    assert SequenceTagger(**QUICK).fit(parts, tags).classes_.tolist() == [0, 1]
    for wrong, message in [
        ([3, 1], "lengths: expected numbers that add up to the 10 steps of X, found 4"),
        ([0, 10], "lengths: expected whole numbers of at least 1, found [0, 10]"),
        ([2.5, 7.5], "lengths: expected whole numbers of at least 1, found [2.5, 7.5]"),
        ([], "lengths: expected whole numbers of at least 1, found []"),
    ]:
        with pytest.raises(ValueError) as refused:  # noqa: PT011
            from_lengths(X, wrong)
        assert str(refused.value) == message


def message_of(what: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises((ValueError, TypeError)) as refused:
        what(*arguments, **options)
    return str(refused.value)


def test_what_x_cannot_be():
    def refused(X: Any) -> str:
        return message_of(SequenceClassifier(**QUICK).fit, X, LABELS[: len(X)])

    pairs = [np.ones((2, 2)), np.ones((3, 2))]
    assert (
        refused([pairs[0], np.ones((3, 1))])
        == "X[1] has 1 features, but SequenceClassifier is expecting 2 features as input"
    )
    assert refused([pairs[0], np.ones((0, 2))]) == "X[1]: expected at least one step, found none"
    assert (
        refused([pairs[0], np.ones((1, 2, 2))])
        == "X[1]: expected numbers [T, n] or [T], or symbols [T], found float64 [1, 2, 2]"
    )
    assert refused([pairs[0], [[1, 2], [3]]]) == "X[1]: expected steps of one number of features, found others"
    assert refused(["ab", np.ones(3)]) == "X[1]: expected symbols, as other sequences have, found float64 [3]"
    assert refused(["ab", ""]) == "X[1]: expected at least one step, found none"
    hole = np.array([[0, 1], [np.nan, 0]])
    assert refused([pairs[0], hole]) == "X[1]: expected finite numbers, found NaN or infinity"
    assert refused(np.ones((2, 3, 4, 5))).startswith("X: expected an array [S, T] or [S, T, n]")
    assert "Reshape your data" in refused(np.ones(2))
    assert refused([]) == "X: expected at least one sequence, found none"


def test_what_x_cannot_be_after_fitting():
    fitted = SequenceClassifier(**QUICK).fit(CUBE, LABELS)
    assert (
        message_of(fitted.predict, CUBE[:, :, :1])
        == "X[0] has 1 features, but SequenceClassifier is expecting 2 features as input"
    )
    assert message_of(fitted.predict, ["ab"]) == "X: SequenceClassifier is expecting features as in fit, found symbols"
    rows = SequenceClassifier(**QUICK).fit(TABLE, LABELS)
    assert (
        message_of(rows.predict, TABLE[:, :4])
        == "X has 4 features, but SequenceClassifier is expecting 5 features as input"
    )
    symbols = SequenceClassifier(**QUICK).fit(["ab", "ba"] * 4, LABELS)
    assert message_of(symbols.predict, CUBE) == "X: SequenceClassifier is expecting symbols as in fit, found features"


def test_what_y_cannot_be():
    classifier, tagger = SequenceClassifier(**QUICK), SequenceTagger(**QUICK)
    assert "inconsistent numbers of samples: [8, 7]" in message_of(classifier.fit, CUBE, LABELS[:7])
    assert (
        message_of(classifier.fit, CUBE, None) == "SequenceClassifier requires y to be passed, but the target y is None"
    )
    assert "continuous" in message_of(classifier.fit, CUBE, LABELS + 0.5)
    assert (
        message_of(tagger.fit, CUBE, LABELS)
        == "y[0]: expected a sequence of labels, one for each step of X[0], found one label"
    )
    steps = [np.zeros(5, int)] * 7
    assert (
        message_of(tagger.fit, CUBE, [*steps, np.zeros(4, int)])
        == "y[7]: expected 5 labels, as many as X[7] has steps, found 4"
    )
    assert message_of(tagger.score, CUBE, steps).startswith("This SequenceTagger instance is not fitted yet")
    assert "Input y contains NaN" in message_of(SequenceRegressor(**QUICK).fit, CUBE, np.full(8, np.nan))
    assert message_of(SequenceForecaster(**QUICK).fit, ["abc"]) == "X: expected series of numbers, found symbols"
    short = "X[1]: expected at least 2 steps to forecast one from the other, found 1 (n_features = 1)"
    assert message_of(SequenceForecaster(**QUICK).fit, [np.ones(3), np.ones(1)]) == short


def test_partial_fit_keeps_to_its_classes_and_targets():
    classifier = SequenceClassifier(**QUICK)
    assert message_of(classifier.partial_fit, CUBE, LABELS) == "classes must be passed on the first call to partial_fit"
    classifier.partial_fit(CUBE, LABELS, classes=[0, 1, 2])
    assert classifier.predict_proba(CUBE).shape == (8, 3)
    assert message_of(classifier.partial_fit, CUBE, LABELS + 5) == "y: expected one of the classes [0, 1, 2], found 5"
    regressor = SequenceRegressor(**QUICK).partial_fit(CUBE, np.ones((8, 2)))
    assert message_of(regressor.partial_fit, CUBE, np.ones(8)) == "y: expected 2 values for each sequence, found 1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 0), ("dropout", 1.0), ("nonlinearity", "sine"), ("max_iter", 1.5), ("batch_size", "all")],
)
def test_parameters_are_checked_by_fit(name, value):
    found = message_of(SequenceClassifier(**{**QUICK, name: value}).fit, CUBE, LABELS)
    assert found.startswith(f"The {name!r} parameter of SequenceClassifier must be ")
    assert found.endswith(f" Got {value!r} instead.")


def test_frames_series_and_tensors_are_the_sequences_in_them():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    index = pandas.MultiIndex.from_product([list("hgfedcba"), range(5)])
    frame = pandas.DataFrame(CUBE.reshape(-1, 2), index, ["a", "b"])
    expected = curve(CUBE)
    assert curve(frame) == curve([polars.DataFrame(x, schema=["a", "b"]) for x in CUBE]) == expected
    assert curve(frame.sort_index(level=1, sort_remaining=False)) == expected  # the steps of all sequences by turns
    assert curve(torch.tensor(CUBE)) == curve([torch.tensor(x) for x in CUBE]) == expected
    texts = ["abc", "cab", "b", "aa"] * 2
    columns = [np.array(texts), np.array(texts, object), pandas.Series(texts), polars.Series(texts)]
    assert all(curve(column) == curve(texts) for column in columns)
    data = load(frame, task="forecast")
    np.testing.assert_allclose(data.train.x, load(list(CUBE), task="forecast").train.x)


def test_one_series_alone_is_told_how_to_be_passed():
    polars = pytest.importorskip("polars")
    for series in (np.arange(9.0), polars.Series(np.arange(9.0)), torch.arange(9.0)):
        assert "X: expected sequences [S, T] or [S, T, n], found one array of 9 numbers" in message_of(
            SequenceForecaster(**QUICK).fit, series
        )
    SequenceForecaster(**QUICK).fit([polars.Series(np.arange(9.0))])


def test_a_tagger_takes_labels_by_the_same_index():
    pandas = pytest.importorskip("pandas")
    index = pandas.MultiIndex.from_product([range(8), range(5)], names=["recording", "step"])
    tags = RANDOM.integers(2, size=(8, 5))
    frame, labels = pandas.DataFrame(CUBE.reshape(-1, 2), index), pandas.Series(tags.ravel(), index)
    expected = SequenceTagger(**QUICK).fit(CUBE, tags).loss_curve_
    assert SequenceTagger(**QUICK).fit(frame, labels).loss_curve_ == expected
