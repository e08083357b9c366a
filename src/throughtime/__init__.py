"""Recurrent neural networks trained by exact backpropagation through time: fast, open, practical.

The names below are loaded when first used, so that the command line can answer before PyTorch is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime import nn
    from throughtime.learning.evaluation import evaluate
    from throughtime.learning.recipe import fit
    from throughtime.model import ElmanNetwork, bptt
    from throughtime.ops import engine, get_engine, set_engine

__version__ = "0.1.0"

_HOME = {
    "ElmanNetwork": "throughtime.model",
    "bptt": "throughtime.model",
    "engine": "throughtime.ops",
    "evaluate": "throughtime.learning.evaluation",
    "fit": "throughtime.learning.recipe",
    "get_engine": "throughtime.ops",
    "set_engine": "throughtime.ops",
}

__all__ = ["ElmanNetwork", "bptt", "engine", "evaluate", "fit", "get_engine", "nn", "set_engine"]


def __getattr__(name: str) -> object:
    if name == "nn":
        return import_module("throughtime.nn")
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
