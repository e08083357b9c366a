"""Kill a training at random moments, resume it each time, and compare its end bit by bit with one that was never disturbed.

    python benchmarks/kill_and_resume.py [--kills 20] [--seed 0]

Every training is a process of its own, ended by SIGKILL, which nothing can catch; checkpoints are written every few updates, so
that many kills fall into the writing of one. Exit status 1: the weights or metrics differ.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import throughtime as tt
from throughtime.data import Sequences
from throughtime.learning import Checkpoints

EPOCHS, EVERY = 6, 3


def data(seed: int, S: int) -> Sequences:
    """Symbols, each labelled with whether it has come before in its sequence."""
    draw = np.random.default_rng(seed)
    x = [draw.integers(0, 20, draw.integers(5, 60)) for _ in range(S)]
    y = [np.array([symbol in row[:t] for t, symbol in enumerate(row)], np.int64) for row in x]
    return Sequences.from_arrays(x, y)


def train(folder: Path, resume: bool) -> None:
    """The whole training, from its beginning or its last checkpoint; writes weights and history to `folder`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = tt.ElmanNetwork(20, 48, 2)
    checkpoint = Checkpoints(folder / "checkpoints", EVERY, resume=resume)
    history = tt.fit(
        net, data(1, 600), data(2, 50), epochs=EPOCHS, batch_size=16, truncate=11, lr_schedule="cosine",
        patience=EPOCHS, checkpoint=checkpoint, progress=False,
    )  # fmt: skip
    for row in history.rows:
        del row["seconds"]
    history.to_csv(folder / "history.csv")
    save_file(net.state_dict(), folder / "weights.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    torch.optim.Adam([torch.zeros(1)])  # makes PyTorch import what would take seconds in every process
    start = multiprocessing.get_context("fork").Process
    with tempfile.TemporaryDirectory() as name:
        undisturbed = Path(name) / "undisturbed"
        began = time.perf_counter()
        run = start(target=train, args=(undisturbed, False))
        run.start()
        run.join()
        seconds = time.perf_counter() - began
        print(f"undisturbed: {seconds:.1f} s")
        kills, series, differing = 0, 0, 0
        while kills < arguments.kills:
            folder, resume, series = Path(name) / f"series-{series}", False, series + 1
            while True:
                run = start(target=train, args=(folder, resume))
                run.start()
                if kills < arguments.kills:
                    run.join(moments.uniform(0, seconds / 4))
                else:
                    run.join()
                if run.exitcode is not None:
                    break
                run.kill()
                run.join()
                kills += 1
                left = sorted(file.name for file in (folder / "checkpoints").glob("*"))
                print(f"kill {kills}: checkpoints {', '.join(left) or 'none'}")
                resume = bool(left)
            same = run.exitcode == 0 and equal(undisturbed, folder)
            print(f"series {series} has ended: {'the same bits' if same else 'DIFFERENT'}")
            differing += not same
    print(f"{kills} kills, {series} series, {differing} different, {time.perf_counter() - began:.0f} s in all")
    return int(differing > 0)


def equal(a: Path, b: Path) -> bool:
    """Whether weights and history are the same to the bit."""
    weights = load_file(a / "weights.safetensors"), load_file(b / "weights.safetensors")
    same = all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    return same and (a / "history.csv").read_bytes() == (b / "history.csv").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
