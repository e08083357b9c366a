"""The page about data: each sample is read by its command as the page says, and each format has its sample."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from throughtime.cli import main
from throughtime.data.readers.formats import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (.+?)\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
SAMPLE = re.compile(r"^```(text|python) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    throughtime train (.+)$", re.MULTILINE)
READ_AS = re.compile(r"^> (read as .+)$", re.MULTILINE)
SECTIONS = {title: body for title, body in SECTION.findall(PAGE) if SAMPLE.search(body)}
TRAINED = ("word/TAG", "A table of texts", "A long table", "A series", "Plain text")


def write_samples(body: str) -> None:
    for kind, name, content in SAMPLE.findall(body):
        Path(name).parent.mkdir(exist_ok=True)
        if kind == "text":
            Path(name).write_text(content)
        else:
            Path("sample.py").write_text(content)
            runpy.run_path("sample.py")


@pytest.mark.parametrize("title", SECTIONS)
def test_a_sample_is_read_as_the_page_says(tmp_path, monkeypatch, capsys, title):
    monkeypatch.chdir(tmp_path)
    body = SECTIONS[title]
    write_samples(body)
    command, expected = COMMAND.findall(body), READ_AS.findall(body)
    assert main(["look", *command[0].split()]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out.splitlines()[0].partition(": ")[2]
    assert told.startswith(expected[0]), told


@pytest.mark.parametrize("title", TRAINED)
def test_a_sample_is_learnt(tmp_path, monkeypatch, capsys, title):
    monkeypatch.chdir(tmp_path)
    write_samples(SECTIONS[title])
    small = ["--epochs", "1", "--states", "3", "--engine", "reference", "--out", "run"]
    assert main(["train", *COMMAND.findall(SECTIONS[title])[0].split(), *small]) == 0, capsys.readouterr().err
    assert "read as" in capsys.readouterr().err
    assert main(["evaluate", "run", "--json"]) == 0


def test_every_format_has_a_sample():
    recognised = {name for _, name, _ in (sample for body in SECTIONS.values() for sample in SAMPLE.findall(body))}
    suffixes = {Path(name).suffix for name in recognised} | {""}
    for name, form in FORMATS.items():
        assert not form.suffixes or suffixes & set(form.suffixes) or name in ("npy", "tsv"), name
        assert name in PAGE.lower() or name in ("slashes", "csv", "tsv"), name
