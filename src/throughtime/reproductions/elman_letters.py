"""Letters in a stream of words: the error rises where a word begins (Elman 1990, figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

import throughtime as tt
from throughtime.reproductions.experiment import Claim, Experiment, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = "many years ago a boy and girl lived by the sea they played happily".split()
"""The sentence of the paper's figure."""
LEXICON = [*SHOWN, "mother"]
LETTERS = sorted(set("".join(LEXICON)))


@dataclass(frozen=True)
class Outcome:
    shown: list[float]
    """The error at each letter of `SHOWN` but the first."""
    by_place: list[float]
    """The RMS error at the first letter of a word, the second, …"""
    rises: float
    """The share of word starts at which the error is above that of the letter before."""
    horizon: int
    word: float
    """Letters of a mean word."""


def stream(sentences: int, generator: np.random.Generator) -> list[str]:
    """Words of sentences of four to nine, without anything between them."""
    return [word for _ in range(sentences) for word in generator.choice(LEXICON, generator.integers(4, 10))]


def symbols(words: Sequence[str]) -> torch.Tensor:
    return torch.tensor([LETTERS.index(letter) for word in words for letter in word])


def errors(net: tt.ElmanNetwork, words: Sequence[str]) -> list[float]:
    """The length of (probabilities − the letter that came), for every letter but the first."""
    x = symbols(words)
    with torch.no_grad():
        p = net(x[:-1].unsqueeze(0)).softmax(-1)[0]
    return (p - torch.eye(len(LETTERS))[x[1:]]).norm(dim=1).tolist()


def run(seed: int, sentences: int = 200, piece: int = 40, states: int = 20, epochs: int = 10) -> Outcome:
    generator = np.random.default_rng(seed)
    x = symbols(stream(sentences, generator))
    x = x[: len(x) // piece * piece].view(-1, piece)
    y = x.roll(-1, 1)
    y[:, -1] = -100  # what follows a piece is not asked for
    net = tt.ElmanNetwork(n=len(LETTERS), d=states, k=len(LETTERS))
    tt.fit(net, (x, y), epochs=epochs, lr=0.01, batch_size=4, seed=seed, progress=False)
    words = stream(50, generator)
    places = np.array([place for word in words for place in range(len(word))])[1:]
    found = np.array(errors(net, words))
    by_place = [float(np.sqrt(np.mean(found[places == place] ** 2))) for place in range(places.max() + 1)]
    starts = np.flatnonzero(places == 0)
    starts = starts[starts > 0]
    rises = float(np.mean(found[starts] > found[starts - 1]))
    horizon = tt.anatomy(net, x[:1], y[:1]).horizon()
    return Outcome(errors(net, SHOWN), by_place, rises, horizon, float(np.mean([len(word) for word in LEXICON])))


def measures(outcomes: list[Outcome]) -> list[Measure]:
    figure = "(figure 6, a curve without numbers)"
    return [
        Measure("error at the first letter of a word", f"high {figure}", [o.by_place[0] for o in outcomes]),
        Measure("error at the second letter", f"lower {figure}", [o.by_place[1] for o in outcomes]),
        Measure("error at the third letter", f"lower still {figure}", [o.by_place[2] for o in outcomes]),
        Measure("share of word starts at which the error rises", "", [o.rises for o in outcomes]),
    ]


def claims(outcomes: list[Outcome]) -> list[Claim]:
    return [
        Claim(
            "The error is highest where a word begins, and falls letter by letter:",
            [o.by_place[0] > o.by_place[1] > o.by_place[2] for o in outcomes],
        ),
        Claim("It rises at most word starts:", [o.rises > 0.5 for o in outcomes]),
    ]


def picture(outcomes: list[Outcome]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    axis = figure.subplots()
    text = "".join(SHOWN)
    starts = np.cumsum([0] + [len(word) for word in SHOWN[:-1]])
    mean = np.mean([o.shown for o in outcomes], 0)
    for o in outcomes:
        axis.plot(range(1, len(text)), o.shown, color="#1f77b4", linewidth=0.6, alpha=0.4)
    axis.plot(range(1, len(text)), mean, "-", color="#1f77b4", label="mean over the seeds")
    axis.plot(starts[1:], mean[starts[1:] - 1], "o", color="#d95f02", label="first letter of a word")
    for start in starts[1:]:
        axis.axvline(start - 0.5, color="#666666", linewidth=0.4, alpha=0.6)
    axis.set_xticks(range(len(text)), text)
    axis.set(ylabel="error of the prediction", ylim=(0, None), xlim=(-0.5, len(text) - 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower left", ncols=2, bbox_to_anchor=(0, 1))
    return figure


def anatomy(outcomes: list[Outcome]) -> str:
    horizons = ", ".join(str(o.horizon) for o in outcomes)
    return (
        "How many letters back the gradient by W has 99 % of its direction (cosine) in the trained network, seed by "
        f"seed: {horizons}. A word of the lexicon has {outcomes[0].word:.1f} letters on average: what is learned "
        "about a word is learned from about that far back."
    )


EXPERIMENT = Experiment(
    paper="Elman (1990), Finding structure in time, Cognitive Science 14: 179–211",
    question=(
        "Words without spaces between them come letter by letter to a network that predicts the next one. Does its "
        "error tell where words begin, which nobody told it?"
    ),
    recipe=(
        "As in the paper: 200 sentences of 4 to 9 words from a lexicon of 15 (some 5,000 letters), 20 states, 10 "
        "passes. Not as in the paper: its lexicon is known from figure 6 but for one word, for which *mother* stands "
        "here; words follow one another at random; a letter is a symbol, not five bits; the exact gradient of pieces "
        "of 40 letters trains (Adam, cross-entropy, 4 pieces per update). The error is the length of the vector of "
        "predicted probabilities minus the letter that came, on 50 other sentences."
    ),
    run=run,
    measures=measures,
    claims=claims,
    picture=picture,
    anatomy=anatomy,
    seeds=10,
    full={"sentences": 2000},
    short={"sentences": 100, "epochs": 8},
)
