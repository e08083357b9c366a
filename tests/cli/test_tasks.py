"""Every task from files, through the command line: train, evaluate, predict."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from throughtime.learning import run

SMALL = ("--states", 6, "--engine", "reference", "--out", "run")


def conllu(sentences: list[list[tuple[str, str]]]) -> str:
    rows = [
        [f"{i}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_" for i, (word, tag) in enumerate(sentence, 1)]
        for sentence in sentences
    ]
    return "\n\n".join("\n".join(lines) for lines in rows) + "\n\n"


@pytest.fixture
def treebank() -> Path:
    sentences = [[("the", "DET"), ("cat", "NOUN")], [("a", "DET"), ("dog", "NOUN"), ("runs", "VERB")]] * 10
    Path("train.conllu").write_text(conllu(sentences))
    Path("test.conllu").write_text(conllu(sentences[:2]))
    return Path("train.conllu")


def test_words_of_a_treebank(command, treebank):
    arguments = ("--column", "upos", "--test", "test.conllu", "--epochs", 6, "--lr", 0.1, *SMALL)
    status, out, _ = command("train", treebank, *arguments)
    assert status == 0
    assert "test part of train.conllu: 2 sequences, 5 targets" in out
    assert "most frequent label of each symbol  1.0000" in out
    resolved = tomllib.loads(Path("run/config.toml").read_text())
    assert resolved["embedding"] == 128  # of words, unless told otherwise
    assert resolved["initialization"] == "uniform"
    assert resolved["source"] == str(treebank.absolute())
    assert resolved["column"] == "upos"
    found = json.loads(command("predict", "run", "--text", "a cat", "--json").out)
    assert len(found.pop("probability")) == len(found.pop("words")) == 2
    assert found == {"name": "0", "labels": ["DET", "NOUN"]}
    assert command("predict", "run", "--text", "the dog").out == "the\tDET\ndog\tNOUN\n\n"
    out = command("predict", "run", "test.conllu").out
    came = Path("test.conllu").read_text().splitlines()
    assert [line.rpartition("\t")[0] for line in out.splitlines() if line] == [line for line in came if line]
    evaluated = json.loads(command("evaluate", "run", "--json").out)
    stored = json.loads(Path("run/metrics.json").read_text())
    assert {name: evaluated[name] for name in stored["test"]} == stored["test"]
    other = json.loads(command("evaluate", "run", "test.conllu", "--json").out)
    assert other["accuracy"] == stored["test"]["accuracy"]


@pytest.mark.parametrize(
    "options",
    [
        ("--embedding", "none", "--input-dropout", 0, "--readout-dropout", 0),
        (),
        ("--embedding", 4, "--bidirectional", "--characters"),
        ("--layers", 2, "--dropout", 0.1),
        ("--vectors", "vectors.txt", "--freeze-vectors"),
    ],
)
def test_a_stack_is_trained_and_comes_back(command, treebank, options):
    Path("vectors.txt").write_text("cat 1 2 3\ndog 4 5 6\n")
    status, _, err = command("train", treebank, "--column", "upos", "--epochs", 2, *options, *SMALL)
    assert status == 0, err
    assert ("ElmanNetwork" if "none" in options else "SequenceModel") in err
    evaluated = json.loads(command("evaluate", "run", "--json").out)
    stored = json.loads(Path("run/metrics.json").read_text())
    assert (evaluated["part"], evaluated["loss"]) == ("test", pytest.approx(stored["test"]["loss"], rel=1e-12))
    model = run.load("run").model
    described = json.loads(Path("run/model.json").read_text())["arguments"]
    assert all(
        getattr(model, name) == (tuple(value) if name == "columns" else value)
        for name, value in described.items()
        if name not in ("embedding", "initial_state")
    )
    if "--vectors" in options:
        words = run.load("run").encoding.vocabulary
        assert model.embedding.weight[words.encode(["dog"])[0]].tolist() == [4, 5, 6]
    if "--characters" in options:  # words that the training never saw differ by how they are spelt
        logits = run.load("run").logits([["catty"], ["dogs"]])
        assert not (logits[0] == logits[1]).all()


def test_spans_of_bio_labels(command):
    sentence = "Jane B-PER\nDoe I-PER\nsees O\nOslo B-LOC\n\n"
    Path("train.conll").write_text(sentence * 8)
    assert command("train", "train.conll", "--test", "train.conll", "--epochs", 8, "--lr", 0.1, *SMALL).status == 0
    stored = json.loads(Path("run/metrics.json").read_text())["test"]
    assert stored["accuracy"] == 1.0
    types = {kind: {"precision": 1.0, "recall": 1.0, "f1": 1.0, "count": 8} for kind in ("LOC", "PER")}
    assert stored["spans"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "types": types}
    assert run.load("run").encoding.scheme == "IOB2"


def test_a_folder_of_names(command):
    Path("names").mkdir()
    Path("names/short.txt").write_text("ab\nba\naa\nbb\nac\n" * 4)
    Path("names/long.txt").write_text("abababab\nbabababa\ncacacaca\n" * 6)
    status, out, err = command("train", "names", "--epochs", 12, "--lr", 0.03, "--batch-size", 4, *SMALL)
    assert status == 0
    assert "names (classify)" in err
    assert "most frequent label" in out
    assert "of each symbol" not in out
    name, label, probability = command("predict", "run", "--text", "abababab").out.strip().split("\t")
    assert (name, label) == ("0", "long")
    found = json.loads(command("predict", "run", "--text", "abababab", "--json").out)
    assert found["label"] == "long"
    assert found["probabilities"]["long"] == pytest.approx(float(probability), abs=1e-3)
    assert math.isclose(sum(found["probabilities"].values()), 1)
    assert Path("run/confusion-matrix.png").read_bytes().startswith(b"\x89PNG")


def test_digits_are_images_of_eight_rows(command):
    assert command("train", "digits", "--epochs", 1, *SMALL).status == 0
    out = command("predict", "run").out
    assert len(out.splitlines()) == 250
    assert command("evaluate", "run").out.startswith("test part of digits: 250 sequences, 250 targets")


def test_a_language_model_goes_on(command, refused):
    Path("text.txt").write_text("abc" * 400)
    status, out, _ = command("train", "text.txt", "--epochs", 8, "--lr", 0.05, "--truncate", 20, *SMALL)
    assert status == 0
    assert "written by the model after 'abcabc" in out
    stored = json.loads(Path("run/metrics.json").read_text())["test"]
    assert stored["bits_per_symbol"] == pytest.approx(stored["loss"] / math.log(2))
    assert stored["perplexity"] == pytest.approx(math.exp(stored["loss"]))
    assert stored["accuracy"] > 0.9
    out = command("predict", "run", "--text", "ab", "--steps", 6, "--temperature", 0).out
    assert out == "abcabcab\n"
    first, again, other = (
        json.loads(command("predict", "run", "--text", "a", "--temperature", 9, "--seed", seed, "--json").out)
        for seed in (1, 1, 2)
    )
    assert len(first["continuation"]) == 200
    assert first == again != other
    assert "--text to go on from" in refused("predict", "run")
    assert "temperature: expected a number of 0 or more, found -1.0" in refused(
        "predict", "run", "--text", "a", "--temperature", -1
    )
    assert "steps: expected at least 1, found 0" in refused("predict", "run", "--text", "a", "--steps", 0)


def write_series(path: str, series: dict[str, np.ndarray]) -> None:
    rows = [f"{name},{t},{value!r}" for name, values in series.items() for t, value in enumerate(values.tolist())]
    Path(path).write_text("\n".join(["id,t,y", *rows]) + "\n")


def test_a_forecast_stands_beside_the_naive_ones(command, refused):
    t = np.arange(300)
    write_series("waves.csv", {"one": 50 + 10 * np.sin(t * np.pi / 6), "two": 50 + 5 * np.cos(t * np.pi / 6)})
    table = ("--id", "id", "--time", "t")
    arguments = (*table, "--horizon", 3, "--season", 12, "--epochs", 40, "--lr", 0.02, "--batch-size", 1)
    status, out, _ = command("train", "waves.csv", *arguments, *SMALL)
    assert status == 0
    stored = json.loads(Path("run/metrics.json").read_text())["test"]["forecasts"]
    assert stored["seasonal naive"]["y"]["mae"] == pytest.approx(0, abs=1e-4)
    assert stored["model"]["y"]["mae"] < stored["naive"]["y"]["mae"]
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["forecast,", "model", "naive", "seasonal"]
    evaluated = json.loads(command("evaluate", "run", "--json").out)
    assert evaluated["forecasts"] == stored
    assert (evaluated["horizon"], evaluated["season"]) == (3, 12)
    assert json.loads(command("evaluate", "run", "--horizon", 1, "--json").out)["horizon"] == 1
    rows = [line.split("\t") for line in command("predict", "run", "waves.csv", "--steps", 2).out.splitlines()]
    assert rows[0] == ["series", "step", "y", "y low", "y high"]
    assert all(float(low) <= float(high) for *_, low, high in rows[1:])
    assert [row[:2] for row in rows[1:]] == [["one", "1"], ["one", "2"], ["two", "1"], ["two", "2"]]
    found = json.loads(command("predict", "run", "waves.csv", "--steps", 2, "--json").out.splitlines()[0])
    assert [f"{value:.6g}" for value in found["forecast"]["y"]] == [row[2] for row in rows[1:3]]
    assert "steps: expected at least 1, found 0" in refused("predict", "run", "--steps", 0)
    expected = "a season of 300 steps and a value after it, found 300 values at most"
    assert expected in refused("train", "waves.csv", *table, "--season", 300, "--predict", "level")


def test_a_forecast_from_other_inputs_looks_one_step_ahead(command, refused):
    random = np.random.default_rng(0)
    x = random.normal(size=60)
    lines = [f"{t},{a!r},{b!r}" for t, (a, b) in enumerate(zip(x.tolist(), np.roll(x, 1).tolist(), strict=True))]
    Path("series.csv").write_text("\n".join(["t,x,y", *lines]) + "\n")
    arguments = ("series.csv", "--time", "t", "--features", "x", "--target", "y", "--task", "forecast", *SMALL)
    assert command("train", *arguments, "--epochs", 1).status == 0
    assert command("predict", "run").out.splitlines()[0] == "series\tstep\ty\ty low\ty high"
    expected = "steps: expected 1 of a model that forecasts y from other inputs, found 2"
    assert refused("predict", "run", "--steps", 2) == expected
    expected = "horizon: expected 1 of a model that forecasts y from other inputs, found 2"
    assert refused("train", *arguments, "--horizon", 2, "--overwrite") == expected


@pytest.mark.parametrize(
    ("name", "content", "arguments", "expected"),
    [
        ("empty.csv", "", [], "empty.csv"),
        ("empty.txt", "", [], "empty.txt"),
        ("empty.conllu", "", [], "empty.conllu"),
        ("x.csv", "a,b\n1,2\n", ["--target", "c"], "c"),
        ("x.what", "a", [], "format: expected one of"),
        ("x.csv", "a,b\n1.5,2\n", ["--format", "cvs"], "did you mean csv?"),
        ("x.txt", "abc" * 99, ["--column", "3"], "column: expected none"),
        ("x.txt", "abc" * 99, ["--task", "tag"], "task: expected lm"),
        ("x.txt", "abc" * 99, ["--split", "0.6", "0.5"], "split: expected two shares"),
        ("x.txt", "abc" * 99, ["--valid", "none.txt"], "source: expected a file"),
        ("x.txt", "abc" * 99, ["--bidirectional"], "bidirectional: expected False"),
        ("x.txt", "abc" * 99, ["--dropout", "2", "--layers", "2"], "dropout"),
        ("x.txt", "abc" * 99, ["--layers", "2", "--initial-state", "learned"], "--initial-state: expected zero"),
        (
            "x.csv",
            "t,y\n" + "".join(f"{i},{i}.5\n" for i in range(60)),
            ["--embedding", "3"],
            "--embedding: expected none",
        ),
    ],
)
def test_data_that_is_wrong_is_refused_in_one_line(refused, name, content, arguments, expected):
    Path(name).write_text(content)
    message = refused("train", name, *arguments)
    assert expected in message
    assert not Path("runs").exists()


def test_bytes_that_are_not_text_are_refused(refused):
    Path("x.txt").write_bytes(b"abc\xff")
    assert "UTF-8" in refused("train", "x.txt")


def test_a_label_that_the_training_had_not_is_refused(command, refused, treebank):
    assert command("train", treebank, "--column", "upos", "--epochs", 1, *SMALL).status == 0
    Path("other.conllu").write_text(conllu([[("so", "ADV")]]))
    assert "expected one of the 3 labels of the training data, found 'ADV'" in refused(
        "evaluate", "run", "other.conllu"
    )


def test_any_text_file_is_tagged_by_a_model_of_characters(command, refused, trained):
    Path("mine.py").write_text("x = 1\n")
    found = json.loads(command("predict", trained, "mine.py", "--json").out)
    assert (found["name"], found["text"], len(found["labels"])) == ("mine.py", "x = 1\n", 6)
    Path("mine.py").write_bytes(b"\xff")
    assert refused("predict", trained, "mine.py").startswith(
        "mine.py:1: byte 1: expected UTF-8 text, found the byte 0xff"
    )
    Path("mine.py").write_text("")
    assert "expected text, found an empty file" in refused("predict", trained, "mine.py")


def test_rare_classes_count_as_much_as_others_when_told_so(command, refused):
    lines = [f"{'b' if i % 10 == 0 else 'a'},{i % 7 / 7},{i % 3 / 3},{i % 5 / 5}" for i in range(100)]
    Path("a.csv").write_text("label,t0,t1,t2\n" + "\n".join(lines) + "\n")
    rows = ("--rows", "sequences", "--target", "label")
    recall = {}
    for weight in ([], ["--class-weight", "balanced"]):
        command("train", "a.csv", *rows, *SMALL, "--epochs", 3, "--overwrite", *weight)
        measured = json.loads(command("evaluate", "run", "a.csv", "--json").out)
        recall[bool(weight)] = measured["classes"]["b"]["recall"]
    assert tomllib.loads(Path("run/config.toml").read_text())["class_weight"] == "balanced"
    assert recall[False] == 0 < recall[True]
    Path("x.csv").write_text("t,x\n" + "".join(f"{t},{t % 7}.5\n" for t in range(60)))
    status, _, err = command("train", "x.csv", "--class-weight", "balanced", "--out", "other", "--epochs", 1)
    assert status == 2
    assert err.endswith("error: class_weight: expected None, as the targets are no labels, found weights\n")
