"""What the estimators learn, and that they are scikit-learn's kind."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from throughtime.estimators import SequenceClassifier, SequenceForecaster, SequenceRegressor, SequenceTagger

QUICK: dict[str, Any] = {"hidden_size": 16, "learning_rate": 0.02, "max_iter": 15, "batch_size": 8, "random_state": 0}


def walks(S: int = 60, seed: int = 0) -> list[np.ndarray]:
    """Ragged sequences of two features: ±1, blurred."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 9, S)
    return [random.choice([-1.0, 1.0], (T, 2)) + random.normal(scale=0.1, size=(T, 2)) for T in lengths]


def by_end(X: list[np.ndarray]) -> np.ndarray:
    """A label for each sequence."""
    return np.array(["up" if x[-1, 0] > 0 else "down" for x in X])


def by_step(X: list[np.ndarray]) -> list[np.ndarray]:
    """A label for each step, of the step before."""
    return [np.where(np.r_[0.0, x[:-1, 1]] > 0, 7, 3) for x in X]


def by_sum(X: list[np.ndarray]) -> np.ndarray:
    """Two numbers for each sequence."""
    return np.array([[100 + x[-1, 0], x[-1].sum() / 1000] for x in X])


def series(S: int = 20, seed: int = 0) -> list[np.ndarray]:
    """Ragged waves of two features, in units of their own."""
    random = np.random.default_rng(seed)
    waves = []
    for _ in range(S):
        t = 0.7 * (np.arange(random.integers(10, 40)) + random.uniform(0, 9))
        waves.append(np.stack([1000 + 50 * np.sin(t), 0.01 * np.cos(t)], 1))
    return waves


LEARNABLE = [
    pytest.param(SequenceClassifier(**QUICK), walks(), by_end, id="classifier"),
    pytest.param(SequenceRegressor(**QUICK), walks(), by_sum, id="regressor"),
    pytest.param(SequenceTagger(**QUICK), walks(), by_step, id="tagger"),
    pytest.param(SequenceForecaster(**QUICK), series(), lambda X: None, id="forecaster"),
]
each = pytest.mark.parametrize(("estimator", "X", "target"), LEARNABLE)


def joined(predictions: Any) -> np.ndarray:
    return np.concatenate([np.atleast_1d(own) for own in predictions])


@each
def test_ragged_sequences_are_learnt(estimator, X, target):
    fitted = clone(estimator).set_params(max_iter=40).fit(X, target(X))
    new = series(seed=1) if isinstance(estimator, SequenceForecaster) else walks(seed=1)
    assert fitted.score(new, target(new)) > 0.9
    assert len(fitted.loss_curve_) == fitted.n_iter_ == 40
    assert fitted.loss_curve_[-1] < 0.5 * fitted.loss_curve_[0]
    assert fitted.n_features_in_ == 2


@each
def test_a_pickle_holds_safetensors_and_does_the_same(estimator, X, target):
    fitted = clone(estimator).fit(X, target(X))
    content = pickle.dumps(fitted)
    assert b"torch" not in content
    again = pickle.loads(content)
    np.testing.assert_array_equal(joined(again.predict(X)), joined(fitted.predict(X)))
    assert again.get_params() == fitted.get_params()
    again.partial_fit(X, target(X))
    assert again.n_iter_ == fitted.n_iter_ + 1
    unfitted = pickle.loads(pickle.dumps(estimator))
    with pytest.raises(NotFittedError):
        unfitted.predict(X)


@each
def test_the_random_state_decides(estimator, X, target):
    global_state = torch.random.get_rng_state()
    first, second, other = (clone(estimator).set_params(random_state=s, dropout=0.1, num_layers=2) for s in (3, 3, 4))
    for fitted in (first, second, other):
        fitted.fit(X, target(X))
    assert first.loss_curve_ == second.loss_curve_ != other.loss_curve_
    for one, two in zip(first.model_.parameters(), second.model_.parameters(), strict=True):
        assert torch.equal(one, two)
    assert first.fit(X, target(X)).loss_curve_ == second.loss_curve_  # fit begins anew
    assert torch.equal(global_state, torch.random.get_rng_state())


@each
def test_company_does_not_change_a_prediction(estimator, X, target):
    fitted = clone(estimator).fit(X, target(X))
    together, alone = joined(fitted.predict(X)), joined([fitted.predict([x])[0] for x in X])
    if together.dtype.kind == "f":
        np.testing.assert_allclose(together, alone, rtol=1e-6)
    else:
        np.testing.assert_array_equal(together, alone)


@each
def test_partial_fit_goes_on(estimator, X, target):
    fitted, y = clone(estimator), target(X)
    first = {"classes": np.unique(joined(y))} if hasattr(estimator, "predict_proba") else {}
    for i in range(15):
        fitted.partial_fit(X, y, **(first if i == 0 else {}))
    assert len(fitted.loss_curve_) == fitted.n_iter_ == 15
    assert fitted.loss_curve_[-1] < 0.5 * fitted.loss_curve_[0]
    updates = 15 * -(-len(X) // 8)  # Adam's averages go on from call to call
    assert all(state["step"] == updates for state in fitted._optimizer.state_dict()["state"].values())


@each
def test_cross_validation_and_grid_search_over_ragged_lists(estimator, X, target):
    y = target(X)
    assert cross_val_score(estimator, X, y, cv=2).mean() > 0.6
    search = GridSearchCV(estimator, {"max_iter": [1, 15], "hidden_size": [5]}, cv=2).fit(X, y)
    assert search.best_params_ == {"max_iter": 15, "hidden_size": 5}
    assert search.best_estimator_.model_.d == 5


@each
def test_pipelines(estimator, X, target):
    y, scaled = target(X), FunctionTransformer(lambda X: [2 * x for x in X])
    pipeline = make_pipeline(scaled, clone(estimator)).fit(X, y)
    direct = clone(estimator).fit([2 * x for x in X], y)
    np.testing.assert_array_equal(joined(pipeline.predict(X)), joined(direct.predict([2 * x for x in X])))


@each
def test_early_stopping_holds_out_and_keeps_the_best(estimator, X, target):
    fitted = clone(estimator).set_params(early_stopping=True, max_iter=500, n_iter_no_change=2, learning_rate=0.1)
    fitted.fit(X, target(X))
    curve = fitted.validation_loss_curve_
    assert len(curve) == fitted.n_iter_ < 500
    assert int(np.argmin(curve)) == len(curve) - 3


@each
def test_layers_and_directions(estimator, X, target):
    both = {} if isinstance(estimator, SequenceForecaster) else {"bidirectional": True}
    fitted = clone(estimator).set_params(num_layers=2, nonlinearity="relu", dropout=0.1, **both).fit(X, target(X))
    assert (fitted.model_.layers, fitted.model_.nonlinearity, fitted.model_.bidirectional) == (2, "relu", bool(both))
    assert clone(fitted).get_params() == fitted.get_params()


def test_digits_are_read_row_by_row():
    """By default; the most frequent digit alone would be right in a tenth of all cases."""
    pixels, digits = load_digits(return_X_y=True)
    X, new, y, truth = train_test_split(pixels.reshape(-1, 8, 8), digits, stratify=digits, random_state=0)
    classifier = SequenceClassifier(random_state=0).fit(X, y)
    assert classifier.score(new, truth) >= 0.95
    probabilities = classifier.predict_proba(new)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(classifier.classes_[probabilities.argmax(1)], classifier.predict(new))
    assert (classifier.classes_.tolist(), classifier.n_features_in_) == (list(range(10)), 8)


def test_a_classifier_of_symbols_reads_unknown_ones():
    words = ["abba", "baab", "ab", "bbbba", "xyyx", "yx", "xxxy", "yyxyx"] * 4
    y = ["early" if set(word) <= {"a", "b"} else "late" for word in words]
    classifier = SequenceClassifier(embedding_size=3, **QUICK).fit(words, y)
    assert classifier.predict(["aab", "xxy", "a?!b"]).tolist()[:2] == ["early", "late"]
    assert set(classifier.vocabulary_.symbols) == {"<unknown>", "a", "b", "x", "y"}
    assert classifier.n_features_in_ == 1
    as_lists, codes = [list(word) for word in words], {c: i for i, c in enumerate("abxy")}
    again = SequenceClassifier(embedding_size=3, **QUICK).fit(as_lists, y)
    assert again.loss_curve_ == classifier.loss_curve_
    integers = SequenceClassifier(embedding_size=3, **QUICK).fit([[codes[c] for c in word] for word in words], y)
    assert integers.predict([[0, 1, 1], [2, 3, 9]]).tolist() == ["early", "late"]


def test_a_tagger_gives_probabilities_by_step():
    X = walks()
    tagger = SequenceTagger(**QUICK).fit(X, by_step(X))
    probabilities = tagger.predict_proba(X)
    assert tagger.classes_.tolist() == [3, 7]
    for x, own, labels in zip(X, probabilities, tagger.predict(X), strict=True):
        assert own.shape == (len(x), 2)
        np.testing.assert_allclose(own.sum(1), 1, rtol=1e-6)
        np.testing.assert_array_equal(tagger.classes_[own.argmax(1)], labels)


def test_a_tagger_takes_strings_of_labels():
    tagger = SequenceTagger(**QUICK).fit(["abba", "ba", "aab", "bba"] * 10, ["VCCV", "CV", "VVC", "CCV"] * 10)
    assert tagger.predict(["aabb"])[0].tolist() == ["V", "V", "C", "C"]


def test_a_regressor_of_one_number_gives_one_number():
    X = walks()
    regressor = SequenceRegressor(**QUICK).fit(X, by_sum(X)[:, 0])
    assert regressor.predict(X).shape == (60,)
    assert regressor.predict(X).dtype == np.float64
    assert abs(regressor.predict(X).mean() - 100) < 1  # in the units of y
    assert SequenceRegressor(**QUICK).fit(X, by_sum(X)).predict(X).shape == (60, 2)


def test_a_forecaster_goes_on_from_its_own_forecasts():
    X = series()
    forecaster = SequenceForecaster(**QUICK, horizon=3).fit(X)
    ahead = forecaster.predict(X)
    assert ahead.shape == (20, 3, 2)
    one = forecaster.set_params(horizon=1).predict(X)
    np.testing.assert_allclose(ahead[:, :1], one, rtol=1e-5)
    two = forecaster.predict([np.concatenate([x, y]) for x, y in zip(X, one, strict=True)])
    np.testing.assert_allclose(ahead[:, 1:2], two, rtol=1e-4, atol=1e-5)


def test_a_forecaster_does_better_than_the_last_value():
    X, new = series(), series(seed=1)
    forecaster = SequenceForecaster(random_state=0, learning_rate=0.01).fit(X)
    ahead = forecaster.predict([x[:-1] for x in new])[:, 0]
    truth, naive = np.array([x[-1] for x in new]), np.array([x[-2] for x in new])
    assert (np.abs(ahead - truth).mean(0) < 0.3 * np.abs(naive - truth).mean(0)).all()


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        pytest.param(SequenceClassifier(class_weight="balanced"), by_end, id="classifier"),
        pytest.param(SequenceRegressor(), by_sum, id="regressor"),
        pytest.param(SequenceTagger(class_weight={7: 2.5}), by_step, id="tagger"),
        pytest.param(SequenceForecaster(), None, id="forecaster"),
    ],
)
def test_a_weight_does_what_repeating_does(estimator, target) -> None:
    """With the full batch, also for the scaling of features and targets."""
    X = series(6) if target is None else walks(6)
    y, times = None if target is None else target(X), [2, 0, 1, 3, 1, 1]
    rows = np.repeat(np.arange(6), times)
    estimator.set_params(optimizer="gd", learning_rate=0.1, max_iter=5, hidden_size=4, random_state=0)
    weighted = clone(estimator).fit(X, y, sample_weight=times)
    repeated = clone(estimator).fit([X[i] for i in rows], None if y is None else [y[i] for i in rows])
    plain = clone(estimator).fit(X, y)
    found, expected, other = ([*each.model_.parameters()] for each in (weighted, repeated, plain))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert max((a - b).abs().max() for a, b in zip(found, other, strict=True)) > 1e-3


def test_balanced_classes_find_the_rare_one() -> None:
    X = walks(60)
    y = np.array(["rare" if i % 12 == 0 else "common" for i in range(60)])  # nothing tells them apart
    options = QUICK | {"max_iter": 3}
    even = SequenceClassifier(class_weight="balanced", **options).fit(X, y).predict_proba(X)[:, 1].mean()
    assert SequenceClassifier(**options).fit(X, y).predict_proba(X)[:, 1].mean() < 0.3 < even
    with pytest.raises(ValueError, match=r"class_weight: expected labels of \['common', 'rare'\], found 'other'"):
        SequenceClassifier(class_weight={"other": 2}, **options).fit(X, y)
