"""Forecasts against the same ones made step by step from scratch, and errors against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.data import Encoding, Sequences, Standardizer
from throughtime.learning import forecasts
from throughtime.sequence_model import SequenceModel


@pytest.fixture(autouse=True)
def _reference():
    with tt.engine("reference"):
        yield


NAMES = ("p", "q")
INPUT, TARGET = Standardizer((1.0, 20.0), (2.0, 5.0)), Standardizer((1.5, 19.0), (3.0, 4.0))
ENCODING = Encoding("forecast", NAMES, features=NAMES, input_scale=INPUT, target_scale=TARGET)


def a_model(layers: int = 1) -> SequenceModel:
    return SequenceModel(2, 5, 2, layers=layers, task="forecast", dtype=torch.float64)


def a_part(series: list[np.ndarray]) -> Sequences:
    """As `data.load` makes it: scaled values, and the next ones as targets."""
    return Sequences.from_arrays(
        [INPUT.apply(values)[:-1] for values in series],
        [TARGET.apply(values)[1:] for values in series],
        dtype=np.float64,
    )


def from_scratch(model: SequenceModel, known: np.ndarray, steps: int) -> np.ndarray:
    """The forecast after `known` [t, 2], in the units of the data: each step reads everything anew."""
    values = known
    for _ in range(steps):
        x = torch.from_numpy(INPUT.apply(values)).unsqueeze(0)
        z = model(x)[0, -1].detach().numpy()
        values = np.concatenate([values, TARGET.invert(z)[None]])
    return values[len(known) :]


SERIES = [np.random.default_rng(i).normal((1, 20), (2, 5), (T, 2)) for i, T in enumerate([17, 3, 40])]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_forecast_goes_on_from_the_end(layers, steps):
    model = a_model(layers)
    found = forecasts.forecast(model, ENCODING, [INPUT.apply(values) for values in SERIES], steps)
    for values, ahead in zip(SERIES, found, strict=True):
        np.testing.assert_allclose(ahead, from_scratch(model, values, steps), rtol=1e-10)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("horizon", "season"), [(1, None), (3, None), (1, 4), (3, 2), (7, 3), (100, None)])
def test_the_backtest_is_the_definition(layers, horizon, season):
    model = a_model(layers)
    first = season or 1
    errors: dict[str, list[np.ndarray]] = {"model": [], "naive": [], "seasonal naive": []}
    for values in SERIES:
        # The first value is only known; those after it can be forecast.
        for origin in range(first + 1, len(values), horizon):
            known, coming = values[:origin], values[origin : origin + horizon]
            h = len(coming)
            errors["model"].append(from_scratch(model, known, h) - coming)
            errors["naive"].append(known[[-1] * h] - coming)
            if season:
                seasonal = np.array([known[len(known) - season + i % season] for i in range(h)])
                errors["seasonal naive"].append(seasonal - coming)
    scale = {"p": 2.0, "q": 0.5}
    found = forecasts.backtest(model, a_part(SERIES), ENCODING, scale, horizon=horizon, season=season)
    assert set(found["forecasts"]) == {name for name, made in errors.items() if made}
    for method, scores in found["forecasts"].items():
        expected = np.concatenate(errors[method])
        assert found["targets"] == expected.size
        for i, name in enumerate(NAMES):
            mae, rmse = np.abs(expected[:, i]).mean(), np.sqrt((expected[:, i] ** 2).mean())
            wanted = {"mae": mae, "rmse": rmse, "mase": mae / scale[name]}
            assert scores[name] == pytest.approx(wanted, rel=1e-9), (method, name)


def test_the_naive_forecast_of_the_training_part_has_mase_1():
    part = a_part(SERIES)
    scale = forecasts.naive_errors(part, ENCODING)
    changes = np.concatenate([np.abs(np.diff(values[1:], axis=0)) for values in SERIES])
    assert scale == pytest.approx(dict(zip(NAMES, changes.mean(0), strict=True)), rel=1e-12)
    found = forecasts.backtest(a_model(), part, ENCODING, scale)
    assert [scores["mase"] for scores in found["forecasts"]["naive"].values()] == pytest.approx([1, 1], rel=1e-12)


def test_missing_values_count_nowhere():
    part = a_part(SERIES)
    assert part.y is not None
    part.y[5, 0] = np.nan
    found = forecasts.backtest(a_model(), part, ENCODING, {"p": 1.0, "q": 1.0})
    assert found["targets"] == sum(2 * (len(values) - 2) for values in SERIES) - 1
    assert all(np.isfinite(list(scores["p"].values())).all() for scores in found["forecasts"].values())


def test_a_series_that_never_changes_has_no_mase():
    constant = [np.ones((9, 2)) * (1, 20)]
    scale = forecasts.naive_errors(a_part(constant), ENCODING)
    found = forecasts.backtest(a_model(), a_part(constant), ENCODING, scale)
    assert found["forecasts"]["model"]["p"]["mase"] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"horizon": 0}, "horizon: expected at least 1, found 0"),
        ({"season": 0}, "season: expected at least 1, found 0"),
        ({"season": 39}, "a season of 39 steps and a value after it, found 39 values at most"),
    ],
)
def test_what_cannot_be_forecast_is_refused(options, expected):
    with pytest.raises(ValueError, match=expected):
        forecasts.backtest(a_model(), a_part(SERIES), ENCODING, {}, **options)


def test_other_inputs_and_other_tasks_are_refused():
    other = Encoding("forecast", ("y",), features=NAMES)
    with pytest.raises(ValueError, match="steps: expected 1 of a model that forecasts y from other inputs, found 2"):
        forecasts.forecast(a_model(), other, [SERIES[0]], 2)
    with pytest.raises(ValueError, match="model: expected one of the task forecast, found tag"):
        forecasts.forecast(a_model(), Encoding("tag", ("y",), features=NAMES), [SERIES[0]], 1)
