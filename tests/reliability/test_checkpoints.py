"""A training that was stopped anywhere and resumed ends with the same bits as one that never was."""

from __future__ import annotations

import functools
import json
import os
import signal
import threading
import warnings
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.learning import Checkpoints, Interrupted
from throughtime.learning.checkpoints import parse_every, read_config


class Crash(Exception):
    """Stands for whatever ends a process between two updates."""


class Network(tt.ElmanNetwork):
    """Draws from PyTorch's random generator at every loss, as dropout would, and crashes at one of them."""

    crash_at = -1
    calls = 0

    def loss(self, x, y, *args, **kwargs):
        self.calls += 1
        if self.calls == self.crash_at:
            raise Crash
        return super().loss(x * (torch.rand_like(x) > 0.2), y, *args, **kwargs)


def network(crash_at: int = -1) -> Network:
    torch.manual_seed(1)
    net = Network(3, 6, 4, initial_state="learned", dtype=torch.float64)
    net.crash_at = crash_at
    return net


def ragged(S: int = 11) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(S, 9, 3, dtype=torch.float64), torch.randint(4, (S, 9)), torch.randint(1, 10, (S,))


OPTIONS = {
    "adam": {"lr_schedule": "cosine"},
    "windows": {"truncate": 2, "optimizer": "momentum"},
    "token": {"optimizer": "rmsprop", "reduction": "token", "truncate": 3},
    "patience": {"lr": 0.3, "patience": 2},
    "factory": {"optimizer": functools.partial(torch.optim.Adam, amsgrad=True), "truncate": 4},
    "gd": {"optimizer": "gd", "batch_size": None, "epochs": 5},
}


def train(net: Network, folder: Path | None = None, resume: bool = False, every: int | str = 1, **options):
    checkpoint = None if folder is None else Checkpoints(folder, every, resume=resume)
    options = {"batch_size": 3, "epochs": 3} | options
    return tt.fit(net, ragged(), ragged(4), checkpoint=checkpoint, **options)


def without_time(history) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]


def assert_same(net, history, expected_net, expected_history) -> None:
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), expected_net.parameters(), strict=True))
    assert without_time(history) == without_time(expected_history)
    assert [list(row) for row in history.rows] == [list(row) for row in expected_history.rows]
    assert history.stopped_early == expected_history.stopped_early


@pytest.mark.parametrize("name", OPTIONS)
def test_a_crash_anywhere_changes_nothing(name: str, tmp_path: Path, engine: str) -> None:
    undisturbed = network()
    expected = train(undisturbed, **OPTIONS[name])
    for crash_at in [k for k in (2, 7, 10) if k <= undisturbed.calls]:
        folder = tmp_path / str(crash_at)
        with pytest.raises(Crash):
            train(network(crash_at), folder, every=2, **OPTIONS[name])
        net = network()
        with torch.no_grad():
            net.W.zero_()  # what is not restored would be seen
        assert_same(net, train(net, folder, resume=True, **OPTIONS[name]), undisturbed, expected)


def test_crash_upon_crash(tmp_path: Path) -> None:
    undisturbed = network()
    expected = train(undisturbed, truncate=2)
    crashes, history = 0, None
    while history is None:
        net = network(crash_at=4)
        try:
            history = train(net, tmp_path, resume=True, truncate=2)
        except Crash:
            crashes += 1
            assert sum(file.is_dir() for file in tmp_path.iterdir()) <= 2
    assert crashes > 5
    assert_same(net, history, undisturbed, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["update", "evaluation", "last evaluation"])
def test_a_signal_saves_first(number: signal.Signals, where: str, tmp_path: Path) -> None:
    def watch(model, row) -> None:
        if row["epoch"] == (3 if where == "last evaluation" else 1):
            os.kill(os.getpid(), number)

    undisturbed = network()
    expected = train(undisturbed)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    if where == "update":
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        options = {"epochs": 10_000}
    else:
        options = {"watch": watch}
    with pytest.raises(Interrupted) as caught:
        train(network(), tmp_path, every="1h", **options)
    assert caught.value.signal == number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    if where != "update":
        net = network()
        assert_same(net, train(net, tmp_path, resume=True), undisturbed, expected)
    else:
        state = Checkpoints(tmp_path, resume=True).load()
        assert state is not None
        assert (state[1]["epoch"], state[1]["done"]) > (1, 0)


def crashed(folder: Path) -> list[Path]:
    """The two checkpoints of a training that has crashed, the older one first."""
    with pytest.raises(Crash):
        train(network(10), folder)
    return sorted(folder.iterdir())


def truncate(path: Path) -> None:
    file = path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def edit(path: Path) -> None:
    file = path / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def edit_number(path: Path) -> None:
    file = path / "state.json"
    described = json.loads(file.read_text())
    content = json.loads(described["content"])
    content["state"]["total"] += 1.0
    file.write_text(json.dumps(described | {"content": json.dumps(content)}))


def cut_json(path: Path) -> None:
    file = path / "state.json"
    file.write_text(file.read_text()[:100])


def remove(path: Path) -> None:
    (path / "state.safetensors").unlink()


DAMAGES = [truncate, edit, edit_number, cut_json, remove]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_makes_way_for_the_one_before(damage, tmp_path: Path) -> None:
    undisturbed = network()
    expected = train(undisturbed)
    older, newer = crashed(tmp_path)
    damage(newer)
    net = network()
    with pytest.warns(RuntimeWarning, match=rf"{newer.name}.*; going back to the checkpoint before it$"):
        history = train(net, tmp_path, resume=True)
    assert_same(net, history, undisturbed, expected)
    assert newer not in tmp_path.iterdir()

    older, newer = sorted(tmp_path.iterdir())
    damage(older)
    damage(newer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="expected a whole checkpoint, found 2, all damaged"):
            train(network(), tmp_path, resume=True)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    crashed(tmp_path)
    for change, message in (
        ({"seed": 1}, "^seed: expected 0, that of the checkpoint, found 1$"),
        ({"lr": 0.5}, r"^lr: expected \[0.001\], that of the checkpoint, found \[0.5\]$"),
        ({"truncate": 4}, "^truncate: expected None, that of the checkpoint, found 4$"),
    ):
        with pytest.raises(ValueError, match=message):
            train(network(), tmp_path, resume=True, **change)
    with pytest.raises(ValueError, match="^train: expected '[0-9a-f]{64}', that of the checkpoint, found"):
        tt.fit(network(), ragged(5), ragged(4), batch_size=3, epochs=3, checkpoint=Checkpoints(tmp_path, resume=True))
    larger = Network(3, 7, 4, initial_state="learned", dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^checkpoint: model.U: expected torch.float64 \(7, 3\), found"):
        train(larger, tmp_path, resume=True)
    with pytest.raises(ValueError, match="expected no checkpoints, found those of a training that can be resumed"):
        train(network(), tmp_path)


def test_what_is_in_the_way_of_a_checkpoint_leaves_the_last_one(tmp_path: Path) -> None:
    """The folder cannot take another file: what failed, what was needed, and a training that goes on afterwards."""
    undisturbed = network()
    expected = train(undisturbed)
    crashed(tmp_path)
    last = sorted(tmp_path.iterdir())[-1]
    blocker = tmp_path / f".{int(last.name) + 1:08d}.tmp"
    blocker.write_text("a file where the new folder should be")
    with pytest.raises(OSError, match="a checkpoint needs [0-9,]+ bytes, [0-9,]+ are free"):
        train(network(), tmp_path, resume=True)
    assert last in tmp_path.iterdir()
    blocker.unlink(missing_ok=True)
    net = network()
    assert_same(net, train(net, tmp_path, resume=True), undisturbed, expected)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (200, (200, None)),
        ("200", (200, None)),
        ("30s", (None, 30.0)),
        ("5min", (None, 300.0)),
        ("1.5 h", (None, 5400.0)),
    ],
)
def test_how_often(every, expected) -> None:
    assert parse_every(every) == expected


@pytest.mark.parametrize("every", [1, 3, 4])
def test_a_checkpoint_comes_after_so_many_updates(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning, after every N updates, and at the end."""
    saved: list[int] = []
    save = Checkpoints.save

    def watched(self: Checkpoints, state: tuple) -> None:
        saved.append(made)
        save(self, state)

    made = 0
    monkeypatch.setattr(Checkpoints, "save", watched)
    net, step = tt.ElmanNetwork(3, 4, 2), torch.optim.SGD.step

    def stepped(self: torch.optim.SGD, *args: object) -> object:
        nonlocal made
        made += 1
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", stepped)
    x, y = torch.randn(10, 5, 3), torch.zeros(10, 5, dtype=torch.int64)
    checkpoint = Checkpoints(tmp_path / "saved", every=every)
    tt.fit(net, (x, y), optimizer="sgd", batch_size=1, epochs=1, progress=False, checkpoint=checkpoint)
    assert made == 10
    assert saved == [0, *range(every, 11, every), 10]


@pytest.mark.parametrize("every", [0, -1, "", "0min", "5 days", "1.5", "min", "1e3", "٣", "nan"])
def test_how_often_is_checked(every) -> None:
    with pytest.raises(
        ValueError, match="^every: expected a number of updates such as 200, or a time such as 5min, found"
    ):
        parse_every(every)


def test_the_configuration_comes_back(tmp_path: Path) -> None:
    config = {"source": "λ", "lr": 0.1, "out": None}
    with pytest.raises(Crash):
        tt.fit(network(2), ragged(), checkpoint=Checkpoints(tmp_path / "a", config=config), batch_size=3)
    assert read_config(tmp_path / "a") == config
    with pytest.raises(ValueError, match="expected checkpoints to resume from, found none"):
        read_config(tmp_path / "b")
