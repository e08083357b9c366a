"""What an anatomy costs, beside taking each path from autograd.

Two naive ways, timed on a sample of losses and steps and extrapolated to all of them, since they take minutes to hours:

    per path   one autograd call for each loss L_t and step k, as one would do it first
    per loss   one autograd call for each L_t, for all the copies of W that it reaches: T calls, but t matrices d × d each

The anatomy's time is that of everything but the page: paths to W, U and b, truncation, Jacobian norms, Lyapunov exponents. Its
memory is by how much the peak of the process rises.

    python benchmarks/anatomy.py [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import throughtime as tt
from throughtime.anatomy import Anatomy, anatomy

SIZES = ((1000, 128, 1), (200, 128, 16))  # T, d, B
N, K = 64, 20


def problem(T: int, d: int, B: int) -> tuple[tt.ElmanNetwork, Tensor, Tensor]:
    torch.manual_seed(0)
    net = tt.ElmanNetwork(N, d, K, initialization="orthogonal")
    return net, torch.randn(B, T, N), torch.randint(K, (B, T))


def whole(net: tt.ElmanNetwork, x: Tensor, y: Tensor) -> Anatomy:
    """Everything but the page."""
    a = anatomy(net, x, y)
    _ = a.jacobian_norms, a.lyapunov, a.verdict
    return a


def seconds(run: Callable[[], object], rounds: int = 1) -> float:
    """The shortest of some runs."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def naive(net: tt.ElmanNetwork, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Estimated seconds for all paths of all instances: one autograd call per path, and one per loss."""
    B, T = x.shape[:2]
    copies = [net.W.detach().clone().requires_grad_() for _ in range(T)]
    s, losses = torch.zeros(net.d), []
    for t in range(T):
        s = torch.tanh(net.U.detach() @ x[0, t] + copies[t] @ s + net.b.detach())
        losses.append(F.cross_entropy(net.V.detach() @ s + net.c.detach(), y[0, t]))
    sample = [T // 8, 3 * T // 8, 5 * T // 8, 7 * T // 8]  # their mean is that of t = 1..T, and of its distances to k
    by_loss = [seconds(lambda t=t: torch.autograd.grad(losses[t], copies[: t + 1], retain_graph=True)) for t in sample]
    # k at the quarters of 0..t; a loss has t + 1 of them
    by_path = [
        (t + 1)
        * sum(
            seconds(lambda t=t, k=k: torch.autograd.grad(losses[t], copies[k], retain_graph=True))
            for k in (t // 8, 3 * t // 8, 5 * t // 8, 7 * t // 8)
        )
        / 4
        for t in sample
    ]
    return B * T * sum(by_path) / len(sample), B * T * sum(by_loss) / len(sample)


def main() -> None:
    parser = argparse.ArgumentParser(description="What an anatomy costs, beside taking each path from autograd.")
    parser.add_argument("--rounds", type=int, default=5, help="the shortest of so many runs counts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for T, d, B in SIZES:
        net, x, y = problem(T, d, B)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        a = whole(net, x, y)
        extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        took = seconds(lambda net=net, x=x, y=y: whole(net, x, y), options.rounds)
        per_path, per_loss = naive(net, x, y)
        rows.append(
            {
                "T": T,
                "d": d,
                "B": B,
                "seconds": took,
                "extra_megabytes": extra / 1024,
                "residual": a.residual,
                "naive_per_path_seconds": per_path,
                "naive_per_loss_seconds": per_loss,
            }
        )
    if options.json:
        json.dump({"threads": torch.get_num_threads(), "rows": rows}, sys.stdout, indent=2)
        print()
        return
    print(f"the anatomy of a gradient, float32, {torch.get_num_threads()} threads; naive times are extrapolated")
    print(
        f"{'T, d, B':>14} {'anatomy':>9} {'memory':>8} {'residual':>9} {'one call per path':>24} {'one call per loss':>22}"
    )
    for r in rows:
        size, took = f"{r['T']}, {r['d']}, {r['B']}", r["seconds"]
        naive_path, naive_loss = r["naive_per_path_seconds"], r["naive_per_loss_seconds"]
        print(
            f"{size:>14} {took:>7.2f} s {r['extra_megabytes']:>5.0f} MB {r['residual']:>9.0e}"
            f" {naive_path:>13.0f} s {naive_path / took:>6.0f} × {naive_loss:>11.1f} s {naive_loss / took:>6.1f} ×"
        )


if __name__ == "__main__":
    main()
