"""Layers that take the place of torch.nn's: `RNN`, `LSTM` and `GRU`, and their cells of one step; `Recurrent` for any cell."""

from throughtime.nn.gru import GRU, GRUCell
from throughtime.nn.lstm import LSTM, LSTMCell
from throughtime.nn.recurrent import Recurrent
from throughtime.nn.rnn import RNN, RNNCell

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent"]
