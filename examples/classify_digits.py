"""Classification: which digit is it, when an image comes row by row?

A recurrent network reads the 8 rows of a handwritten digit from top to bottom and names the digit at the end. Beside it stand
the most frequent class, and a logistic regression that sees all 64 pixels at once. The picture shows what the network
believes after each row.

    python examples/classify_digits.py [--out classify_digits.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import throughtime as tt
from throughtime.data import majority_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/classify_digits.png"), help="the picture")
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()

    digits = tt.data.load("digits")
    train, test = digits.train, digits.test
    assert test is not None
    torch.manual_seed(0)
    model = tt.SequenceModel(digits.n, 64, digits.k, task="classify")
    tt.fit(model, train, lr=3e-3, lr_schedule="cosine", epochs=options.epochs, progress=False)

    pixels, images = (np.stack(part.inputs).reshape(len(part), -1) for part in (train, test))
    regression = LogisticRegression(max_iter=1000).fit(pixels, train.targets)
    print(f"test accuracy, row by row               {tt.evaluate(model, test).accuracy:.3f}")
    print(f"  logistic regression, whole image      {regression.score(images, test.targets):.3f}")
    print(f"  most frequent class                   {majority_accuracy(train, test):.3f}")
    first = [int(np.flatnonzero(test.y == digit)[0]) for digit in (0, 3, 5, 6, 8, 9)]
    draw(model, torch.from_numpy(np.stack([test.inputs[i] for i in first])), options.out)


def draw(model: tt.SequenceModel, x: torch.Tensor, out: Path) -> None:
    """For each image of x [B, T, n], the probability of each digit after each row."""
    from matplotlib.figure import Figure

    with torch.no_grad():
        states, _ = model.rnn(x)
        beliefs = model.readout(states).softmax(-1).numpy()
    figure = Figure(figsize=(8.4, 4.4), dpi=150, layout="constrained")
    grid = figure.add_gridspec(2, len(x), height_ratios=(1, 1.7))
    for column, (image, belief) in enumerate(zip(x.numpy(), beliefs, strict=True)):
        above = figure.add_subplot(grid[0, column])
        above.imshow(image, cmap="Greys")
        above.set(xticks=[], yticks=[])
        below = figure.add_subplot(grid[1, column])
        shown = below.imshow(belief, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        below.set_xticks(range(10), map(str, range(10)), fontsize=7)
        below.set_yticks(range(len(image)), [] if column else map(str, range(1, len(image) + 1)), fontsize=7)
        below.set_xlabel("digit", fontsize=8)
        if column == 0:
            below.set_ylabel("after row")
    figure.colorbar(shown, ax=figure.axes, shrink=0.6, label="probability")
    figure.suptitle("What the network believes while an image comes in, row by row")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


if __name__ == "__main__":
    main()
