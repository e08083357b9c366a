"""What sharing a training among processes costs and brings: seconds per update and per all-reduce on 1, 2 and 4 processes.

    python benchmarks/scaling.py [--states 128] [--batch-size 128] [--steps 100]

Prints what was measured, then a model of more processes with a core each, labelled as extrapolated:

    t(P) = t_processor(1) / P + t_exchange(2) · (1 + log₂ P) / 2

One thread per process; gloo over loopback.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning_fabric import Fabric

import throughtime as tt
from throughtime.data import Sequences
from throughtime.learning.processes import Team

SYMBOLS, CLASSES = 96, 10
UPDATES, EXCHANGES = 20, 50


def data(S: int, T: int) -> Sequences:
    draw = np.random.default_rng(0)
    x = [draw.integers(0, SYMBOLS, T) for _ in range(S)]
    return Sequences.from_arrays(x, [row % CLASSES for row in x])


def work(fabric: Fabric | None, arguments: argparse.Namespace, result: Path) -> None:
    """Write seconds per update, by the clock and of processor time, and per exchange of gradients."""
    torch.set_num_threads(1)
    net = tt.ElmanNetwork(SYMBOLS, arguments.states, CLASSES)
    sequences = data(arguments.batch_size * UPDATES, arguments.steps)
    team = Team(fabric)
    seconds = []
    for _ in range(3):
        team.wait()
        began, computed = time.perf_counter(), time.process_time()
        tt.fit(net, sequences, epochs=1, batch_size=arguments.batch_size, fabric=fabric, progress=False)
        spent = time.perf_counter() - began, time.process_time() - computed
        seconds.append([value / UPDATES for value in spent])
    gradient = torch.zeros(net.num_parameters + 5)
    team.sum(gradient)
    began = time.perf_counter()
    for _ in range(EXCHANGES):
        team.sum(gradient)
    exchange = (time.perf_counter() - began) / EXCHANGES
    if team.leads:
        wall, processor = map(min, zip(*seconds, strict=True))
        result.write_text(f"{wall} {processor} {exchange}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.optim.Adam([torch.zeros(1)])  # makes PyTorch import now what each process would import
    found = {}
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result"
        for size in (1, 2, 4):
            launch = Fabric(accelerator="cpu", devices=size, strategy="ddp_fork").launch
            launch(work, arguments, result)  # type: ignore[reportArgumentType]
            found[size] = tuple(map(float, result.read_text().split()))
    print(f"{'processes':>9} {'update':>10} {'processor':>11} {'exchange':>10}   measured")
    for size, (update, processor, exchange) in found.items():
        print(f"{size:>9} {update * 1e3:>7.2f} ms {processor * 1e3:>8.2f} ms {exchange * 1e3:>7.2f} ms")
    alone, latency = found[1][1], found[2][2]
    print(
        f"\n{'processes':>9} {'update':>10}              extrapolated: t_processor(1)/P + t_exchange(2) · (1 + log₂ P)/2"
    )
    for size in (2, 4, 8, 16, 32, 64, 128):
        predicted = alone / size + latency * (1 + math.log2(size)) / 2
        print(f"{size:>9} {predicted * 1e3:>7.2f} ms              speed-up {alone / predicted:.1f}")


if __name__ == "__main__":
    main()
