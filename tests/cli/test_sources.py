"""From a source to a prediction: several columns of symbols, standard input, words of a text, and runs of version 0.1."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from throughtime.cli.inputs import training_data
from throughtime.cli.options import TrainOptions
from throughtime.learning.run import load

QUICK = ("--epochs", 2, "--states", 3, "--engine", "reference", "--quiet")
TAGGED = "".join(f"{word} {tag} {label}\n\n" if i % 3 == 2 else f"{word} {tag} {label}\n" for i, (word, tag, label) in
                 enumerate([("the", "D", "O"), ("dog", "N", "B-X"), ("barks", "V", "O"),
                            ("a", "D", "O"), ("cat", "N", "B-X"), ("sleeps", "V", "O")] * 10))  # fmt: skip


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


def test_several_columns_of_symbols_from_training_to_prediction(command, tmp_path):
    source = tmp_path / "a.conll"
    source.write_text(TAGGED)
    command("train", source, "--inputs", "1,2", "--embedding", 4, *QUICK, "--out", "run")
    run = load(Path("run"))
    assert len(run.encoding.vocabularies) == 2
    assert run.encode([(["the", "dog"], ["D", "N"])]).x.shape == (2, 2)
    again = command("evaluate", "run", "--json")
    test = json.loads(Path("run/metrics.json").read_text())["test"]
    assert json.loads(again.out)["accuracy"] == pytest.approx(test["accuracy"])
    lines = command("predict", "run", source).out.splitlines()
    assert [line.rpartition(" ")[0] if line else "" for line in lines] == TAGGED.splitlines()


def test_every_verb_reads_standard_input(command, refused, stdin, tmp_path):
    (tmp_path / "a.conll").write_text(TAGGED)
    stdin(TAGGED)
    looked = command("look", "-", "--json")
    assert json.loads(looked.out or looked.err)["task"] == "tag"
    stdin(TAGGED)
    command("train", "-", *QUICK, "--out", "run")
    stdin(TAGGED)
    from_pipe = command("predict", "run", "-").out
    assert from_pipe == command("predict", "run", tmp_path / "a.conll").out
    stdin(TAGGED)
    assert "accuracy" in json.loads(command("evaluate", "run", "-", "--json").out)
    assert "expected a file, as the training read standard input" in refused("evaluate", "run")
    with pytest.raises(ValueError, match="standard input cannot be read again, found -"):
        training_data(TrainOptions(source="-", resume=True))


def test_a_text_is_split_as_those_of_the_training(command, tmp_path):
    rows = [f"good, really good{mark}\tyes\nbad; so bad{mark}\tno\n" for mark in ".!?"]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(rows) * 8)
    command("train", tmp_path / "a.tsv", "--units", "words", *QUICK, "--out", "run")
    run = load(Path("run"))
    assert run.encode("good, bad!").words == (["good", ",", "bad", "!"],)
    assert run.encode("good, bad!").x.tolist() == run.encode([["good", ",", "bad", "!"]]).x.tolist()


def test_a_language_model_of_words_goes_on_with_words(command, tmp_path):
    (tmp_path / "a.txt").write_text("the dog barks, the cat sleeps. " * 40)
    command("train", tmp_path / "a.txt", "--units", "words", *QUICK, "--out", "run")
    written = command("predict", "run", "--text", "the dog", "--steps", 5, "--json").out
    symbols = json.loads(written)["continuation"].split()
    assert len(symbols) == 5
    assert set(symbols) <= {"the", "dog", "barks", ",", "cat", "sleeps", "."}


def test_a_run_of_version_0_1_reads_as_it_did(command, tmp_path):
    """It did not tell the format, and every row of a table was a step."""
    (tmp_path / "a.csv").write_text("t,value\n" + "".join(f"{t},{t % 7 + 0.5}\n" for t in range(300)))
    command("train", tmp_path / "a.csv", *QUICK, "--out", "run")
    expected, config = command("evaluate", "run", "--json").out, Path("run/config.toml")
    kept = [line for line in config.read_text().splitlines() if not re.match(r"(format|rows|split_by) ?=", line)]
    config.write_text("\n".join(kept) + "\n")
    Path("run/SHA256SUMS").unlink()
    assert json.loads(command("evaluate", "run", "--json").out) == json.loads(expected)
