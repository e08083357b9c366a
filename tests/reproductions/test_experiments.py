"""Every experiment, in its short form: the direction of what its paper found, a report, a picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from throughtime.reproductions import EXPERIMENTS, find
from throughtime.reproductions.report import FILES, Report, check_free, reproduce

ROOT = Path(__file__).parents[2]
MADE = {"processor": "a processor", "threads": 1, "throughtime": "0", "torch": "1", "python": "2"}


@pytest.fixture(scope="module", params=EXPERIMENTS)
def report(request) -> Report:
    """What the first seed finds in the short form."""
    of = find(request.param)
    return reproduce(request.param, of, 1, size=of.short, environment=MADE)


def test_the_papers_finding_holds(report):
    claims = report.experiment.claims(report.outcomes)
    assert claims
    assert [claim.says for claim in claims if not all(claim.holds)] == []


def test_the_report_is_whole(report, tmp_path):
    report.write(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(FILES)
    assert (tmp_path / "new/picture.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "new/picture.svg").read_text()
    found = json.loads((tmp_path / "new/report.json").read_text())
    page = (tmp_path / "new/report.md").read_text()
    assert len(found["measures"]) >= 1
    assert all(len(measure["values"]) == 1 and measure["what"] in page for measure in found["measures"])
    for text in (report.experiment.question, report.experiment.paper, "a processor", "seed 0"):
        assert text in page
    assert not re.search(r"\bnan\b|\{|\}", page)


def test_a_size_is_one_that_the_experiment_knows(report):
    assert {*report.experiment.full, *report.experiment.short} <= {*report.size}


def test_the_same_seed_finds_the_same():
    of = find("elman-xor")
    small = {"bits": 300, "epochs": 3}
    first, again = (reproduce("elman-xor", of, 2, size=small, environment=MADE).json() for _ in range(2))
    assert first["measures"] == again["measures"]
    assert first["measures"][0]["values"][0] != first["measures"][0]["values"][1]


def test_the_callers_random_numbers_go_on_as_they_were():
    before = torch.get_rng_state()
    reproduce("elman-xor", find("elman-xor"), 1, size={"bits": 300, "epochs": 1}, environment=MADE)
    assert torch.equal(torch.get_rng_state(), before)


def test_only_a_report_is_overwritten(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="expected a free name, an empty folder or a report, found something else"):
        check_free(tmp_path, overwrite=True)
    for name in FILES[:2]:
        (tmp_path / name).touch()
    check_free(tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="--overwrite"):
        check_free(tmp_path)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_page_of_the_documents_shows_it(name):
    """As it is described now, with its real numbers, in the navigation and with its picture in the index."""
    folder, of = ROOT / "docs/reproductions", find(name)
    page = (folder / name / "report.md").read_text(encoding="utf-8")
    found = json.loads((folder / name / "report.json").read_text(encoding="utf-8"))
    assert of.question in page
    assert of.recipe in page
    assert found["seeds"] == list(range(of.seeds))
    assert [line for line in page.splitlines() if found["environment"]["processor"] in line]
    assert f"({name}/picture.png)" in (folder / "index.md").read_text(encoding="utf-8")
    assert f"reproductions/{name}/report.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
