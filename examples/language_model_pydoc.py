"""Language model: which character comes next in Python's language reference?

A recurrent network reads the texts that `help()` shows and predicts each next character. Its bits per character stand beside
those of counted frequencies: of characters alone (unigram), and of characters after the one before (bigram), after the two
before (trigram). The picture shows where in a text it has never read the network is surprised.

    python examples/language_model_pydoc.py [--out language_model_pydoc.png]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

import throughtime as tt
from throughtime.learning import predict_logits
from throughtime.learning.generation import generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/language_model_pydoc.png"), help="the picture")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--states", type=int, default=192)
    options = parser.parse_args()

    topics = tt.data.load("pydoc-topics")
    train, test = topics.train, topics.test
    assert test is not None
    torch.manual_seed(0)
    net = tt.ElmanNetwork(topics.n, options.states, topics.k, initialization="orthogonal")
    tt.fit(net, train, lr=3e-3, lr_schedule="cosine", epochs=options.epochs, batch_size=16, truncate=64, progress=False)

    bits = {f"{n}gram": ngram_bits(train, test, topics.n, i) for i, n in enumerate(("uni", "bi", "tri"))}
    bits["network"] = tt.evaluate(net, test, truncate=200).loss / math.log(2)
    print("bits per character")
    for name, value in bits.items():
        print(f"  {name:<8} {value:.2f}")
    print("The network goes on from 'The ':")
    print(generate(net, topics.encoding, "The ", 300, temperature=0.6))
    draw(net, topics, bits, options.out)


def ngram_bits(train: tt.data.Sequences, test: tt.data.Sequences, n: int, before: int) -> float:
    """Bits per character of `test` by how often each follows the `before` ones in `train`.

    Where these were seen N times, r of n characters after them, the next is one of these with weight N against r for what a
    context shorter by one says (Witten and Bell, 1991).
    """
    probability: np.ndarray | float = 1.0 / n
    for order in range(before + 1):
        power = n ** np.arange(order + 1)
        known, asked = (_codes(part, before, order) @ power[::-1] for part in (train, test))
        seen = np.bincount(known, minlength=n ** (order + 1)).reshape(-1, n)
        context = asked // n
        N, r = seen.sum(1)[context], (seen > 0).sum(1)[context]
        count = seen.ravel()[asked]
        probability = np.where(N > 0, (count + r * probability) / np.maximum(N + r, 1), probability)
    return float(-np.log2(probability).mean())


def _codes(part: tt.data.Sequences, before: int, order: int) -> np.ndarray:
    """Each target with the `order` symbols before it: int64 [N, order + 1]; the first `before` of a text are left out."""
    rows = []
    for x, y in zip(part.inputs, part.targets, strict=True):
        text = np.append(x, y[-1])
        windows = np.lib.stride_tricks.sliding_window_view(text, before + 1)
        rows.append(windows[:, before - order :])
    return np.concatenate(rows)


def draw(net: tt.ElmanNetwork, topics: tt.data.Dataset, bits: dict[str, float], out: Path) -> None:
    """Bits per character, and an unread text with each character shaded by its surprise."""
    from matplotlib.figure import Figure

    assert topics.test is not None
    x, y = topics.test.inputs[-1], topics.test.targets[-1]
    logits = predict_logits(net, tt.data.Sequences.from_arrays([x[:900]]), truncate=200)[0]
    surprise = -logits.log_softmax(-1).gather(1, torch.from_numpy(y[:900, None])).squeeze(1).numpy() / math.log(2)
    labels = topics.encoding.labels
    figure = Figure(figsize=(11.5, 3.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 3))
    bars = left.barh(list(bits), list(bits.values()), color=["#9aa5b1"] * 3 + ["#1f77b4"])
    left.bar_label(bars, fmt="%.2f", padding=3)
    left.set(xlabel="bits per character, unread texts", xlim=(0, max(bits.values()) * 1.18))
    left.invert_yaxis()
    left.spines[["top", "right"]].set_visible(False)
    rows, columns = 16, 70
    right.set(xlim=(0, columns), ylim=(rows, 0), title="the next character: the redder, the less expected")
    right.axis("off")
    row, column = 0, 0
    for symbol, value in zip(y, surprise, strict=False):
        character = labels[symbol]
        if character == "\n" or column == columns:
            row, column = row + 1, 0
        if row == rows:
            break
        if character == "\n":
            continue
        shade = (1.0, 1 - min(value, 10) / 14, 1 - min(value, 10) / 14)
        right.add_patch(_box(column, row, shade))
        right.text(
            column + 0.5,
            row + 0.55,
            character.replace("$", r"\$"),
            family="monospace",
            fontsize=9,
            ha="center",
            va="center",
        )
        column += 1
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def _box(column: int, row: int, colour: tuple[float, float, float]):
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, color=colour, linewidth=0)


if __name__ == "__main__":
    main()
