"""Tagging: which kind of token is each character of a Python program part of?

An Elman network reads source files of CPython's standard library, a character at a time, and labels each character on reading
it. Beside it stand two predictions without a memory: the most frequent label, and the most frequent label of each character.
The picture shows a function as the network sees it.

    python examples/tag_python_source.py [--out tag_python_source.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import throughtime as tt
from throughtime.data import majority_accuracy, symbol_accuracy
from throughtime.learning import predict_logits

COLOURS = {
    "comment": "#2e8b57",
    "string": "#b8860b",
    "name": "#222222",
    "keyword": "#a020a0",
    "op": "#0a7a8c",
    "number": "#1f5fbf",
    "space": "#bbbbbb",
}
PROGRAM = '''\
def halve(text, times=2):
    """Return a half of text, or less."""
    for i in range(times):  # not in place
        text = text[: len(text) // 2]
    return f"{times} times: " + text
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/tag_python_source.png"), help="the picture")
    parser.add_argument("--files", type=int, default=40, help="how many files to learn from")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()

    source = tt.data.load("python-source")
    assert source.test is not None
    train = source.train.take(range(options.files))
    torch.manual_seed(0)
    net = tt.ElmanNetwork(source.n, 128, source.k, initialization="orthogonal")
    tt.fit(net, train, lr=3e-3, lr_schedule="cosine", epochs=options.epochs, truncate=200, progress=False)

    found = tt.evaluate(net, source.test, truncate=200)
    print(f"test accuracy                          {found.accuracy:.3f}")
    print(f"  most frequent label                  {majority_accuracy(train, source.test):.3f}")
    print(f"  most frequent label of each character {symbol_accuracy(train, source.test):.3f}")

    vocabulary = source.encoding.vocabulary
    assert vocabulary is not None
    program = tt.data.Sequences.from_arrays([vocabulary.encode(PROGRAM)])
    labels = [source.encoding.labels[i] for i in predict_logits(net, program)[0].argmax(-1)]
    draw(PROGRAM, labels, options.out)


def draw(program: str, labels: Sequence[str], out: Path) -> None:
    """Each character of `program` in the colour of its label."""
    from matplotlib.figure import Figure

    lines = program.splitlines()
    width = max(map(len, lines))
    figure = Figure(figsize=(0.1 * width + 0.3, 0.24 * len(lines) + 0.5), dpi=150)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.set(xlim=(0, width), ylim=(len(lines) + 1.2, -0.6))
    axes.axis("off")
    row, column = 0, 0
    for character, label in zip(program, labels, strict=True):
        if character == "\n":
            row, column = row + 1, 0
            continue
        axes.text(
            column + 0.5,
            row,
            character,
            color=COLOURS[label],
            family="monospace",
            ha="center",
            va="center",
            fontsize=11,
        )
        column += 1
    for i, (label, colour) in enumerate(COLOURS.items()):
        place = (i + 0.5) * width / len(COLOURS)
        axes.text(place, len(lines) + 0.6, label, color=colour, ha="center", va="center", weight="bold", fontsize=9)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


if __name__ == "__main__":
    main()
