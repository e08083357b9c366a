"""What is called during a training, in which order, and what it may do."""

from __future__ import annotations

import csv
import re

import pytest
import torch

import throughtime as tt
from throughtime.anatomy import Watch
from throughtime.callbacks import CSV, Callback, EarlyStopping, TensorBoard
from throughtime.learning import Checkpoints


def network() -> tt.ElmanNetwork:
    torch.manual_seed(0)
    return tt.ElmanNetwork(3, 4, 2, dtype=torch.float64)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(6, 5, 3, generator=draw, dtype=torch.float64), torch.randint(2, (6, 5), generator=draw)


def fit(model=None, **options):
    return tt.fit(model or network(), data(), batch_size=2, progress=False, **options)


class Recorder(Callback):
    """Notes what it is told; stops or fails where it is asked to."""

    def __init__(self, stop: tuple[str, int] | None = None, fail: tuple[str, int] | None = None) -> None:
        self.told: list[tuple[str, int]] = []
        self._stop, self._fail = stop, fail
        self.seen = 0

    def _note(self, event, training) -> None:
        self.told.append((event, training.update))
        if self.told[-1] == self._stop:
            training.stop()
        if self.told[-1] == self._fail:
            raise OSError("no room")

    def start(self, training) -> None:
        self._note("start", training)

    def step(self, training) -> None:
        self.seen += 1
        self.loss, self.norm, self.lr = training.loss, training.gradient_norm, training.lr
        self._note("step", training)

    def epoch(self, training) -> None:
        assert training.row["epoch"] == training.epoch == len(training.history)
        self._note("epoch", training)

    def end(self, training) -> None:
        self._note("end", training)

    def state(self):
        return {"seen": self.seen}

    def restore(self, state) -> None:
        self.seen = state["seen"]


def test_order_of_calls() -> None:
    recorder = Recorder()
    history = fit(epochs=2, callbacks=[recorder])
    steps = [("step", i) for i in range(1, 7)]
    expected = [("start", 0), *steps[:3], ("epoch", 3), *steps[3:], ("epoch", 6), ("end", 6)]
    assert recorder.told == expected
    assert not history.stopped_early


def test_the_last_update_is_told() -> None:
    recorder, model = Recorder(), network()
    x, y = data()
    expected = network().loss(x, y).item() / 5  # summed over 5 steps
    tt.fit(model, (x, y), optimizer="gd", lr=0.25, epochs=1, callbacks=[recorder], progress=False)
    _, g = tt.bptt(network(), x, y)
    norm = torch.cat([part.flatten() for part in (g.U, g.W, g.b, g.V, g.c)]).norm().item()
    assert recorder.loss == pytest.approx(expected, rel=1e-12)
    assert recorder.norm == pytest.approx(norm, rel=1e-12)
    assert recorder.lr == 0.25


@pytest.mark.parametrize(
    ("stop", "epochs", "updates"),
    [(("start", 0), 0, 0), (("step", 2), 1, 2), (("step", 3), 1, 3), (("epoch", 6), 2, 6), (("step", 7), 3, 7)],
)
def test_a_callback_stops_the_training_and_the_history_survives(stop, epochs, updates) -> None:
    recorder = Recorder(stop)
    history = fit(epochs=9, callbacks=[recorder])
    assert (len(history), recorder.seen, history.stopped_early) == (epochs, updates, True)
    assert recorder.told[-1] == ("end", updates)
    assert all(row["train_loss"] > 0 for row in history.rows)


@pytest.mark.parametrize("fail", [("start", 0), ("step", 2), ("epoch", 3), ("end", 6)])
def test_what_a_callback_raises_ends_the_training_and_all_are_told(fail) -> None:
    first, second = Recorder(), Recorder(fail=fail)
    with pytest.raises(OSError, match="no room"):
        fit(epochs=2, callbacks=[first, second])
    assert second.told[-2 if fail[0] != "end" else -1] == fail
    assert first.told[-1][0] == "end"


@pytest.mark.parametrize("updates", [2, 3, 4])
def test_a_resumed_training_goes_on_with_their_state(updates, tmp_path) -> None:
    whole, crashing, resumed = Recorder(), Recorder(fail=("step", updates)), Recorder()
    model, again = network(), network()
    fit(model, epochs=2, callbacks=[whole])
    with pytest.raises(OSError, match="no room"):
        fit(network(), epochs=2, callbacks=[crashing], checkpoint=Checkpoints(tmp_path, 1))
    other = EarlyStopping("train_loss")  # was not there before: it begins anew
    fit(again, epochs=2, callbacks=[other, resumed], checkpoint=Checkpoints(tmp_path, 1, resume=True))
    last = whole.told.index(("step", updates - 1))  # with the checkpoint after it
    assert resumed.told == [("start", updates - 1), *whole.told[last + 1 :]]
    assert resumed.seen == whole.seen == 6
    assert torch.equal(model.W, again.W)


def test_a_state_of_another_kind_is_refused(tmp_path) -> None:
    class Wrong(Recorder):
        def state(self):
            return {"other": 1}

    Wrong.__name__ = "Recorder"
    fit(epochs=1, callbacks=[Wrong()], checkpoint=Checkpoints(tmp_path, 1))
    with pytest.raises(
        ValueError, match="checkpoint: callbacks: Recorder-1: expected a state that it wrote, found KeyError"
    ):
        fit(epochs=1, callbacks=[Recorder()], checkpoint=Checkpoints(tmp_path, 1, resume=True))


def test_other_things_are_no_callbacks() -> None:
    with pytest.raises(TypeError, match=re.escape("callbacks[1]: expected a tt.callbacks.Callback, found function")):
        fit(callbacks=[Recorder(), lambda training: None])


def values_in_turn(values: list[float]) -> Callback:
    class Values(Callback):
        def epoch(self, training) -> None:
            training.row["value"] = values[training.epoch - 1]

    return Values()


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, 4),
        ({"mode": "max"}, 3),
        ({"min_delta": 0.5}, 3),
        ({"patience": 4}, 10),
        ({"patience": 4, "mode": "max"}, 9),
    ],
)
def test_early_stopping(options, epochs) -> None:
    values = [3.0, 2.7, 2.8, 2.7, 3.1, 2.6, 3.0, 2.9, 2.6, 3.0]
    stopping = EarlyStopping("value", **{"patience": 2} | options)
    history = fit(epochs=10, callbacks=[values_in_turn(values), stopping])
    assert len(history) == epochs
    assert history.stopped_early


def test_early_stopping_that_was_killed_after_it_stopped(tmp_path) -> None:
    callbacks = [values_in_turn([1.0, 2.0]), EarlyStopping("value", 1)]
    fit(epochs=9, callbacks=callbacks, checkpoint=Checkpoints(tmp_path, 1))
    again = [values_in_turn([]), EarlyStopping("value", 1)]
    history = fit(epochs=9, callbacks=again, checkpoint=Checkpoints(tmp_path, 1, resume=True))
    assert history["value"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"patience": 0}, "patience: expected"),
        ({"mode": "up"}, "mode: expected"),
        ({"min_delta": -1.0}, "min_delta: expected a number from 0, found -1.0"),
        (
            {"monitor": "loss"},
            "monitor: expected a column of the history (epoch, train_loss, gradient_norm, seconds), found 'loss'",
        ),
    ],
)
def test_early_stopping_refuses(options, told) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(told)):
        fit(epochs=1, callbacks=[EarlyStopping(**options)])


def test_csv_is_whole_after_every_epoch(tmp_path) -> None:
    history = fit(epochs=2, callbacks=[CSV(tmp_path / "history.csv"), values_in_turn([1.0, 2.0])])
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == history["train_loss"]
    assert [row["value"] for row in rows] == ["1.0", ""]  # of callbacks that come later it has the epochs before


def test_a_watch_goes_on_from_a_checkpoint(tmp_path) -> None:
    x, y = torch.randint(3, (1, 8)), torch.randint(2, (1, 8))
    watch, again = (Watch(x, y, budget=1, say=lambda line: None) for _ in range(2))
    model = tt.ElmanNetwork(3, 4, 2)
    tt.fit(model, (x, y), epochs=1, callbacks=[watch], progress=False, checkpoint=Checkpoints(tmp_path, 1))
    again.restore(watch.state())
    assert again.looks == watch.looks
    assert len(again.looks) == 1
    assert again.state() == watch.state()


def test_tensorboard_has_the_curves(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = fit(epochs=2, callbacks=[TensorBoard(tmp_path, every=2)])
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in found.Scalars("update/loss")] == [2, 4, 6]
    assert [event.step for event in found.Scalars("epoch/train_loss")] == [3, 6]
    assert [event.value for event in found.Scalars("epoch/train_loss")] == pytest.approx(
        history["train_loss"], rel=1e-6
    )


def test_without_the_package_tensorboard_there_is_one_line(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("throughtime.callbacks.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match="TensorBoard: expected the package tensorboard, which is not installed: pip install"
    ):
        TensorBoard(tmp_path)
