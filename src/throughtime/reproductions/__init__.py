"""What the papers report, repeated with this library: `throughtime reproduce`.

Each experiment is a file of its own, whose `EXPERIMENT` describes it; `report` prints, draws and writes what was found. The
command line, the documents and the tests go by the table below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime.reproductions.experiment import Experiment

EXPERIMENTS = {
    "elman-xor": "XOR in time (Elman 1990)",
    "elman-letters": "Letters in a stream of words (Elman 1990)",
    "elman-words": "Lexical categories from word order (Elman 1990)",
    "bengio-latching": "Latching a bit (Bengio, Simard & Frasconi 1994)",
}
"""The title of each by its name, which is that of its module, with hyphens."""


def find(name: str) -> Experiment:
    """The experiment of this name in `EXPERIMENTS`."""
    return import_module(f"throughtime.reproductions.{name.replace('-', '_')}").EXPERIMENT
