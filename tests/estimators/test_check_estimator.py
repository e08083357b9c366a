"""scikit-learn's own checks of an estimator.

The networks are smaller than by default, and learn faster, so that the checks are quick; by default they pass as well.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import parametrize_with_checks

from throughtime.estimators import SequenceClassifier, SequenceForecaster, SequenceRegressor, SequenceTagger

QUICK: dict[str, Any] = {"hidden_size": 16, "learning_rate": 0.01, "max_iter": 15}

ONE_LABEL_PER_ROW = "the check's y has one label for each row, a tagger's has one for each step"
OTHER_BATCHES = (
    "a sequence that is repeated changes the batches; the optimizer gd, which has none, is tested beside repetition"
)
EXPECTED_FAILURES = {
    SequenceTagger: dict.fromkeys(
        [
            "check_dict_unchanged",
            "check_dont_overwrite_parameters",
            "check_dtype_object",
            "check_estimators_dtypes",
            "check_estimators_fit_returns_self",
            "check_estimators_nan_inf",
            "check_estimators_overwrite_params",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit2d_1feature",
            "check_fit2d_1sample",
            "check_fit2d_predict1d",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_fit_score_takes_y",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_pipeline_consistency",
            "check_positive_only_tag_during_fit",
            "check_readonly_memmap_input",
            "check_sample_weights_list",
            "check_sample_weights_not_an_array",
            "check_sample_weights_not_overwritten",
            "check_sample_weights_pandas_series",
            "check_sample_weights_shape",
        ],
        ONE_LABEL_PER_ROW,
    ),
    SequenceClassifier: {
        "check_class_weight_classifiers": "a thousand epochs of Adam, whose steps do not shrink "
        "with the gradient, learn classes of a ten-millionth of the weight as well"
    },
}
"""The classifier, the regressor and the forecaster pass every other check; the tagger has its own tests."""


@parametrize_with_checks(
    [SequenceClassifier(**QUICK), SequenceRegressor(**QUICK), SequenceForecaster(**QUICK), SequenceTagger(**QUICK)],
    expected_failed_checks=lambda estimator: (
        EXPECTED_FAILURES.get(type(estimator), {}) | {"check_sample_weight_equivalence_on_dense_data": OTHER_BATCHES}
    ),
    xfail_strict=True,
)
def test_check(estimator, check):
    check(estimator)
