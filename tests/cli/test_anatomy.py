"""`throughtime anatomy`: the page and the arrays of a trained run."""

from __future__ import annotations

import numpy as np


def test_it_writes_the_page_and_the_arrays(command, trained, tmp_path):
    out = tmp_path / "report.html"
    status, told, _ = command("anatomy", trained, "--start", 50, "--steps", 40, "--out", out, "--npz")
    assert status == 0
    assert told.startswith("The gradient ")
    assert f"{out}: netrc.py, steps 50 to 89" in told
    page = out.read_text()
    assert "<title>Anatomy of the gradient: python-source, netrc.py, steps 50 to 89</title>" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    with np.load(out.with_suffix(".npz")) as arrays:
        assert arrays["W_shares"].shape == (40, 40)


def test_what_is_wrong_is_refused(refused, trained, tmp_path):
    assert "--steps: expected 1 to 1000" in refused("anatomy", trained, "--steps", 2000)
    assert "instance: expected 0 to 0, found 7" in refused("anatomy", trained, "--instance", 7)
    assert "start: expected a step from 1" in refused("anatomy", trained, "--start", 10**7)
    assert "missing" in refused("anatomy", tmp_path / "missing")
    assert "nowhere" in refused("anatomy", trained, "--out", tmp_path / "nowhere" / "a.html", "--steps", 5)


def test_it_opens_a_black_box(command, refused, tmp_path):
    rows = [f"{i},{t},{1e30 if (i, t) == (3, 5) else t * 0.1},{'ab'[i % 2]}" for i in range(40) for t in range(8)]
    (tmp_path / "a.csv").write_text("\n".join(["id,t,v,label", *rows]) + "\n")
    table = ("--id", "id", "--time", "t", "--features", "v", "--target", "label", "--task", "tag")
    wild = ("--batch-size", 32, "--nonlinearity", "relu", "--lr", 1e6, "--clip-norm", "none", "--out", "runs/wild")
    status, _, told = command("train", "a.csv", *table, *wild)
    assert status == 1
    assert "see runs/wild.unfinished/nonfinite" in told
    box = tmp_path / "runs/wild.unfinished/nonfinite"
    status, told, _ = command("anatomy", box, "--instance", 1, "--npz")
    assert status == 0
    assert told.startswith("epoch 2, update 1 of 1: expected a finite loss and gradient, found ")
    assert "The gradient explodes" in told
    assert (box / "anatomy.html").is_file()
    assert (box / "anatomy.npz").is_file()
    assert "--start, --around, SOURCE: expected none" in refused("anatomy", box, "--start", 3)
