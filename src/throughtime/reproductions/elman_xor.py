"""XOR in time: every third bit of a stream follows from the two before it (Elman 1990, figure 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import throughtime as tt
from throughtime.reproductions.experiment import Claim, Experiment, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 12
"""Consecutive bits of the paper's figure."""


@dataclass(frozen=True)
class Outcome:
    errors: Tensor
    """[12] the root mean squared error at 12 consecutive bits, the first of them the first of a triple."""
    one_step: tuple[float, float]
    """The cosine of the gradient that goes back one step, as the paper's, with the exact one: before training, and after."""

    @property
    def predictable(self) -> float:
        """The error at the bits that follow from those before."""
        return float(self.errors[2::3].square().mean().sqrt())

    @property
    def others(self) -> float:
        return float(torch.cat([self.errors[0::3], self.errors[1::3]]).square().mean().sqrt())


def triples(number: int, generator: torch.Generator) -> Tensor:
    """[3 · number] bits: two at random, then their exclusive or, and so on."""
    pairs = torch.randint(2, (number, 2), generator=generator)
    return torch.cat([pairs, pairs.sum(1, keepdim=True) % 2], 1).flatten()


def run(seed: int, bits: int = 3000, piece: int = 60, states: int = 2, epochs: int = 600) -> Outcome:
    generator = torch.Generator().manual_seed(seed)
    x = triples(bits // 3, generator).view(-1, piece)
    y = x.roll(-1, 1)
    y[:, -1] = -100  # what follows a piece is not asked for
    net = tt.ElmanNetwork(n=2, d=states, k=2)
    before = tt.anatomy(net, x[:1], y[:1])
    tt.fit(net, (x, y), epochs=epochs, lr=0.01, batch_size=5, seed=seed, progress=False)
    after = tt.anatomy(net, x[:1], y[:1])
    test = triples(1200 // 3, generator)
    with torch.no_grad():
        p = net(test.unsqueeze(0)).softmax(-1)[0, :, 1]
    squares = (p[:-1] - test[1:]).square()  # of the predictions of bits 1, 2, …; of bit 0 there is none
    squares = squares[2 : 2 + (len(squares) - 2) // SHOWN * SHOWN].view(-1, SHOWN)
    cosines = [float(a.truncation.cosine[0]) for a in (before, after)]
    return Outcome(squares.mean(0).sqrt(), (cosines[0], cosines[1]))


def measures(outcomes: list[Outcome]) -> list[Measure]:
    return [
        Measure(
            "RMS error at every third bit",
            "lower (figure 3, a curve without numbers)",
            [o.predictable for o in outcomes],
        ),
        Measure("RMS error at the other bits", "higher (figure 3)", [o.others for o in outcomes]),
        Measure("the least possible there", "", [0.5 for _ in outcomes[:1]]),
    ]


def claims(outcomes: list[Outcome]) -> list[Claim]:
    return [Claim("The error falls at every third bit:", [o.predictable < o.others for o in outcomes])]


def picture(outcomes: list[Outcome]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axis = figure.subplots()
    bits = range(1, SHOWN + 1)
    for o in outcomes:
        axis.plot(bits, o.errors, color="#1f77b4", linewidth=0.7, alpha=0.5)
    axis.plot(
        bits, torch.stack([o.errors for o in outcomes]).mean(0), "o-", color="#1f77b4", label="mean over the seeds"
    )
    axis.axhline(0.5, color="#666666", linestyle=":", linewidth=1, label="guessing")
    for third in bits[2::3]:
        axis.axvspan(third - 0.4, third + 0.4, color="#d95f02", alpha=0.12, linewidth=0)
    axis.set(xlabel="bit (shaded: it follows from the two before)", ylabel="RMS error", xticks=bits, ylim=(0, 0.7))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
    return figure


def anatomy(outcomes: list[Outcome]) -> str:
    before, after = (sum(o.one_step[i] for o in outcomes) / len(outcomes) for i in (0, 1))
    return (
        "The paper's network treats its previous state as a further input: its gradient goes back a single step, to "
        f"lag 0. Of the exact gradient by W, which this training follows, that is a part with cosine {before:.2f} "
        f"before and {after:.2f} after training (mean over the seeds). The rest teaches earlier steps what to keep "
        "for later ones."
    )


EXPERIMENT = Experiment(
    paper="Elman (1990), Finding structure in time, Cognitive Science 14: 179–211",
    question=(
        "A stream of bits consists of triples: two random bits, then their exclusive or. A network that predicts the "
        "next bit has to be told neither where a triple begins nor that there are triples. Does it find out?"
    ),
    recipe=(
        "As in the paper: 3,000 bits, 2 states, 600 passes, and a test on 1,200 other bits. Not as in the paper: the "
        "stream is cut into pieces of 60 bits, whose exact gradient trains (Adam, 5 pieces per update); the output "
        "is a probability, trained by cross-entropy. The squared error is that of the probability of a 1."
    ),
    run=run,
    measures=measures,
    claims=claims,
    picture=picture,
    anatomy=anatomy,
    seeds=10,
    full={"bits": 30_000},
    short={"states": 4, "bits": 1500, "epochs": 100},
)
