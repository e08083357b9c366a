"""`--cell`: every cell of the table from the training to the exported file; what does not fit is refused in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from small import QUICK

import throughtime as tt
from throughtime.cli.options import TrainOptions
from throughtime.nn import LAYERS

GATED = [name for name in LAYERS if name != "elman"]


def test_the_command_has_the_cells_of_the_table():
    assert list(get_args(get_type_hints(TrainOptions)["cell"])) == list(LAYERS)


@pytest.mark.parametrize("cell", GATED)
def test_a_gated_cell_from_training_to_use(command, cell):
    assert command("train", *QUICK, "--cell", cell, "--truncate", 50, "--out", "run").status == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["cell"] == cell
    model = tt.load("run").model
    assert (type(model.rnn), model.rnn.hidden_size) == (LAYERS[cell], 5)
    status, out, _ = command("evaluate", "run")
    assert (status, "accuracy" in out) == (0, True)
    assert command("export", "run").status == 0
    again = command("train", "--config", "run/config.toml", "--out", "again")
    assert again.status == 0
    assert Path("again/model.safetensors").read_bytes() == Path("run/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cell", "lsmt"), 'Invalid value "lsmt" for --cell'),
        (
            ("--cell", "lstm", "--nonlinearity", "relu"),
            "nonlinearity: expected none with the cell 'lstm', found 'relu'",
        ),
        (("--cell", "gru", "--initial-state", "learned"), "--initial-state: expected zero"),
    ],
)
def test_what_does_not_fit_a_cell_is_refused(refused, options, expected):
    assert expected in refused("train", *QUICK, *options)


def test_a_run_of_another_cell_is_not_resumed(command, monkeypatch, refused):
    import throughtime.learning.learner as learner

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, "_update", stop)
        command("train", *QUICK, "--cell", "gru", "--out", "run")
    assert "--cell: expected gru, as the training began, found lstm" in refused(
        "train", "--resume", "--out", "run", "--cell", "lstm"
    )
