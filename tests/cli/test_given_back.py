"""What came in comes back, line by line, with one more column; or as another format, or as JSON with everything."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

QUICK = ("--epochs", 1, "--states", 3, "--engine", "reference", "--quiet", "--split", "0.2", "0.2")
WORDS = [("The", "D"), ("dog", "N"), ("barks", "V"), (".", "P")]


def test_words_come_back_with_their_columns(command):
    header = "word\ttag\n-DOCSTART-\tO\n\n"
    lines = "".join(f"# {i}\n" + "".join(f"{w}\t{t}\n" for w, t in WORDS) + "\n" for i in range(6))
    Path("a.conll").write_text(header + lines)
    command("train", "a.conll", *QUICK, "--out", "run")
    Path("new.conll").write_text(header + lines.replace("dog", "zebra", 1))
    came, back = Path("new.conll").read_text().splitlines(), command("predict", "run", "new.conll").out.splitlines()
    assert len(came) == len(back)
    for one, other in zip(came, back, strict=True):
        if other != one:
            assert other.rpartition("\t")[0] == one
    assert back[0] == "word\ttag\tpredicted"
    assert back[1] == "-DOCSTART-\tO"
    assert sum(line.count("\t") == 2 for line in back) == 1 + 6 * len(WORDS)
    assert any(line.startswith("zebra\tN\t") for line in back)
    found = [
        json.loads(line)
        for line in command("predict", "run", "new.conll", "--json", "--probabilities").out.splitlines()
    ]
    assert found[0]["words"] == ["The", "zebra", "barks", "."]
    assert found[0]["rows"] == [5, 6, 7, 8]
    assert [line.rpartition("\t")[2] for line in back[4:8]] == found[0]["labels"]
    for step in range(4):
        shares = {name: own[step] for name, own in found[0]["probabilities"].items()}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert shares[found[0]["labels"][step]] == found[0]["probability"][step]
    shown = command("predict", "run", "new.conll", "--probabilities").out.splitlines()
    assert float(shown[4].split("\t")[3]) == pytest.approx(found[0]["probability"][0], abs=1e-4)
    other = list(csv.reader(io.StringIO(command("predict", "run", "new.conll", "--as", "csv").out)))
    assert other[:2] == [["sequence", "step", "input", "predicted"], ["line 5", "1", "The", found[0]["labels"][0]]]


def test_a_treebank_comes_back_with_its_words_in_one(command):
    row = "{}\t{}\t_\t{}\t_\t_\t0\t_\t_\t_\n"
    sentence = (
        "# sent_id = {0}\n1-2\tdont"
        + "\t_" * 8
        + "\n"
        + row.format(1, "do", "AUX")
        + row.format(2, "nt", "PART")
        + "\n"
    )
    Path("a.conllu").write_text("".join(sentence.format(i) for i in range(6)))
    command("train", "a.conllu", *QUICK, "--out", "run")
    back = command("predict", "run", "a.conllu").out.splitlines()
    assert [line.rpartition("\t")[0] if "\t" in line else line for line in back] == Path(
        "a.conllu"
    ).read_text().splitlines()
    assert back[1].endswith("\t_\t_")
    assert back[2].rpartition("\t")[2] in ("AUX", "PART")


IDS, LABELS = "klmnopqr", ("c;d", 'say "b"')


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_steps_comes_back_as_it_was_written(command, packed):
    rows = [[name, t, f"{i},{t}"] for i, name in enumerate(IDS) for t in range(3)]
    with open("a.csv", "w", newline="") as file:
        labelled = [[*row, LABELS[IDS.index(row[0]) % 2]] for row in rows]
        csv.writer(file, delimiter=";").writerows([("id", "t", "x", "what"), *labelled])
    command("train", "a.csv", *QUICK, "--out", "run")
    new = "id;t;x\n" + "".join(f"{name};{t};{x}\n" for name, t, x in rows)
    name = "new.csv.gz" if packed else "new.csv"
    Path(name).write_bytes(gzip.compress(new.encode()) if packed else new.encode())
    back = command("predict", "run", name, "--probabilities").out.splitlines()
    assert all(other.startswith(f"{one};") for one, other in zip(new.splitlines(), back, strict=True))
    read = list(csv.reader(back, delimiter=";"))
    assert read[0] == ["id", "t", "x", "predicted", "probability"]
    assert {row[3] for row in read[1:]} <= set(LABELS)
    assert all(read[i][3:] == read[i + 1][3:] == read[i + 2][3:] for i in range(1, 25, 3))
    assert all(0.5 <= float(row[4].replace(",", ".")) <= 1 for row in read[1:])


def test_a_table_of_texts_comes_back_with_lines_in_its_cells(command):
    rows = [(f"{'good' if i % 2 else 'bad'} thing,\n\nsaid\n{i % 3}", "pos" if i % 2 else "neg") for i in range(12)]
    with open("a.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "predicted"), *rows])
    command("train", "a.csv", "--target", "predicted", "--rows", "sequences", *QUICK, "--out", "run")
    back = list(csv.reader(io.StringIO(command("predict", "run", "a.csv").out, newline="")))
    assert back[0] == ["text", "predicted", "predicted_"]
    assert [tuple(row[:2]) for row in back[1:]] == rows
    assert {row[2] for row in back[1:]} <= {"pos", "neg"}


LABELLED = {
    "tagged.txt": ("The/D dog/N barks/V\nA/D  cat/N\tsleeps/V\n" * 6, lambda line: line.split()[0].count("/") == 2),
    "cooking.train": (
        "__label__a how much\n__label__b how long\n" * 6,
        lambda line: line.split("\t")[1].startswith("__label__"),
    ),
    "x.ts": (
        "@univariate true\n@classLabel true a b\n@data\n" + "1,2,3:a\n4,5,6:b\n" * 6,
        lambda line: line[0] == "@" or line.count(":") == 2,
    ),
    "string.csv": (
        "input,dssp3\n" + "".join("{},{}\n".format(word, word.translate({65: "H", 66: "C"})) for word in
                                  ("AABA", "ABBA", "BABB", "BAAB", "BBBA", "ABAB", "AAAB", "BBAB")),
        lambda line: len(line.split(",")) == 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
def test_every_line_comes_back(command, name):
    text, has_more = LABELLED[name]
    Path(name).write_text(text)
    command("train", name, *QUICK, "--out", "run")
    back = command("predict", "run", name).out.splitlines()
    assert len(back) == text.count("\n")
    assert all(map(has_more, back))
    if name != "tagged.txt":
        assert all(other.startswith(one) for one, other in zip(text.splitlines(), back, strict=True))


def test_fasta_comes_back_with_a_line_or_a_field_more(command):
    Path("a.fasta").write_text("".join(f">{i}\nMKLVTS\nSSSOOO\n" for i in range(6)))
    command("train", "a.fasta", *QUICK, "--out", "run")
    back = command("predict", "run", "a.fasta").out.splitlines()
    assert [back[i] for i in range(24) if i % 4 < 3] == Path("a.fasta").read_text().splitlines()
    assert all(set(line) <= set("SO") and len(line) == 6 for line in back[3::4])
    Path("b.fasta").write_text("".join(f">{i}|{'ab'[i % 2]}\nMKLV\n" for i in range(8)))
    command("train", "b.fasta", *QUICK, "--out", "other")
    back = command("predict", "other", "b.fasta").out.splitlines()
    assert back[1::2] == ["MKLV"] * 8
    assert {line.split()[1] for line in back[::2]} <= {"a", "b"}


def test_spans_come_back_as_positions_in_the_text(command):
    objects = [{"id": i, "text": "Anna  sees Bonn", "label": [[0, 4, "PER"], [11, 15, "LOC"]]} for i in range(8)]
    Path("a.jsonl").write_text("".join(json.dumps(own) + "\n" for own in objects))
    command("train", "a.jsonl", *QUICK[2:], "--epochs", 60, "--lr", 0.05, "--out", "run")
    back = [json.loads(line) for line in command("predict", "run", "a.jsonl").out.splitlines()]
    assert back == [own | {"predicted": own["label"]} for own in objects]
    Path("new.jsonl").write_text(json.dumps({"text": "Anna  sees Bonn"}) + "\n")
    assert json.loads(command("predict", "run", "new.jsonl").out)["predicted"] == objects[0]["label"]


def test_a_parquet_table_comes_back_as_text(command):
    import polars as pl

    pl.DataFrame({"text": ["a b", "b a"] * 5, "label": ["x", "y"] * 5, "n": range(10)}).write_parquet("a.parquet")
    command(
        "train", "a.parquet", "--rows", "sequences", "--features", "text", "--target", "label", *QUICK, "--out", "run"
    )
    back = list(csv.reader(io.StringIO(command("predict", "run", "a.parquet").out)))
    assert back[0] == ["text", "label", "n", "predicted"]
    assert [row[:3] for row in back[1:]] == [[*row, str(i)] for i, row in enumerate([("a b", "x"), ("b a", "y")] * 5)]
    assert {row[3] for row in back[1:]} <= {"x", "y"}


def test_what_cannot_be_given_back_is_refused(command, refused):
    Path("a.train").write_text(LABELLED["cooking.train"][0])
    command("train", "a.train", *QUICK, "--out", "run")
    assert (
        refused("predict", "run", "a.train", "--as", "conll")
        == "as: expected csv, tsv or jsonl, as each sequence has one label, found conll"
    )
    assert (
        refused("predict", "run", "a.train", "--as", "csv", "--json")
        == "--as: expected jsonl or none with --json, found csv"
    )
