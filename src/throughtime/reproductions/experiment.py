"""What an experiment is: a question, a recipe, and what a paper reports beside what is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Measure:
    """A figure of the paper's and the one measured."""

    what: str
    """What was measured, with its unit."""
    paper: str
    """The paper's figure and where it stands there; empty where it gives none."""
    values: Sequence[float]
    """What was measured, for each seed."""
    form: str = ".3g"
    """How a number is written."""
    differs: str = ""
    """Why it is another than the paper's, where it is."""

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None of a single one."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def told(self) -> str:
        """Mean ± standard deviation."""
        mean = format(self.mean, self.form)
        return mean if self.spread is None else f"{mean} ± {format(self.spread, self.form)}"


@dataclass(frozen=True)
class Claim:
    """What the paper found, as a sentence, and for each seed whether it was found here."""

    says: str
    holds: Sequence[bool]

    @property
    def told(self) -> str:
        held, of = sum(map(bool, self.holds)), len(self.holds)
        return ("yes" if held == of else "no" if held == 0 else "at times") + f": with {held} of {of} seeds"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment; texts are Markdown. What `run` returns for each seed is handed, as a list, to the functions below it."""

    paper: str
    """Authors, year, title, where."""
    question: str
    """One or two sentences."""
    recipe: str
    """The data, the network and its training, and in what they are not the paper's."""
    run: Callable[..., Any]
    """run(seed, **size) trains and measures. PyTorch's global generator is seeded with `seed` before, and put back after."""
    measures: Callable[[list[Any]], list[Measure]]
    claims: Callable[[list[Any]], list[Claim]]
    picture: Callable[[list[Any]], Figure]
    anatomy: Callable[[list[Any]], str] | None = None
    """What the anatomy of the gradient adds, in sentences with their numbers."""
    seeds: int = 5
    """How many without --seeds: 0, 1, …"""
    full: Mapping[str, Any] = field(default_factory=dict)
    """The size of --full: arguments of `run` other than its defaults."""
    short: Mapping[str, Any] = field(default_factory=dict)
    """The size that a test takes, which shows the direction of the finding in a second or two."""
