"""`throughtime reproduce`: the list, a report, what is refused, and an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from throughtime.reproductions import EXPERIMENTS, elman_xor
from throughtime.reproductions.report import FILES


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A training of a moment."""
    run = elman_xor.EXPERIMENT.run
    quick = replace(elman_xor.EXPERIMENT, run=lambda seed, bits=300: run(seed, bits, epochs=1), full={"bits": 600})
    monkeypatch.setattr(elman_xor, "EXPERIMENT", quick)


def test_the_list_names_every_experiment(command):
    status, out, err = command("reproduce")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(EXPERIMENTS)
    assert json.loads(command("reproduce", "--json").out) == EXPERIMENTS


def test_a_report_is_printed_and_written(command):
    status, out, err = command("reproduce", "elman-xor", "--seeds", 2)
    assert status == 0
    assert "seed 1 (2 of 2)" in err
    assert "RMS error at every third bit" in out
    assert "figure 3" in out
    assert "of 2 seeds" in out
    assert "seeds 0 to 1" in out
    assert sorted(path.name for path in Path("reproductions/elman-xor").iterdir()) == sorted(FILES)


def test_for_machines(command):
    status, out, err = command("reproduce", "elman-xor", "--seeds", 1, "--full", "--json", "--quiet", "--out", "here")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["command"] == "throughtime reproduce elman-xor --seeds 1 --full"
    assert found["size"] == {"bits": 600}
    assert found["folder"] == "here"
    assert {"processor", "torch", "python", "threads"} <= found["environment"].keys()


def test_a_report_that_is_there_stays(command, refused):
    assert command("reproduce", "elman-xor", "--seeds", 1, "--out", "here").status == 0
    before = Path("here/report.json").read_bytes()
    assert refused("reproduce", "elman-xor", "--seeds", 2, "--out", "here").endswith("--overwrite replaces it")
    assert Path("here/report.json").read_bytes() == before
    assert command("reproduce", "elman-xor", "--seeds", 2, "--out", "here", "--overwrite").status == 0
    assert len(json.loads(Path("here/report.json").read_text())["seeds"]) == 2


def test_what_is_refused(refused):
    assert refused("reproduce", "elman-xro").endswith("found 'elman-xro'. Did you mean 'elman-xor'?")
    assert refused("reproduce", "elman-xor", "--seeds", 0) == "--seeds: expected at least 1, found 0"


@pytest.mark.parametrize("place", ["elman_xor.EXPERIMENT.run", "report.write_atomically", "report.Report.pictures"])
def test_an_interruption_leaves_nothing_half_written(command, monkeypatch, place):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if place.startswith("elman"):
        monkeypatch.setattr(elman_xor, "EXPERIMENT", replace(elman_xor.EXPERIMENT, run=interrupted))
    else:
        monkeypatch.setattr(f"throughtime.reproductions.{place}", interrupted)
    status, out, err = command("reproduce", "elman-xor", "--seeds", 1, "--out", "deep/here", "--quiet")
    assert (status, out, err) == (130, "", "interrupted\n")
    assert not Path("deep").exists() or list(Path("deep").iterdir()) == []
