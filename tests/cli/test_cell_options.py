"""`--cell`: every cell of the table from the training to the exported file; what does not fit is refused in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from small import QUICK

import throughtime as tt
from throughtime.cli.options import CELLS
from throughtime.nn import LAYERS

GATED = [name for name in LAYERS if name != "elman"]


def test_the_command_has_the_cells_of_the_table():
    assert list(CELLS) == list(LAYERS)


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
        (("--cell", "lsmt"), "found 'lsmt'. Did you mean \"lstm\"?"),
        (
            ("--cell", "no.such.module:Cell"),
            "--cell: expected a module that can be imported, found ModuleNotFoundError",
        ),
        (
            ("--cell", "throughtime.cells:Leeky"),
            "--cell: expected Leeky in the module throughtime.cells, found no Leeky",
        ),
        (("--cell", "throughtime:__version__"), "--cell: expected a class, or a function that makes a cell, found str"),
        (("--cell", "torch.nn:Module"), "Module"),
        (("--cell", "throughtime.cells:Leaky", "--initialization", "orthogonal"), "--initialization: expected none"),
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


def test_a_cell_of_ones_own_is_given_again_to_whatever_reads_the_run(command, refused):
    Path("own_cells.py").write_text("from throughtime.cells import Leaky\n\n\nclass Mine(Leaky):\n    pass\n")
    own = ("--cell", "own_cells:Mine")
    assert command("train", *QUICK, *own, "--truncate", 50, "--out", "run").status == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["cell"] == "own_cells:Mine"
    status, out, _ = command("evaluate", "run", *own)
    assert (status, "accuracy" in out) == (0, True)
    assert command("anatomy", "run", "--steps", 5, *own).status == 0
    assert command("predict", "run", *own, "--text", "abc").status == 0
    assert "cell: expected own_cells:Mine to be given" in refused("evaluate", "run")
    assert "cell: expected own_cells:Mine, found throughtime.cells" in refused(
        "evaluate", "run", "--cell", "throughtime.cells:LiGRU"
    )


def test_a_training_with_a_cell_of_ones_own_goes_on_where_it_is_given_again(command, monkeypatch, refused):
    import throughtime.learning.learner as learner

    own = ("--cell", "throughtime.cells:Leaky")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, "_update", stop)
        command("train", *QUICK, *own, "--truncate", 50, "--out", "run")
    assert "--cell: expected throughtime.cells:Leaky to be given again" in refused("train", "--resume", "--out", "run")
    assert command("train", "--resume", "--out", "run", *own).status == 0
