"""Cells through `tt.nn.Recurrent`: beside the built-in layers, and beside torchrecurrent's own layers.

One thread, float32, forward and all gradients; minima of processor time, taking turns within one process.

    python benchmarks/cells.py [--rounds 8] [--cells LiGRU MGU …]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

import throughtime as tt

SIZES = ((100, 32, 64, 128), (100, 64, 128, 256))
"""T, B, n, d beside the built-in layers."""

SMALL = (100, 16, 16, 32)
"""T, B, n, d beside torchrecurrent."""


def learn(layer: nn.Module, x: Tensor) -> None:
    layer(x)[0].sum().backward()


def least(calls: list[Callable[[], None]], rounds: int) -> list[float]:
    """The least processor time of each, in milliseconds."""
    found = [float("inf")] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.process_time()
            call()
            found[i] = min(found[i], time.process_time() - start)
    return [1e3 * t for t in found]


def beside_built_in(rounds: int) -> None:
    print(f"{'T,B,n,d':>16} {'cell':>12} {'Recurrent':>10} {'built in':>10}  ratio")
    for T, B, n, d in SIZES:
        x = torch.randn(T, B, n, requires_grad=True)
        pairs = (
            ("Leaky", tt.nn.Recurrent(tt.cells.Leaky(n, d)), tt.nn.RNN(n, d)),
            ("LSTMCell", tt.nn.Recurrent(nn.LSTMCell(n, d)), tt.nn.LSTM(n, d)),
            ("GRUCell", tt.nn.Recurrent(nn.GRUCell(n, d)), tt.nn.GRU(n, d)),
        )
        times = iter(least([lambda m=m, x=x: learn(m, x) for _, *two in pairs for m in two], rounds))
        for name, *_ in pairs:
            ours, other = next(times), next(times)
            print(f"{f'{T},{B},{n},{d}':>16} {name:>12} {ours:10.2f} {other:10.2f}  {ours / other:.2f}")


def beside_torchrecurrent(rounds: int, names: list[str]) -> None:
    import torchrecurrent

    T, B, n, d = SMALL
    x = torch.randn(T, B, n, requires_grad=True)
    ratios = []
    print(f"\n{f'{T},{B},{n},{d}':>16} {'Recurrent':>10} {'its own':>10}  times")
    for name in names or sorted(c.removesuffix("Cell") for c in dir(torchrecurrent) if c.endswith("Cell")):
        own = getattr(torchrecurrent, name, None)
        if own is None or name == "IntersectionRNN":  # which has as many inputs as units
            continue
        cell = getattr(torchrecurrent, f"{name}Cell")(n, d)
        layers = [tt.nn.Recurrent(cell, engine="program"), own(n, d)]
        ours, other = least([lambda m=m: learn(m, x) for m in layers], rounds)
        ratios.append(other / ours)
        print(f"{name:>16} {ours:10.2f} {other:10.2f}  {other / ours:.1f}", flush=True)
    print(f"median {statistics.median(ratios):.1f}, least {min(ratios):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--cells", nargs="*", default=[], help="of torchrecurrent; all where none is named")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    beside_built_in(arguments.rounds)
    beside_torchrecurrent(arguments.rounds, arguments.cells)


if __name__ == "__main__":
    main()
