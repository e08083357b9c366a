"""Four gradients taken apart: one that vanishes, one that explodes, one that reaches far, and that of a trained network.

All networks (d = 64) label the characters of Python source by token kind, on the same stretch of text around a docstring:
inside it, only the state knows that the quotes were opened.

    vanishes    tanh, W drawn from ±1/√d, as usual, before training
    explodes    tanh, W drawn from a normal distribution of standard deviation 2/√d, before training
    reaches     relu, W the identity, small U (Le et al., 2015), before training
    trained     tanh, W orthogonal at the start, after a few epochs, which a Watch follows

    python examples/anatomy_cases.py [--out FOLDER] [--epochs 6]

writes pictures and a page for each case (those of docs/anatomy.md), and prints what they show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import throughtime as tt
from throughtime.anatomy import Watch, plots
from throughtime.anatomy.window import Window, window
from throughtime.data import Dataset, Sequences

STATES, STEPS, CHARACTERS = 64, 160, 600_000


def docstring(part: Sequences) -> tuple[int, int, int]:
    """A docstring of 60 to 110 characters: its sequence, the step of its first quote, the step after its last, from 1."""
    for i, text in enumerate(part.texts or ()):
        opened = text.find('"""')
        while opened >= 0:
            closed = text.find('"""', opened + 3)
            if 60 <= closed - opened <= 110 and opened > 200:
                return i, opened + 1, closed + 4
            opened = text.find('"""', closed + 3)
    raise ValueError("no docstring of that length in these sequences")


def networks(data: Dataset, epochs: int, out: Path) -> dict[str, tt.ElmanNetwork]:
    """The four networks, the last one trained under a watch."""
    n, k = data.encoding.n, data.encoding.k
    torch.manual_seed(0)
    vanishes, explodes = tt.ElmanNetwork(n, STATES, k), tt.ElmanNetwork(n, STATES, k)
    torch.nn.init.normal_(explodes.W, std=2 / STATES**0.5)
    reaches = tt.ElmanNetwork(n, STATES, k, "relu")
    with torch.no_grad():
        torch.nn.init.eye_(reaches.W)
        torch.nn.init.zeros_(reaches.b)
        reaches.U.mul_(0.1)
    trained = tt.ElmanNetwork(n, STATES, k, initialization="orthogonal")
    assert data.valid is not None
    i, opened, _ = docstring(data.valid)
    x, y = (
        torch.as_tensor(v[i][opened : opened + STEPS]).long()[None] for v in (data.valid.inputs, data.valid.targets)
    )
    watch = Watch(x, y)
    some = data.train.take(range(int((data.train.offsets <= CHARACTERS).sum()) - 1))
    tt.fit(trained, some, epochs=epochs, batch_size=16, truncate=200, lr=2e-3, seed=0, watch=watch)
    watch.picture().savefig(out / "anatomy-memory.png", dpi=90)
    return {"vanishes": vanishes, "explodes": explodes, "reaches": reaches, "trained": trained}


def draw(name: str, found: Window, out: Path) -> None:
    a, symbols = found.anatomy, found.symbols
    worst = int(a.losses.argmax()) + 1
    for picture, figure in {
        "paths": plots.heat_map(a, symbols=symbols),
        "lag": plots.lag_curve(a),
        "network": plots.unrolled_network(a, worst, symbols=symbols),
        "truncation": plots.truncation_curve(a),
        "jacobian": plots.jacobian_map(a),
    }.items():
        figure.savefig(out / f"anatomy-{name}-{picture}.png", dpi=90)
    a.to_html(
        out / f"anatomy-{name}.html", symbols=symbols, targets=found.targets, title=f"Anatomy of the gradient: {name}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Four gradients taken apart.")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/anatomy"))
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = tt.data.load("python-source")
    assert data.valid is not None
    instance, opened, closed = docstring(data.valid)
    start = opened - 20
    for name, net in networks(data, options.epochs, options.out).items():
        found = window(net, data.valid, data.encoding, instance=instance, start=start, steps=STEPS)
        after = closed - start + 1
        draw(name, found, options.out)
        a = found.anatomy
        sizes, quotes = a.norms[after - 1, :after], slice(opened - start, opened - start + 3)
        print(f"{name:>9}: {a.verdict}")
        print(
            f"{'':>11}L_t after the closing quotes, {after - 1 - quotes.start} steps from the opening ones, is "
            f"{float(a.losses[after - 1]):.3g} nats; ‖G[t,k]‖ at the opening quotes is "
            f"{float(sizes[quotes].max() / sizes[after - 1]):.2g} times that of its own step"
        )


if __name__ == "__main__":
    main()
