"""Layers that take the place of torch.nn's: `RNN`, `LSTM` and `GRU`, and their cells of one step; `Recurrent` for any cell;
`LinearCrossEntropyLoss`, and `functional.linear_cross_entropy`, for what stands on them."""

from throughtime.nn import constraints, functional
from throughtime.nn.gru import GRU, GRUCell
from throughtime.nn.losses import LinearCrossEntropyLoss
from throughtime.nn.lstm import LSTM, LSTMCell
from throughtime.nn.recurrent import Recurrent
from throughtime.nn.rnn import RNN, RNNCell
from throughtime.nn.variational import variational_mask

LAYERS = {"elman": RNN, "lstm": LSTM, "gru": GRU}
"""The layer of each built-in cell, by the name that models and the command have for it."""

__all__ = [
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "LinearCrossEntropyLoss",
    "RNNCell",
    "Recurrent",
    "constraints",
    "functional",
    "variational_mask",
]
