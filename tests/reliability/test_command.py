"""`throughtime train` interrupted, killed, out of disk or memory: what it says, and that it goes on to the same bits."""

from __future__ import annotations

import csv
import errno
import io
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
from importlib import import_module
from pathlib import Path

import pytest

from throughtime.cli import main
from throughtime.cli import train as cli_train
from throughtime.learning import Checkpoints, run
from throughtime.learning.learner import Learner

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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
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


def limited(after: Callable[..., object], limit: int) -> Callable[..., object]:
    """`after`, with files that may not grow beyond `limit` bytes from then on."""

    def act(*arguments: object, **options: object) -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return after(*arguments, **options)

    return act


@pytest.fixture
def _unlimited():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("_unlimited")
def test_no_room_for_the_first_checkpoint_leaves_nothing_in_the_way(undisturbed, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("throughtime.cli.train._fit", limited(cli_train._fit, 100))
        assert main([*TRAIN, "--out", "run"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: run.unfinished: File too large: a checkpoint needs ")
    assert said.endswith(
        "; nothing has been trained yet; try again where there is room to write, or with another --out"
    )
    assert not UNFINISHED.exists()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert main([*TRAIN, "--out", "run"]) == 0
    assert_same(Path("run"), undisturbed)


@pytest.mark.usefixtures("_unlimited")
def test_no_room_for_the_run_folder_costs_nothing_that_was_learned(undisturbed, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("throughtime.learning.run.save", limited(run.save, 100))
        assert main([*TRAIN, "--out", "run"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: run: File too large: a run needs ")
    assert said.endswith("the last checkpoint is whole; to go on: throughtime train --resume --out run")
    assert sorted(path.name for path in Path().iterdir()) == ["corpus.txt", "run.unfinished", "undisturbed"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert_same(Path("run"), undisturbed)


def test_a_place_where_nothing_can_be_written_is_told(capsys):
    Path("file").touch()
    for _ in range(2):  # the second time says the same: nothing is in the way of it
        assert main([*TRAIN, "--out", "file/run"]) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("error: file/run.unfinished: Not a directory: a checkpoint needs ")
        assert "nothing has been trained yet" in said
    assert sorted(path.name for path in Path().iterdir()) == ["corpus.txt", "file"]


PLACES = {
    "reading": "throughtime.cli.inputs.training_data",
    "making the model": "throughtime.cli.choices.new_model",
    "before the first update": "throughtime.learning.learner.Learner.begin",
    "measuring": "throughtime.cli.train._measure",
    "writing the run": "throughtime.learning.run.write_checksums",
    "renaming it": "throughtime.data.files._take_place",
    "clearing up": "throughtime.cli.unfinished.clear",
    "drawing": "throughtime.cli.pictures.as_png",
    "printing": "throughtime.cli.report.results",
    "showing": "throughtime.cli.samples.show_sample",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_signal_ends_the_command_wherever_it_is(place, monkeypatch, capsys):
    """With its own exit status, nothing half-written, and, once there is a checkpoint, a training that goes on."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    number, status = (signal.SIGHUP, 129) if place == "measuring" else (signal.SIGTERM, 143)
    module, _, name = PLACES[place].rpartition(".")
    owner = Learner if module.endswith("Learner") else import_module(module)
    original = getattr(owner, name)

    def interrupted(*arguments: object, **options: object) -> object:
        if place != "clearing up" or Path("run").exists():
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        assert main([*TRAIN[:2], "--states", "3", "--epochs", "1", "--out", "run"]) == status
    assert {n: signal.getsignal(n) for n in handlers} == handlers
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "interrupted"
    left = {path.name for path in Path().iterdir()} - {"corpus.txt"}
    assert left <= {"run", "run.unfinished"}
    if left:
        assert main(["train", "--resume", "--out", "run"]) == 0
    assert Path("run/metrics.json").exists() == bool(left)


class Terminal(io.StringIO):
    """One that can be hung up."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)

    def isatty(self) -> bool:
        return True


def test_a_terminal_that_hangs_up_costs_nothing(undisturbed, monkeypatch):
    terminal = Terminal()

    def hang_up() -> None:
        terminal.gone = True
        os.kill(os.getpid(), signal.SIGHUP)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        at_update(patch, 123, hang_up)
        assert main([*TRAIN, "--out", "run"]) == 129
    assert "updates/s" in terminal.getvalue()  # the bar
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert_same(Path("run"), undisturbed)


def test_a_signal_that_is_ignored_stays_ignored(undisturbed, monkeypatch):
    """As nohup and a shell's background jobs have it."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        at_update(monkeypatch, 50, lambda: [os.kill(os.getpid(), number) for number in before])
        assert main([*TRAIN, "--out", "run"]) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert_same(Path("run"), undisturbed)


def test_what_killed_runs_left_behind_is_removed_by_the_next(undisturbed):
    """And nothing else, whatever it is called."""
    for name in (".run.0a1b2c3d.tmp", ".run.0a1b2c3d.tmp.old", "run.unfinished/.00000001.tmp"):
        Path(name).mkdir(parents=True)
        Path(name, "config.toml").touch()
    for name in (".run.tmp", ".runs.0a1b2c3d.tmp", "run.0a1b2c3d.tmp", ".run.0a1b2c3g.tmp"):
        Path(name).mkdir()
    assert main([*TRAIN, "--out", "run"]) == 0
    left = {path.name for path in Path().iterdir()} - {"corpus.txt", "undisturbed"}
    assert left == {"run", ".run.tmp", ".runs.0a1b2c3d.tmp", "run.0a1b2c3d.tmp", ".run.0a1b2c3g.tmp"}
    assert_same(Path("run"), undisturbed)


WRITERS = {
    "page": (("anatomy", "undisturbed", "--steps", "9"), "anatomy.html"),
    "arrays": (("anatomy", "undisturbed", "--steps", "9", "--npz"), "anatomy.npz"),
    "model": (("export", "undisturbed"), "model.onnx"),
}


@pytest.mark.parametrize(
    ("writer", "ending"),
    [
        *(("page", ending) for ending in ("SIGTERM", "SIGINT", "SIGHUP", "full disk", "SIGKILL")),
        ("arrays", "full disk"),
        ("model", "SIGKILL"),
    ],
)
def test_a_writer_of_one_file_that_is_ended_leaves_it_as_it_was(undisturbed, writer, ending, monkeypatch, capsys):
    """While the new file is flushed; what SIGKILL alone can leave is removed by the next."""
    command, name = WRITERS[writer]
    if writer == "model":
        pytest.importorskip("onnxruntime")
    file = undisturbed / name
    file.write_text("what was there")
    flush = os.fsync

    def end(descriptor: int) -> None:
        [temporary] = undisturbed.glob(".*.tmp")
        if not temporary.name.startswith(f".{name}."):
            flush(descriptor)  # of the page, before the arrays
        elif ending == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif ending == "SIGKILL":
            (undisturbed / f".{name}.0a1b2c3d.tmp").write_bytes(
                temporary.read_bytes()[:100]
            )  # as a killed one leaves it
            raise KeyboardInterrupt
        else:
            os.kill(os.getpid(), getattr(signal, ending))

    with monkeypatch.context() as patch:
        patch.setattr("throughtime.data.files.os.fsync", end)
        status = main(list(command))
    said = capsys.readouterr().err.splitlines()
    assert status == {"SIGTERM": 143, "SIGHUP": 129, "full disk": 1}.get(ending, 130)
    assert said[-1] == (f"error: {file}: No space left on device" if ending == "full disk" else "interrupted")
    assert file.read_text() == "what was there"
    left = {path.name for path in undisturbed.iterdir() if path.name.endswith(".tmp")}
    assert left == ({f".{name}.0a1b2c3d.tmp"} if ending == "SIGKILL" else set())
    assert main(list(command)) == 0
    assert file.read_bytes() != b"what was there"
    assert not list(undisturbed.glob(".*.tmp"))


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
