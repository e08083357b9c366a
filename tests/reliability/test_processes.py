"""Several processes come to what one alone comes to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import assert_close
from processes import CASES
from safetensors.torch import load_file

from throughtime.cli import main
from throughtime.data.batches import schedule
from throughtime.learning.processes import Team

pytest.importorskip("lightning_fabric", reason="the extra scale")

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    script = Path(__file__).with_name("processes.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, folder], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [2, 4])
def test_same_weights_and_metrics(size: int, case: str, dtype: str, folder: Path) -> None:
    alone, shared = (load_file(folder / f"{n}-{case}-{dtype}.safetensors") for n in (1, size))
    assert alone.keys() == shared.keys()
    assert alone["count"] == shared["count"]
    for name, value in alone.items():
        assert_close(shared[name], value, TOLERANCE[dtype], name)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_crash_in_the_middle_changes_nothing(size: int, folder: Path) -> None:
    assert_close(
        load_file(folder / f"{size}-resumed.safetensors")["W"],
        load_file(folder / "1-resumed.safetensors")["W"],
        1e-10,
        "W",
    )


@pytest.mark.parametrize("size", [2, 4])
def test_a_callback_stops_all_at_the_same_update(size: int, folder: Path) -> None:
    alone, shared = (load_file(folder / f"{n}-stopped.safetensors") for n in (1, size))
    assert len(alone["4 loss"]) == len(alone["6 loss"]) == 2
    for name, value in alone.items():
        assert_close(shared[name], value, 1e-5 if "loss" in name else 1e-10, name)


@pytest.mark.parametrize("truncate", [None, 3])
def test_each_step_is_in_one_share(truncate: int | None) -> None:
    """Also where a share is empty; a lane stays with its process."""
    windows = schedule(np.array([5, 1, 9, 2, 2, 7, 3]), 3, truncate=truncate)
    teams = []
    for rank in range(5):
        team = Team()
        team.size, team.rank = 5, rank
        teams.append(team)
    for window in windows:
        shares = [team.share(window) for team in teams]
        for rank, share in enumerate(shares):
            assert (share.lanes % 5 == rank).all()
        for name in ("lanes", "rows", "starts", "lengths"):
            found = np.concatenate([getattr(share, name) for share in shares])
            assert sorted(found) == sorted(getattr(window, name))


def test_alone_nothing_is_exchanged() -> None:
    team, numbers = Team(), [1.0, 2.0]
    values = torch.ones(3)
    assert team.leads
    assert team.sum(values) is values
    assert team.combine([], 3, numbers) is numbers


KILLER = """
import os, signal, sys
from throughtime.cli import main
from throughtime.learning import Checkpoints

due, updates = Checkpoints.due, 0

def watched(self):
    global updates
    updates += 1
    if updates == 20 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return due(self)

Checkpoints.due = watched
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_worker_is_started_anew_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [draw.choice(["one", "two", "three", "four"], draw.integers(2, 20)) for _ in range(80)]
    Path("corpus.conll").write_text("\n\n".join("\n".join(f"{word}\t{word[0]}" for word in row) for row in rows))
    Path("killer.py").write_text(KILLER)
    options = ["train", "corpus.conll", "--task", "tag", "--states", "9", "--embedding", "none", "--epochs", "3"]
    options += ["--batch-size", "7", "--checkpoint-every", "3", "--out"]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    shared = subprocess.run(
        [*torchrun, "killer.py", *options, "shared"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert shared.returncode == 0, shared.stderr[-4000:]
    assert "exitcode: -9" in shared.stderr
    assert shared.stdout.count("run folder: shared") == 1
    assert main([*options, "alone"]) == 0
    expected = load_file("alone/model.safetensors")
    for name, value in load_file("shared/model.safetensors").items():
        assert_close(value, expected[name], 1e-5, name)
