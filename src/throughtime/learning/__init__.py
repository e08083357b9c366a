"""The recipe of learning: optimisers, `fit`, evaluation, history and run folders."""

from throughtime.learning.evaluation import Evaluation, evaluate, predict_logits
from throughtime.learning.history import History
from throughtime.learning.recipe import NonFiniteError, fit

__all__ = ["Evaluation", "History", "NonFiniteError", "evaluate", "fit", "predict_logits"]
