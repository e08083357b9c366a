"""Layers that take the place of torch.nn's: `RNN`, `LSTM` and `GRU`, and their cells of one step; `Recurrent` for any cell."""

from throughtime.nn import constraints
from throughtime.nn.gru import GRU, GRUCell
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
    "RNNCell",
    "Recurrent",
    "constraints",
    "variational_mask",
]
