"""Recurrent neural networks trained by exact backpropagation through time: fast, open, practical.

The names below are loaded when first used, so that the command line can answer before PyTorch is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime import callbacks, cells, data, export, nn
    from throughtime import estimators as estimators
    from throughtime.anatomy import anatomy
    from throughtime.estimators import SequenceClassifier as SequenceClassifier
    from throughtime.estimators import SequenceForecaster as SequenceForecaster
    from throughtime.estimators import SequenceRegressor as SequenceRegressor
    from throughtime.estimators import SequenceTagger as SequenceTagger
    from throughtime.learning.evaluation import evaluate
    from throughtime.learning.rates import lr_find
    from throughtime.learning.recipe import fit
    from throughtime.learning.run import load
    from throughtime.models.model import ElmanNetwork, bptt
    from throughtime.models.sequence_model import SequenceModel
    from throughtime.operators.ops import engine, get_engine, set_engine, set_num_threads

__version__ = "0.1.0"

_HOME = {
    "ElmanNetwork": "throughtime.models.model",
    "SequenceClassifier": "throughtime.estimators",
    "SequenceForecaster": "throughtime.estimators",
    "SequenceModel": "throughtime.models.sequence_model",
    "SequenceRegressor": "throughtime.estimators",
    "SequenceTagger": "throughtime.estimators",
    "bptt": "throughtime.models.model",
    "engine": "throughtime.operators.ops",
    "evaluate": "throughtime.learning.evaluation",
    "fit": "throughtime.learning.recipe",
    "get_engine": "throughtime.operators.ops",
    "load": "throughtime.learning.run",
    "lr_find": "throughtime.learning.rates",
    "set_engine": "throughtime.operators.ops",
    "set_num_threads": "throughtime.operators.ops",
}
_MODULES = ("anatomy", "callbacks", "cells", "data", "estimators", "export", "nn")
"""Modules that are public by themselves; `anatomy` can be called as well."""

__all__ = [  # noqa: RUF022 (as a reader meets them)
    "ElmanNetwork",
    "SequenceModel",
    "nn",
    "cells",
    "bptt",
    "fit",
    "lr_find",
    "callbacks",
    "evaluate",
    "anatomy",
    "data",
    "load",
    "export",
    "engine",
    "get_engine",
    "set_engine",
    "set_num_threads",
]  # without the estimators, for which scikit-learn has to be installed


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"throughtime.{name}")
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
