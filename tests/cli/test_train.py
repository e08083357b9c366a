"""`throughtime train`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import pytest
from small import QUICK

import throughtime.data.files
from throughtime.learning import History

FILES = {
    *("config.toml", "model.json", "model.safetensors", "vocabulary.json"),
    *("metrics.csv", "metrics.json", "SHA256SUMS", "learning-curve.png", "confusion-matrix.png"),
}


def test_training_writes_a_run_and_tells_the_results(command):
    status, out, err = command("train", *QUICK, "--truncate", 50)
    assert status == 0
    run = Path("runs/python-source")
    assert {file.name for file in run.iterdir()} == FILES
    results = json.loads((run / "metrics.json").read_text())
    for name, value in {"accuracy": results["test"]["accuracy"], **results["baselines"]}.items():
        assert [line for line in out.splitlines() if line.strip().startswith(name) and line.endswith(f"{value:.4f}")]
    assert results["test"]["targets"] == sum(row["count"] for row in results["test"]["classes"].values())
    assert "run folder: runs/python-source" in out
    assert "epoch   1" in err
    assert "\x1b" not in out
    with open(run / "metrics.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    assert (run / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(Path("runs").iterdir()) == [run]


def test_the_resolved_configuration_repeats_the_training(command):
    assert command("train", *QUICK, "--seed", 3).status == 0
    config = Path("runs/python-source/config.toml")
    resolved = tomllib.loads(config.read_text())
    assert (resolved["seed"], resolved["truncate"], resolved["task"]) == (3, 200, "tag")
    assert command("train", "--config", config, "--out", "again").status == 0
    assert Path("again/config.toml").read_bytes() == config.read_bytes()
    assert Path("again/model.safetensors").read_bytes() == (config.parent / "model.safetensors").read_bytes()


def test_flag_before_toml_before_default(command):
    Path("run.toml").write_text('states = 4\nepochs = 2\ninitialization = "uniform"\nengine = "reference"\n')
    assert command("train", "--config", "run.toml", "--epochs", 1).status == 0
    resolved = tomllib.loads(Path("runs/python-source/config.toml").read_text())
    assert (resolved["states"], resolved["epochs"], resolved["initialization"]) == (4, 1, "uniform")
    assert resolved["optimizer"] == "adam"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "states = 4\nepoch = 2\n",
            "run.toml, line 2: expected an option of `throughtime train`, found the key 'epoch'; did you mean epochs?",
        ),
        (
            "\n[train]\nepochs = 2\n",
            "run.toml, line 2: expected an option of `throughtime train`, found the key 'train'",
        ),
        ("[epochs]\nx = 2\n", "run.toml, line 1: epochs: expected a value, found a table"),
        (
            'states = 3\n\nepochs = "ten"\n',
            "run.toml, line 3: Invalid value for [epochs]: expected a whole number or auto, found 'ten'",
        ),
        (
            "epochs = 2.5\n",
            "run.toml, line 1: Invalid value for [epochs]: expected a whole number or auto, found '2.5'",
        ),
        ("epochs = 2\nepochs = 3\n", "run.toml: expected TOML, found: Cannot overwrite a value (at line 2"),
        ('optimizer = "adm"\n', 'Did you mean "adam"?'),
        ("seed = 18446744073709551616\n", "[seed]: expected a whole number of 64 bits, found 18446744073709551616"),
        (f"seed = {'9' * 4000}\n", f"[seed]: expected a whole number of 64 bits, found {'9' * 39}…"),
        (f"seed = {'9' * 5000}\n", "run.toml: expected TOML, found: Exceeds the limit"),
        ("split = 3\n", "--split: Incorrect number of arguments: expected 2 but got 1"),
        ('lr = "x"\n', "Invalid value for [lr] from run.toml, line 1"),
        (f"lr = 1 #{'x' * (1 << 17)}", "run.toml: expected TOML of at most 131,072 bytes, found more"),
        (f"\n{'a.' * 60_000}a = 1", "run.toml, line 2: expected keys of at most 100 parts, found a longer one"),
        (f"x = {{{'a . ' * 30_000}a = 1}}", "run.toml, line 1: expected keys of at most 100 parts, found a longer one"),
        ("[" + '"a".' * 25_000 + "a]", "run.toml, line 1: expected keys of at most 100 parts, found a longer one"),
        ('out = "here"\nconfig = "other.toml"', "found the key 'config'"),
    ],
)
def test_a_wrong_toml_file_is_refused(refused, text, expected):
    Path("run.toml").write_text(text)
    assert expected in refused("train", "--config", "run.toml")


def test_a_toml_file_that_is_not_text_or_not_there_is_refused(refused):
    Path("run.toml").write_bytes(b"epochs = 1 # \xff")
    assert refused("train", "--config", "run.toml") == "--config: run.toml, byte 13: expected UTF-8, found 0xff"
    assert refused("train", "--config", "none.toml") == "--config: none.toml: No such file or directory"
    assert "/dev/zero: expected TOML of at most" in refused("train", "--config", "/dev/zero")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--epoch", "3"], "Unknown option: --epoch. Did you mean --epochs?"),
        (["--epochs", "3.5"], "Invalid value for --epochs: expected a whole number or auto, found '3.5'"),
        (["--epochs", "0"], "epochs: expected at least 1, found 0"),
        (["--truncate", "some"], "Invalid value for --truncate: expected a whole number or auto or none, found 'some'"),
        (["--states", "-1"], "--states: expected at least 1, found -1"),
        (["--seed", "-1"], "seed: expected a whole number from 0 to 2^63 − 1, found -1"),
        (["--lr", "0"], "lr: expected a positive number, found 0"),
        (["--lr", "nan"], "lr: expected a positive number, found nan"),
        (["--clip-norm", "-2"], "clip-norm: expected a positive number, found -2"),
        (["--batch-size", "0"], "batch-size: expected at least 1, found 0"),
        (["--nonlinearity", "tan"], 'Did you mean "tanh"?'),
        (["--task", "lm"], "task: expected tag, which python-source is for, found lm"),
        (["pyhton-source"], "did you mean python-source?"),
        (["python-source", "more"], "expected no further argument, found 'more'"),
        (["--optimizer", "gd", "--truncate", "9"], 'optimizer "gd": expected the full batch of whole sequences'),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(command, arguments, expected):
    status, out, err = command("train", *arguments)
    assert (status, out) == (2, "")
    assert expected in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_a_second_training_takes_the_next_name(command):
    Path("runs/python-source").mkdir(parents=True)
    Path("runs/python-source/notes").touch()
    assert "run folder: runs/python-source-2\n" in command("train", *QUICK).out
    assert "run folder: runs/python-source-3\n" in command("train", *QUICK).out


def test_a_run_is_replaced_only_when_told_so(command, refused):
    assert command("train", *QUICK, "--out", "mine").status == 0
    before = Path("mine/model.safetensors").read_bytes()
    assert (
        refused("train", *QUICK, "--out", "mine") == "mine: expected a free name, found a run; --overwrite replaces it"
    )
    assert command("train", *QUICK, "--out", "mine", "--overwrite", "--seed", 1).status == 0
    assert Path("mine/model.safetensors").read_bytes() != before
    assert list(Path().iterdir()) == [Path("mine")]


def test_a_folder_that_is_not_a_run_is_never_replaced(refused):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    expected = "mine: expected a free name, an empty folder or a run, found something else"
    assert refused("train", *QUICK, "--out", "mine", "--overwrite") == expected
    assert Path("mine/thesis.txt").read_text() == "years of work"


def test_weights_that_grow_beyond_all_bounds_are_a_failure_not_a_run(command):
    arguments = ("--nonlinearity", "identity", "--optimizer", "sgd", "--lr", "1e30", "--clip-norm", "none")
    status, out, err = command("train", *QUICK, *arguments)
    assert (status, out) == (1, "")
    assert "expected a finite loss and gradient" in err.splitlines()[-1]
    assert "see runs/python-source.unfinished/nonfinite; try a lower --lr" in err.splitlines()[-1]
    assert [path.name for path in Path("runs").iterdir()] == ["python-source.unfinished"]


@pytest.mark.parametrize("when", ["training", "writing"])
def test_an_interrupted_training_leaves_no_run_but_can_go_on(command, monkeypatch, when):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "training":
            patch.setattr("throughtime.learning.recipe.evaluate", interrupt)
        else:
            patch.setattr(History, "to_csv", interrupt)
        status, out, err = command("train", *QUICK)
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted"
    assert [path.name for path in Path("runs").iterdir()] == ["python-source.unfinished"]
    assert command("train", "--resume").status == 0
    assert [path.name for path in Path("runs").iterdir()] == ["python-source"]


def test_a_full_disk_is_a_failure_in_one_line(command, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "runs/python-source")

    monkeypatch.setattr(throughtime.data.files.os, "fsync", full)
    status, out, err = command("train", *QUICK)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith(
        "error: runs/python-source.unfinished: No space left on device: a checkpoint needs"
    )
    assert not Path("runs/python-source.unfinished").exists()


def test_tensorboard(command):
    pytest.importorskip("tensorboard")
    status, _, err = command("train", *QUICK, "--out", "run", "--tensorboard", "curves")
    assert status == 0, err
    assert [path.name.split(".")[0] for path in Path("curves").iterdir()] == ["events"]
    assert "tensorboard" not in Path("run/config.toml").read_text()


def test_tensorboard_is_refused_before_data_is_read_where_it_is_missing(command, monkeypatch):
    monkeypatch.setattr("throughtime.callbacks.find_spec", lambda name: None)
    status, _, err = command("train", "no-such-file", "--out", "run", "--tensorboard", "curves")
    assert status == 1
    assert (
        err == "error: TensorBoard: expected the package tensorboard, which is not installed: pip install tensorboard\n"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--states", 0], "--states: expected at least 1, found 0"),
        (["--truncate", -3], "--truncate: expected at least 1, found -3"),
        (["--dropout", 1], "--dropout: expected a share from 0 to below 1, found 1"),
        (["--lr", "inf"], "--lr: expected a positive number, found inf"),
        (["--nonlinearity", "sigmoid"], 'Did you mean "logistic"?'),
        (["--cell", "LSTN"], 'Did you mean "lstm"?'),
    ],
)
def test_options_are_refused_before_data_is_read(given, told, command):
    status, _, err = command("train", "no-such-file", *given)
    assert status == 2
    assert told in err
    assert "no-such-file" not in err
    assert err.count("\n") == 1


def test_what_a_file_turns_on_the_command_line_turns_off(command):
    Path("options.toml").write_text("bidirectional = true\nwatch = true\n")
    status, _, err = command(
        "train", *QUICK, "--config", "options.toml", "--no-bidirectional", "--no-watch", "--out", "run"
    )
    assert status == 0, err
    kept = tomllib.loads(Path("run/config.toml").read_text())
    assert (kept["bidirectional"], kept["watch"]) == (False, False)
