"""The recipe of learning: optimisers, `fit`, evaluation, history and run folders."""

from throughtime.learning.checkpoints import Checkpoints
from throughtime.learning.evaluation import Evaluation, evaluate, predict_logits
from throughtime.learning.history import History
from throughtime.learning.interruption import Interrupted
from throughtime.learning.nonfinite import NonFiniteError
from throughtime.learning.recipe import fit

__all__ = [
    "Checkpoints",
    "Evaluation",
    "History",
    "Interrupted",
    "NonFiniteError",
    "evaluate",
    "fit",
    "predict_logits",
]
