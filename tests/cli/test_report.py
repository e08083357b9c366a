"""What is said of results, and to machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small import QUICK

from throughtime.cli import report


def a_forecast(model: float, naive: float, seasonal: float) -> dict:
    scores = {"model": model, "naive": naive, "seasonal naive": seasonal}
    return {"forecasts": {method: {"y": {"mae": mae, "rmse": mae, "mase": 1.0}} for method, mae in scores.items()}}


@pytest.mark.parametrize(
    ("measured", "baselines", "expected"),
    [
        ({"accuracy": 0.9}, {"most frequent label": 0.5}, None),
        (
            {"accuracy": 0.4},
            {"most frequent label": 0.5, "nearest mean": 0.6},
            "'nearest mean', 0.6000: try more --epochs",
        ),
        ({"accuracy": 0.5}, {"most frequent label": 0.5}, "is not above"),
        (a_forecast(1, 2, 3), {}, None),
        (a_forecast(3, 2, 1), {}, "no better than the seasonal naive ones (3 beside 1)"),
        (a_forecast(2, 2, 3), {}, "no better than the naive ones"),
    ],
)
def test_a_model_that_knows_no_more_is_told(measured, baselines, expected):
    found = report.warning(measured, baselines)
    assert found is None if expected is None else expected in (found or "")


def test_training_tells_machines_and_stays_quiet(command):
    status, out, err = command("train", *QUICK, "--json", "--quiet")
    assert (status, err) == (0, "")
    found = json.loads(out)
    stored = json.loads(Path(found["run"], "metrics.json").read_text())
    assert {name: found[name] for name in stored} == stored
    assert (found["source"], found["part"]) == ("python-source", "test")
    status, _, err = command("train", *QUICK)
    assert status == 0
    assert "epoch   1" in err  # the next verb speaks again
    assert command("evaluate", "missing", "--quiet").err.startswith("error: missing: expected a run folder")


def test_every_verb_tells_machines(command, trained, tmp_path):
    page = tmp_path / "page.html"
    status, out, _ = command("anatomy", trained, "--steps", 20, "--out", page, "--json", "--quiet")
    assert status == 0
    found = json.loads(out)
    assert (found["page"], found["of"]) == (str(page), "netrc.py, steps 1 to 20")
    assert found["verdict"].startswith("The gradient ")
    assert page.is_file()
    assert json.loads(command("doctor", "--json", "--quiet").out)["throughtime"]
