"""`throughtime train` interrupted, killed, out of disk or memory: what it says, and that it goes on to the same bits."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from throughtime.cli import main
from throughtime.learning import Checkpoints

TRAIN = ("train", "corpus.txt", "--states", "7", "--truncate", "9", "--epochs", "3", "--checkpoint-every", "5")
UNFINISHED = Path("run.unfinished")


@pytest.fixture(autouse=True)
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text to learn, in the folder to work in."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    words = ("one", "two", "three", "four")
    Path("corpus.txt").write_text(" ".join(draw.choice(words) for _ in range(300)))


@pytest.fixture
def undisturbed(capsys: pytest.CaptureFixture[str]) -> Path:
    assert main([*TRAIN, "--out", "undisturbed"]) == 0
    capsys.readouterr()
    return Path("undisturbed")


def at_update(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something at an update."""
    due, updates = Checkpoints.due, 0

    def watched(self: Checkpoints) -> bool:
        nonlocal updates
        updates += 1
        if updates == number:
            act()
        return due(self)

    monkeypatch.setattr(Checkpoints, "due", watched)


def metrics(run: Path) -> tuple[list[dict[str, str]], dict[str, object]]:
    with open(run / "metrics.csv", newline="") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    results = json.loads((run / "metrics.json").read_text())
    del results["seconds"]
    return rows, results


def assert_same(a: Path, b: Path) -> None:
    for name in ("model.safetensors", "model.json", "vocabulary.json", "config.toml"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert metrics(a) == metrics(b)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(number, status, undisturbed, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        at_update(patch, 123, lambda: os.kill(os.getpid(), number))
        assert main([*TRAIN, "--out", "run"]) == status
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == ["saved; to go on: throughtime train --resume --out run", "interrupted"]
    assert not Path("run").exists()
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert_same(Path("run"), undisturbed)
    assert not UNFINISHED.exists()

    assert main(["train", "--resume", "--out", "run"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "run: the training has ended, there is nothing to resume"


def test_a_killed_process_loses_nothing(undisturbed):
    """SIGKILL, which nothing can catch, to a process of its own."""
    code = (
        "import os, sys, signal; from throughtime.learning import Checkpoints as C; from throughtime.cli import main\n"
    )
    code += "due, n = C.due, 0\n"
    code += "def watched(self):\n    global n\n    n += 1\n"
    code += "    if n == 77: os.kill(os.getpid(), signal.SIGKILL)\n    return due(self)\n"
    code += "C.due = watched\nmain(sys.argv[1:])"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *TRAIN, "--out", "run"], env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    assert UNFINISHED.is_dir()
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert_same(Path("run"), undisturbed)


@pytest.mark.filterwarnings("always::RuntimeWarning")
def test_a_damaged_checkpoint_is_told(undisturbed, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        at_update(patch, 50, lambda: os.kill(os.getpid(), signal.SIGTERM))
        main([*TRAIN, "--out", "run"])
    last = sorted(UNFINISHED.iterdir())[-1]
    content = (last / "state.safetensors").read_bytes()
    (last / "state.safetensors").write_bytes(content[: len(content) // 2])
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "run"]) == 0
    expected = f"warning: {last}: expected a checkpoint as it was written, found another checksum; going back to the checkpoint"
    assert capsys.readouterr().err.count(expected) == 1
    assert_same(Path("run"), undisturbed)


def test_a_file_that_may_not_grow(undisturbed, monkeypatch, capsys):
    """The system refuses to write beyond some bytes, as a quota does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        at_update(patch, 60, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1])))
        try:
            assert main([*TRAIN, "--out", "run"]) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: run.unfinished: File too large: a checkpoint needs ")
    assert said.endswith("the last checkpoint is whole; to go on: throughtime train --resume --out run")
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert_same(Path("run"), undisturbed)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root mounts a file system")
def test_a_full_disk(undisturbed, capsys):
    """A file system of its own that fills up: first with checkpoints, then when the run folder is written."""
    Path("disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "none", "disk"]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        Path("disk/other").write_bytes(b"x" * 20_000)
        assert main([*TRAIN, "--out", "disk/run"]) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("error: disk/run.unfinished: No space left on device: a checkpoint needs ")
        assert " bytes, " in said
        assert not [path for path in Path("disk/run.unfinished").iterdir() if path.name.startswith(".")]
        subprocess.run(["mount", "-o", "remount,size=1m", "disk"], check=True)
        assert main(["train", "--resume", "--out", "disk/run"]) == 0
        assert_same(Path("disk/run"), undisturbed)
    finally:
        subprocess.run(["umount", "disk"], check=True)


def test_out_of_memory_says_what_was_needed(capsys):
    assert main([*TRAIN[:2], "--states", "3000000", "--out", "run"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: out of memory: ")
    assert "36000000000000 bytes" in said
    assert not Path("run").exists()


def test_what_cannot_be_resumed_is_refused(monkeypatch, capsys):
    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        return capsys.readouterr().err.splitlines()[-1].removeprefix("error: ")

    assert (
        refused("train", "--resume", "--out", "run")
        == "run.unfinished: expected checkpoints to resume from, found none"
    )
    with monkeypatch.context() as patch:
        at_update(patch, 20, lambda: os.kill(os.getpid(), signal.SIGTERM))
        main([*TRAIN, "--out", "run"])
    again = refused(*TRAIN, "--out", "run")
    assert (
        again == "run.unfinished: expected no unfinished training, found one; --resume goes on, --overwrite starts anew"
    )
    message = refused("train", "--resume", "--out", "run", "--states", "9")
    assert message == "--states: expected 7, as the training began, found 9"
    text = Path("corpus.txt").read_text()
    Path("corpus.txt").write_text(text.replace("four", "five"))
    assert refused("train", "--resume", "--out", "run").startswith("train: expected '")
    assert "every: expected a number of updates" in refused(*TRAIN[:-1], "often", "--out", "other")
    Path("corpus.txt").write_text(text)
    assert main(["train", "--resume", "--out", "run"]) == 0


def test_the_configuration_tells_what_a_run_was_made_with(undisturbed):
    made = tomllib.loads((undisturbed / "config.toml").read_text())["environment"]
    assert {
        "throughtime",
        "torch",
        "numpy",
        "python",
        "platform",
        "instruction_set",
        "engine",
        "threads",
    } <= made.keys()
    assert set(made["sha256"]) == {"train", "valid", "test"}
    shutil.rmtree("undisturbed")


def sources() -> dict[str, str]:
    draw = random.Random(1)
    words = ["one", "two", "three"]
    conll = "\n\n".join("\n".join(f"{w}\t{w[0]}" for w in draw.choices(words, k=5)) for _ in range(30))
    rows = [(i, t, draw.random(), "ab"[i % 2]) for i in range(30) for t in range(4)]
    table = "id,time,value,label\n" + "".join(f"{i},{t},{value},{label}\n" for i, t, value, label in rows)
    series = "value\n" + "".join(f"{draw.random()}\n" for _ in range(200))
    return {"tag.conll": conll, "classify.csv": table, "forecast.csv": series}


REPEATED = {
    "tag.conll": ["--bidirectional", "--dropout", "0.2", "--layers", "2"],
    "classify.csv": ["--id", "id", "--time", "time", "--features", "value", "--target", "label", "--patience", "1"],
    "forecast.csv": ["--features", "value", "--target", "value", "--task", "forecast", "--truncate", "10"],
    "corpus.txt": ["--embedding", "4"],
}


@pytest.mark.parametrize("source", REPEATED)
def test_same_seed_same_bits_for_every_task(source: str) -> None:
    for name, text in sources().items():
        Path(name).write_text(text)
    for out in ("first", "second"):
        assert (
            main(["train", source, *REPEATED[source], "--states", "6", "--epochs", "2", "--seed", "4", "--out", out])
            == 0
        )
    assert_same(Path("first"), Path("second"))
