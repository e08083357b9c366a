"""`throughtime predict`, `evaluate`: on a trained run, and on folders that are none."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import tomli_w

from throughtime.data import KINDS

TEXT = "def f(x): return x  # hi"


def test_evaluate_tells_what_training_told(command, trained):
    trained_on = json.loads((trained / "metrics.json").read_text())
    status, out, _ = command("evaluate", trained, "--json")
    assert status == 0
    found = json.loads(out)
    assert {name: found[name] for name in trained_on["test"]} == trained_on["test"]
    assert (found["source"], found["part"], found["baselines"]) == ("python-source", "test", trained_on["baselines"])
    status, out, _ = command("evaluate", trained)
    assert status == 0
    assert f"{found['accuracy']:.4f}" in out
    assert all(kind in out for kind in KINDS)


def test_predict_labels_each_character(command, trained):
    status, out, _ = command("predict", trained, "--text", TEXT, "--json")
    assert status == 0
    found = json.loads(out)
    assert (found["name"], found["text"]) == ("0", TEXT)
    assert len(found["labels"]) == len(TEXT)
    assert 1 < len(set(found["labels"])) <= len(KINDS)
    assert set(found["labels"]) <= set(KINDS)


def test_predict_without_a_terminal_writes_letters_and_no_colours(command, trained):
    out = command("predict", trained, "--text", TEXT + "\nmore").out
    lines = out.splitlines()
    assert (lines[0], lines[2], len(lines)) == (TEXT, "more", 5)
    labels = json.loads(command("predict", trained, "--text", TEXT + "\nmore", "--json").out)["labels"]
    letters = {"comment": "c", "string": "s", "name": "n", "keyword": "k", "op": "o", "number": "u", "space": " "}
    assert lines[1] == "".join(letters[label] for label in labels[: len(TEXT)]).rstrip()
    assert "\x1b" not in out


def test_predict_has_colours_when_told_so(command, trained, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = command("predict", trained, "--text", TEXT).out
    assert "\x1b[" in out
    assert len(out.splitlines()) == 2  # the text, the legend


def test_predict_reads_an_unknown_symbol_as_unknown(command, trained):
    status, out, _ = command("predict", trained, "--text", "x = '\N{SNOWMAN}'", "--json")
    assert status == 0
    assert len(json.loads(out)["labels"]) == 7


def test_predict_without_a_text_reads_the_held_out_part(command, trained):
    status, out, _ = command("predict", trained, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["name"] == "netrc.py"
    assert len(found["labels"]) == len(found["text"])


def test_text_and_options_that_are_wrong_are_refused(refused, trained):
    assert "expected at least one step, found none" in refused("predict", trained, "--text", "")
    assert refused("predict", trained, "python-source", "--text", "x") == "expected SOURCE or --text, found both"
    assert "Did you mean --text?" in refused("predict", trained, "--txt", "x")
    assert refused("evaluate", trained, "digits") == "task: expected classify, which digits is for, found tag"
    assert "did you mean digits?" in refused("evaluate", trained, "digit")
    assert refused("evaluate") == 'Command "evaluate" parameter RUN requires an argument.'
    assert "for the task tag, found 3" in refused("predict", trained, "--text", "x", "--steps", 3)
    assert "Did you mean --column?" in refused("predict", trained, "x.csv", "--colum", "3")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_folder_that_is_not_a_run_is_refused(refused, tmp_path, verb):
    assert refused(verb, "none") == "none: expected a run folder, found no such folder"
    assert "found not a run: config.toml, model.json" in refused(verb, tmp_path)
    (tmp_path / "file").touch()
    assert refused(verb, "file") == "file: expected a run folder, found a file"


@pytest.mark.parametrize("name", ["config.toml", "model.json", "model.safetensors", "vocabulary.json", "metrics.json"])
def test_an_incomplete_run_is_refused(refused, trained, name):
    shutil.copytree(trained, "run")
    Path("run", name).unlink()
    assert refused("evaluate", "run") == f"run: expected a run folder, found an incomplete run: {name} missing"
    Path("run", name).write_bytes(b"\x00")
    assert f"run/{name}: expected" in refused("evaluate", "run")


OF_ANOTHER_KIND = {
    "column": 3,
    "truncate": 1 << 64,
    "split": [0.1],
    "split ": 3,
    "seed": "x",
    "source": 3,
    "task": 3,
    "features": [1],
    "season": "x",
    "horizon": 1 << 70,
    "bidirectional": 1,
    "lr": [0.1],
}


@pytest.mark.parametrize("verb", ["evaluate", "predict", "anatomy", "export"])
@pytest.mark.parametrize("key", OF_ANOTHER_KIND)
def test_a_configuration_of_another_kind_names_the_key(refused, trained, verb, key):
    if verb != "evaluate" and key not in ("column", "truncate"):
        pytest.skip("the same check")
    shutil.copytree(trained, "run")
    Path("run/SHA256SUMS").unlink()
    config = tomllib.loads(Path("run/config.toml").read_text())
    Path("run/config.toml").write_text(tomli_w.dumps(config | {key.strip(): OF_ANOTHER_KIND[key]}))
    told = refused(verb, "run")
    assert told.startswith(f"run/config.toml: {key.strip()}: expected a value that the option can have, found the ")
