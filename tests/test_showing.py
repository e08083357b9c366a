"""What objects look like at the prompt and in a notebook: a line, a picture, a frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.data import Dataset
from throughtime.learning import History

ROWS = [
    {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.25, "valid_accuracy": 0.5},
    {"epoch": 2, "train_loss": 1.0, "valid_loss": 1.125, "valid_accuracy": 0.625, "horizon": 3.0},
    {"epoch": 3, "train_loss": 0.5, "valid_loss": 1.75, "valid_accuracy": 0.25},
]


def test_history_is_a_line() -> None:
    line = "History(3 epochs; best 2: train_loss 1, valid_loss 1.125, valid_accuracy 0.625; stopped early)"
    assert repr(History(ROWS, stopped_early=True)) == line
    assert repr(History([{"epoch": 1, "train_loss": 1.5}])) == "History(1 epoch; best 1: train_loss 1.5)"
    assert repr(History()) == "History(no epochs)"


def test_history_is_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    frame = History(ROWS).to_frame()
    assert isinstance(frame, polars.DataFrame)
    assert frame["horizon"].to_list() == [None, 3.0, None]
    monkeypatch.setattr("throughtime.learning.history.find_spec", lambda name: name == "pandas" or None)
    frame = History(ROWS).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["valid_loss"].tolist() == [1.25, 1.125, 1.75]
    monkeypatch.setattr("throughtime.learning.history.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="to_frame: expected the package polars or pandas"):
        History(ROWS).to_frame()


def test_history_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    loss, accuracy = History(ROWS).plot().axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[1.5, 1.0, 0.5], [1.25, 1.125, 1.75]]
    assert accuracy.lines[0].get_ydata().tolist() == [0.5, 0.625, 0.25]
    picture = History(ROWS)._repr_png_()
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    assert History()._repr_png_() is None
    with pytest.raises(ValueError, match="history: expected at least one epoch, found none"):
        History().plot()
    monkeypatch.setattr("throughtime.learning.history.find_spec", lambda name: None)
    assert History(ROWS)._repr_png_() is None


def test_gradients_are_a_line() -> None:
    net = tt.ElmanNetwork(2, 3, 4)
    _, g = tt.bptt(net, torch.randint(2, (5, 6)), torch.randint(4, (5, 6)))
    line = repr(g)
    assert "\n" not in line
    assert f"W [3, 3] of norm {float(g.W.norm()):.3g}" in line
    assert re.search(r"\bx \[", line) is None  # it was not asked for


def test_a_data_set_and_a_run_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from throughtime.data.encoding import Encoding
    from throughtime.data.sequences import Sequences
    from throughtime.learning import run

    rows = [np.zeros((length, 2)) for length in (700, 500)]
    encoding = Encoding("tag", ("a", "b", "c"), features=("f", "g"))
    part = Sequences.from_arrays(rows, [np.zeros(len(row), np.int64) for row in rows])
    assert repr(Dataset("source", encoding, part)) == (
        "Dataset('source', tag, n=2, k=3: train 2 sequences of 1,200 steps)"
    )
    run.save(tmp_path / "run", tt.ElmanNetwork(2, 4, 3), encoding, config={}, history=History(ROWS), metrics={})
    monkeypatch.chdir(tmp_path)
    assert re.fullmatch(r"Run\('run', tag: ElmanNetwork, n=2, k=3, 43 parameters\)", repr(tt.load("run")))


@pytest.mark.parametrize(
    ("found", "hint"), [("sigmoid", "; did you mean 'logistic'?"), ("ReLU", "; did you mean 'relu'?"), ("gauss", "")]
)
def test_a_choice_that_was_probably_meant_is_named(found: str, hint: str) -> None:
    expected = f"nonlinearity: expected one of 'tanh', 'relu', 'logistic', 'identity', found {found!r}{hint}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        tt.ElmanNetwork(2, 3, 4, found)
