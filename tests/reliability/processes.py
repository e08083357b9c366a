"""Train on 1, 2 and 4 processes and save what they come to: `python processes.py FOLDER`. PyTorch is imported once."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

import throughtime as tt
from throughtime.learning import Checkpoints
from throughtime.learning.processes import Team

CASES = {
    "whole": {"optimizer": "sgd", "batch_size": 5},
    "windows": {"truncate": 4, "batch_size": 7, "optimizer": "momentum"},
    "token": {"reduction": "token", "batch_size": 5, "optimizer": "sgd"},
    "adam": {"optimizer": "adam", "lr": 1e-3, "truncate": 3, "batch_size": 6, "patience": 3},
    "gd": {"optimizer": "gd", "lr": 0.05},
    "few": {"batch_size": 2, "optimizer": "sgd"},  # with 4 processes some have nothing to do
}


def data(S: int, seed: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Very ragged sequences with some labels missing."""
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.randn(S, 13, 3, generator=draw, dtype=torch.float64), torch.randint(4, (S, 13), generator=draw)
    y[torch.rand(S, 13, generator=draw) < 0.3] = -100
    return x.to(dtype), y, torch.randint(1, 14, (S,), generator=draw)


def train(fabric: Fabric | None, folder: Path) -> None:
    """Every case; the process that leads writes FOLDER/SIZE-CASE-DTYPE.safetensors."""
    team = Team(fabric)
    for name, options in CASES.items():
        for dtype in (torch.float64, torch.float32):
            torch.manual_seed(1)
            net = tt.ElmanNetwork(3, 6, 4, initial_state="learned", dtype=dtype)
            train, valid = data(11, 2, dtype), data(5, 3, dtype)
            history = tt.fit(net, train, valid, epochs=3, fabric=fabric, progress=False, **options)
            found = tt.evaluate(net, valid, team=team, truncate=options.get("truncate"))
            numbers = [
                history["train_loss"],
                history["valid_loss"],
                history["valid_accuracy"],
                history["gradient_norm"],
            ]
            if team.leads:
                weights = {name: p.detach().clone() for name, p in net.named_parameters()}
                weights |= {"numbers": torch.tensor(numbers, dtype=torch.float64), "count": torch.tensor(found.count)}
                save_file(weights, folder / f"{team.size}-{name}-{str(dtype).removeprefix('torch.')}.safetensors")
    stop_and_go(fabric, folder)
    stopped_by_callback(fabric, folder)


def stop_and_go(fabric: Fabric | None, folder: Path) -> None:
    """A training over carried states that fails in the middle on every process, and is resumed."""
    team = Team(fabric)
    for crash in (True, False):
        torch.manual_seed(1)
        net = tt.ElmanNetwork(3, 6, 4, dtype=torch.float64)
        checkpoint = Checkpoints(folder / f"{team.size}-checkpoints", 1, resume=not crash)

        def watch(model, row, crash: bool = crash) -> None:
            if crash and row["epoch"] == 2:
                raise RuntimeError("crash")

        options = {"truncate": 3, "batch_size": 7, "epochs": 3, "progress": False}
        try:
            tt.fit(net, data(11, 2, torch.float64), fabric=fabric, checkpoint=checkpoint, watch=watch, **options)
        except RuntimeError as error:
            told = "crash" if team.leads else "callbacks: one has failed on the first process"
            assert str(error) == told  # noqa: PT017
    if team.leads:
        save_file({"W": net.W.detach().clone()}, folder / f"{team.size}-resumed.safetensors")


class AfterUpdates(tt.callbacks.Callback):
    """Stops within an epoch, or between two."""

    def __init__(self, updates: int) -> None:
        self.updates, self.called = updates, 0

    def step(self, training) -> None:
        self.called += 1
        if training.update == self.updates:
            training.stop()


def stopped_by_callback(fabric: Fabric | None, folder: Path) -> None:
    """With 11 sequences in batches of 5 an epoch has 3 updates."""
    team, found = Team(fabric), {}
    for updates in (4, 6):
        torch.manual_seed(1)
        net, callback = tt.ElmanNetwork(3, 6, 4, dtype=torch.float64), AfterUpdates(updates)
        options = {"batch_size": 5, "epochs": 9, "progress": False, "callbacks": [callback]}
        history = tt.fit(net, data(11, 2, torch.float64), fabric=fabric, **options)
        assert history.stopped_early
        assert callback.called == (updates if team.leads else 0)
        found |= {f"{updates} W": net.W.detach().clone(), f"{updates} loss": torch.tensor(history["train_loss"])}
    if team.leads:
        save_file(found, folder / f"{team.size}-stopped.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.optim.Adam([torch.zeros(1)])  # makes PyTorch import now what each process would import
    for size in (1, 2, 4):
        if size == 1:
            train(None, Path(sys.argv[1]))
        else:
            Fabric(accelerator="cpu", devices=size, strategy="ddp_fork").launch(train, Path(sys.argv[1]))
