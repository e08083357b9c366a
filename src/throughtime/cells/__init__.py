"""Cells that people ask for most, each a short module with its formula and source, to be run by `tt.nn.Recurrent`.

    layer = tt.nn.Recurrent(tt.cells.LiGRU(64, 128))
    stack = tt.nn.Recurrent(lambda n: tt.cells.LayerNormLSTM(n, 128), 64, num_layers=2, bidirectional=True)

They are plain PyTorch: from x_t [B, n] and a state [B, d], or a tuple of those, to the state after the step. Copy one to begin
your own.
In the formulas U multiplies inputs, W states; ⊙ is unit by unit; every cell starts from zero where no state is given.
"""

from throughtime.cells.gates import GRU, MGU, UGRNN, LayerNormGRU, LiGRU, MinGRU
from throughtime.cells.memory import (
    LSTM,
    SLSTM,
    CoupledLSTM,
    LayerNormLSTM,
    MultiplicativeLSTM,
    PeepholeLSTM,
    chrono_start,
)
from throughtime.cells.rates import RNN, CfC, IndRNN, Leaky
from throughtime.cells.spikes import LIF, AdaptiveLIF, spike
from throughtime.cells.zoneout import Zoneout

__all__ = [
    "GRU",
    "LIF",
    "LSTM",
    "MGU",
    "RNN",
    "SLSTM",
    "UGRNN",
    "AdaptiveLIF",
    "CfC",
    "CoupledLSTM",
    "IndRNN",
    "LayerNormGRU",
    "LayerNormLSTM",
    "Leaky",
    "LiGRU",
    "MinGRU",
    "MultiplicativeLSTM",
    "PeepholeLSTM",
    "Zoneout",
    "chrono_start",
    "spike",
]
