"""Every example runs, prints its number beside a baseline, and writes its picture."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
REDUCED = {
    "tag_python_source": (["--files", "1", "--epochs", "1"], "most frequent label"),
    "classify_digits": (["--epochs", "1"], "logistic regression"),
    "language_model_pydoc": (["--epochs", "1", "--states", "8"], "bigram"),
    "forecast_sunspots": (["--epochs", "1"], "seasonal naive"),
}
"""Arguments that make an example quick, and the name of a baseline that it prints."""
NEEDS = {"forecast_sunspots": "statsmodels"}
ELSEWHERE = {"one_recipe", "anatomy_cases"}
"""Examples without a task's picture; `one_recipe` runs as it is, the anatomy's cases have tests of their own."""


def run(name: str, *arguments: str) -> str:
    """What the example prints. A warning is an error."""
    command = [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*REDUCED, *ELSEWHERE}


@pytest.mark.parametrize("name", REDUCED)
def test_example(name: str, tmp_path: Path) -> None:
    needed = NEEDS.get(name)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{name} needs {needed}")
    arguments, baseline = REDUCED[name]
    picture = tmp_path / "picture.png"
    assert baseline in run(name, *arguments, "--out", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_one_recipe_trains_three_models() -> None:
    rows = run("one_recipe").splitlines()[1:]
    accuracy = [float(row.split()[-1]) for row in rows]
    assert accuracy[0] < 0.8  # parity is not linearly separable
    assert accuracy[1:] == [1.0, 1.0]
