"""Latching: a bit that came first is to be told at the end, T steps later (Bengio, Simard & Frasconi 1994)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import throughtime as tt
from throughtime.reproductions.experiment import Claim, Experiment, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INFORMED = 3
"""Steps that tell the class."""


@dataclass(frozen=True)
class Training:
    """One of many."""

    T: int
    succeeded: bool
    horizon: int
    """Before training: the steps that give 99 % of the gradient's direction (cosine)."""
    reached: float
    """Before training: the norm of the paths that reach the informed steps, over that of all paths."""


def sequences(number: int, T: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x [number, T, 7]: each of the first three steps has two inputs of its own, one for each class; then comes noise.
    y [number, T]: the class at the last step."""
    classes = torch.randint(2, (number,), generator=generator)
    x = torch.zeros(number, T, 2 * INFORMED + 1)
    for step in range(INFORMED):
        x[torch.arange(number), step, 2 * step + classes] = 1
    x[:, INFORMED:, -1] = noise * torch.randn(number, T - INFORMED, generator=generator)
    y = torch.full((number, T), -100)
    y[:, -1] = classes
    return x, y


def train(seed: int, T: int, states: int, noise: float, epochs: int) -> Training:
    generator = torch.Generator().manual_seed(seed)
    train, test = (sequences(number, T, noise, generator) for number in (320, 500))
    net = tt.ElmanNetwork(n=2 * INFORMED + 1, d=states, k=2, dtype=torch.float64)
    net.reset_parameters(generator)
    x, y = train[0][:20].double(), train[1][:20]
    before = tt.anatomy(net, x, y)
    norms = before.norms[:, -1].mean(0)  # of the last step's loss: [T] by the step that a path reaches
    tt.fit(net.float(), train, epochs=epochs, lr=0.01, batch_size=16, seed=seed, progress=False)
    accuracy = tt.evaluate(net, test).accuracy
    reached = norms[1 : INFORMED + 1].sum() / norms[1:].sum()  # W has nothing to multiply at the first step
    return Training(T, accuracy is not None and accuracy > 0.99, before.horizon(), float(reached))


def run(
    seed: int,
    lengths: tuple[int, ...] = (5, 10, 20, 40, 80),
    trainings: int = 20,
    states: int = 1,
    noise: float = 0.2,
    epochs: int = 20,
) -> list[Training]:
    seeds = range(seed * trainings, (seed + 1) * trainings)
    return [train(own, T, states, noise, epochs) for T in lengths for own in seeds]


def share(outcome: list[Training], T: int) -> float:
    """Of the trainings on sequences of T steps, how many succeeded."""
    return float(np.mean([t.succeeded for t in outcome if t.T == T]))


def lengths_of(outcome: list[Training]) -> list[int]:
    return sorted({t.T for t in outcome})


def measures(outcomes: list[list[Training]]) -> list[Measure]:
    falls = "falls with T (their minimal task, a curve)"
    return [
        Measure(f"share of successful trainings, T = {T}", falls, [share(o, T) for o in outcomes], ".2f")
        for T in lengths_of(outcomes[0])
    ]


def claims(outcomes: list[list[Training]]) -> list[Claim]:
    first, *_, last = lengths_of(outcomes[0])
    return [
        Claim(
            "The share of successful trainings falls from the shortest sequences to the longest:",
            [share(o, first) > share(o, last) for o in outcomes],
        )
    ]


def picture(outcomes: list[list[Training]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    lengths = lengths_of(outcomes[0])
    for o in outcomes:
        left.plot(lengths, [share(o, T) for T in lengths], color="#1f77b4", linewidth=0.7, alpha=0.5)
    mean = [np.mean([share(o, T) for o in outcomes]) for T in lengths]
    left.plot(lengths, mean, "o-", color="#1f77b4")
    left.set(
        xlabel="T, steps from the first input to the answer", ylabel="share of successful trainings", ylim=(-0.02, 1.02)
    )
    every = [t for o in outcomes for t in o]
    for succeeded, colour, label in ((False, "#d95f02", "failed"), (True, "#1b9e77", "succeeded")):
        own = [t for t in every if t.succeeded == succeeded]
        shift = 1.06 if succeeded else 0.94
        values = [max(t.reached, 1e-20) for t in own]
        right.plot([t.T * shift for t in own], values, "o", color=colour, markersize=3, alpha=0.5, label=label)
    right.set(xscale="log", yscale="log", xlabel="T", ylabel="gradient that reaches the first steps,\nbefore training")
    right.legend(frameon=False, loc="lower left", title="training")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks(lengths, list(map(str, lengths)))
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure


def anatomy(outcomes: list[list[Training]]) -> str:
    every = [t for o in outcomes for t in o]
    T = lengths_of(outcomes[0])[-1]
    horizon = np.mean([t.horizon for t in every if t.T == T])
    medians = {
        name: np.median([t.reached for t in every if t.succeeded == succeeded and t.T >= 20] or [np.nan])
        for name, succeeded in (("ended well", True), ("failed", False))
    }
    told = ", ".join(f"{value:.0e} of those that {name}" for name, value in medians.items() if not np.isnan(value))
    return (
        f"Before training at T = {T}, the last {horizon:.1f} steps (mean over the trainings) give 99 % of the "
        "gradient's direction: what the first three steps would have to learn does not come through. The share of "
        "the paths' norms that reaches them is, as a median over the trainings with T ≥ 20, "
        f"{told or 'not measured at this size'}."
    )


EXPERIMENT = Experiment(
    paper=(
        "Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent is difficult, IEEE "
        "Transactions on Neural Networks 5: 157–166"
    ),
    question=(
        "The first three steps of a sequence tell its class; then comes noise. The answer is asked for at the last "
        "step. How often does gradient descent find out how to keep a bit, as the sequences get longer?"
    ),
    recipe=(
        "As in the paper's minimal task: one recurrent unit, trainable inputs of the first three steps, noise with "
        "standard deviation 0.2 afterwards. Not as in the paper: the noise's weight and a readout are trainable too; "
        "Adam on 320 sequences (20 passes, 16 per update), from PyTorch's initial weights. Each seed stands for 20 "
        "trainings at every T; one is successful that answers more than 99 % of 500 other sequences."
    ),
    run=run,
    measures=measures,
    claims=claims,
    picture=picture,
    anatomy=anatomy,
    seeds=5,
    full={"lengths": (5, 10, 20, 40, 80, 160), "trainings": 50},
    short={"lengths": (5, 40), "trainings": 3, "epochs": 10},
)
