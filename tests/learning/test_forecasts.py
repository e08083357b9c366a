"""Forecasts against the same ones made step by step from scratch, and errors against their definitions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.data import Encoding, Sequences, Standardizer
from throughtime.data.calibration import shrinkage
from throughtime.data.differences import best_lag
from throughtime.data.preparation import encode, fit_encoding
from throughtime.data.records import Records
from throughtime.learning import forecasts
from throughtime.models.sequence_model import SequenceModel


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
    found = forecasts.forecast(model, ENCODING, SERIES, steps)
    for values, ahead in zip(SERIES, found, strict=True):
        np.testing.assert_allclose(ahead, from_scratch(model, values, steps), rtol=1e-10)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("horizon", "season"), [(1, None), (3, None), (1, 4), (3, 2), (7, 3), (100, None)])
def test_the_backtest_is_the_definition(layers, horizon, season):
    model = a_model(layers)
    first = season or 1
    errors: dict[str, list[np.ndarray]] = {"model": [], "naive": [], "seasonal naive": []}
    for values in SERIES:
        for origin in range(first, len(values), horizon):
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
    changes = np.concatenate([np.abs(np.diff(values, axis=0)) for values in SERIES])
    assert scale == pytest.approx(dict(zip(NAMES, changes.mean(0), strict=True)), rel=1e-12)
    found = forecasts.backtest(a_model(), part, ENCODING, scale)
    assert [scores["mase"] for scores in found["forecasts"]["naive"].values()] == pytest.approx([1, 1], rel=1e-12)


def test_missing_values_count_nowhere():
    part = a_part(SERIES)
    assert part.y is not None
    part.y[5, 0] = np.nan
    found = forecasts.backtest(a_model(), part, ENCODING, {"p": 1.0, "q": 1.0})
    assert found["targets"] == sum(2 * (len(values) - 1) for values in SERIES) - 1
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
        ({"season": 40}, "a season of 40 steps and a value after it, found 40 values at most"),
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


# --- differences, context, shrinkage and intervals ----------------------------------------------------------------------------

CHANGES = [np.cumsum(values, axis=0) for values in SERIES if len(values) > 10]


def a_source(lag: int, **given) -> tuple[Encoding, Sequences]:
    """Series of which the last seven values are asked for, as `data.load` makes them."""
    train = Records("s", "forecast", CHANGES, CHANGES, ["a", "b"], ["a", "b"], features=NAMES, outputs=NAMES)
    encoding = replace(fit_encoding(train, [], 1, lag=lag), **given)
    return encoding, encode(replace(train, context=[len(values) - 7 for values in CHANGES]), encoding)


def of_differences(model: SequenceModel, encoding: Encoding, known: np.ndarray, steps: int) -> np.ndarray:
    """The forecast after `known`: each step reads the differences of everything anew, and adds one to the value before."""
    values, lag = known, encoding.lag
    assert encoding.input_scale is not None
    assert encoding.target_scale is not None
    for _ in range(steps):
        d = values[lag:] - values[:-lag] if lag else values
        z = model(torch.from_numpy(encoding.input_scale.apply(d)).unsqueeze(0))[0, -1].detach().numpy()
        values = np.concatenate(
            [values, encoding.target_scale.invert(z)[None] + (values[len(values) - lag] if lag else 0)]
        )
    return values[len(known) :]


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("lag", [0, 1, 4])
def test_forecasts_of_changes_reach_back_before_what_is_asked_for(lag, horizon):
    model, (encoding, part) = a_model(), a_source(lag)
    part = replace(part, x=part.x.astype(np.float64))
    assert part.y is not None
    assert [int((~np.isnan(y)).all(1).sum()) for y in part.targets] == [7, 7]
    rolled = forecasts.roll(model, part, encoding, horizon)
    for values, own in zip(CHANGES, rolled, strict=True):
        begin = len(values) - 7
        expected = [
            of_differences(model, encoding, values[:origin], min(horizon, len(values) - origin))
            for origin in range(begin, len(values), horizon)
        ]
        np.testing.assert_array_equal(own.truth, values[begin:])
        np.testing.assert_allclose(own.model, np.concatenate(expected), rtol=1e-5)  # x is made in float32
        np.testing.assert_array_equal(own.naive[0], values[begin - 1])
    ahead = forecasts.forecast(model, encoding, CHANGES, 6)
    for values, found in zip(CHANGES, ahead, strict=True):
        np.testing.assert_allclose(found, of_differences(model, encoding, values, 6), rtol=1e-10)


def test_a_model_worse_than_naive_is_shrunk_to_it_and_intervals_hold_what_they_say():
    model, (encoding, part) = a_model(), a_source(1)
    with torch.no_grad():  # changes in units of the data of 500: nonsense
        model.readout.weight.zero_()
        model.readout.bias.fill_(100.0)
    plain = forecasts.backtest(model, part, encoding, {"p": 1.0, "q": 1.0}, horizon=2)["forecasts"]
    assert plain["model"]["q"]["mae"] > 10 * plain["naive"]["q"]["mae"]
    calibrated = forecasts.calibrate(model, part, encoding, 2)
    found = forecasts.backtest(model, part, calibrated, {"p": 1.0, "q": 1.0}, horizon=2)
    for name in NAMES:
        assert found["forecasts"]["model"][name]["mae"] <= 1.001 * found["forecasts"]["naive"][name]["mae"]
    assert 0.6 <= found["interval_coverage"] <= 1
    assert calibrated.calibration is not None
    low, high = calibrated.calibration.intervals(np.zeros((8, 2))) or ((), ())
    np.testing.assert_allclose((high - low)[7], 2 * (high - low)[1])  # four times the steps
    assert Encoding.from_json(json.loads(json.dumps(calibrated.to_json()))) == calibrated


def test_the_weight_of_shrinkage_is_the_best_of_all():
    random = np.random.default_rng(0)
    for _ in range(20):
        model, naive, truth = random.normal(size=(3, 9))
        found = shrinkage(model, naive, truth)
        errors = [np.abs(truth - naive - w * (model - naive)).sum() for w in (found, *np.linspace(0, 1, 1001))]
        assert errors[0] <= min(errors) + 1e-12


@pytest.mark.parametrize(
    ("lag", "series"),
    [
        (0, lambda t, noise: noise),
        (1, lambda t, noise: noise.cumsum()),
        (12, lambda t, noise: 0.05 * t**1.5 + 10 * (t % 12 == 3) * (1 + t / 40) + noise / 20),
    ],
)
def test_a_closed_form_tells_levels_changes_and_seasons_apart(lag, series):
    found = series(np.arange(1200.0), np.random.default_rng(1).normal(size=1200))[:, None]
    assert best_lag([found[:600]], [found], [600], 12) == lag
