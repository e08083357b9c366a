"""An epoch of `make train` beside the same network, batches and optimiser on torch.nn.RNN.

Both models go through `tt.fit`: the same windows of 200 steps with carried state, Adam, clipping. They take turns, epoch by
epoch; the better of PyTorch's thread counts counts.

    python benchmarks/epoch.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import throughtime as tt


class TorchElman(nn.Module):
    """The network of `tt.ElmanNetwork(n, d, k)` on torch.nn.RNN; symbols become one-hot vectors."""

    def __init__(self, n: int, d: int, k: int) -> None:
        super().__init__()
        self.n, self.d = n, d
        self.rnn = nn.RNN(n, d, batch_first=True)
        self.readout = nn.Linear(d, k)

    def initial_state(self, B: int) -> Tensor:
        return torch.zeros(B, self.d)

    def loss(self, x: Tensor, y: Tensor, lengths: Tensor, *, s0: Tensor, return_state: bool) -> Any:
        """As `ElmanNetwork.loss`. Nearly all windows are full, so the padding is computed rather than packed: it is quicker."""
        states, _ = self.rnn(F.one_hot(x, self.n).float(), s0.unsqueeze(0))
        total = F.cross_entropy(self.readout(states).flatten(0, 1), y.flatten(), reduction="sum")
        return total / len(x), states[torch.arange(len(x)), lengths - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often the contenders take turns")
    rounds = parser.parse_args().rounds
    source = tt.data.load("python-source")
    most = torch.get_num_threads()
    contenders = {"throughtime": (tt.ElmanNetwork, most)}
    contenders |= {f"torch.nn.RNN, {count} threads": (TorchElman, count) for count in sorted({1, most})}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (make, threads) in contenders.items():
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            model = make(source.n, 128, source.k)
            time.sleep(0.1)  # threads of the contender before may still be spinning
            began = time.perf_counter()
            history = tt.fit(model, source.train, epochs=1, truncate=200, progress=False)
            seconds[name].append(time.perf_counter() - began)
            print(f"{name:<26} {seconds[name][-1]:6.2f} s   train loss {history['train_loss'][0]:.4f}", flush=True)
    ours = min(seconds.pop("throughtime"))
    print(f"the better torch ÷ throughtime, by minimum: {min(map(min, seconds.values())) / ours:.2f}")


if __name__ == "__main__":
    main()
