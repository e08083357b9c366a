"""Models as plain torch.nn modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.model import ElmanNetwork
from throughtime.notation import is_symbols
from throughtime.sequence_model import OF_ROWS, SequenceModel

ELMAN_NAMES = {
    "U": "rnn.weight_ih_l0",
    "W": "rnn.weight_hh_l0",
    "b": "rnn.bias_ih_l0",
    "V": "readout.weight",
    "c": "readout.bias",
    "s0": "initial_state",
}
"""The parameters of an `ElmanNetwork` in a `TorchNetwork`."""


class TorchNetwork(nn.Module):
    """A network of plain torch.nn modules: what `to_torch` returns.

    Attributes:
        embedding: torch.nn.Embedding; None: x holds features, or symbols that become one-hot vectors.
        rnn: torch.nn.RNN with batch_first.
        readout: torch.nn.Linear.
        initial_state: [layers · directions, 1, d] to start from; None: zero.
        by_row: whether the readout reads the final states of the last layer, rather than its states at every step.
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        rnn: nn.RNN,
        readout: nn.Linear,
        initial_state: nn.Parameter | None = None,
        by_row: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.rnn = rnn
        self.readout = readout
        self.initial_state = initial_state
        self.by_row = by_row

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """z [B, T, k], or [B, k] by row.

        Args:
            x: float [B, T, n], or integer symbols [B, T].
            lengths: [B]; None where all rows have T steps.
        """
        if is_symbols(x):
            if lengths is not None:  # padding may hold any number
                x = x.where(torch.arange(x.shape[1], device=x.device) < lengths.to(x.device).unsqueeze(1), 0)
            if self.embedding is not None:
                x = self.embedding(x.long())
            else:
                x = nn.functional.one_hot(x.long(), self.rnn.input_size).to(self.readout.weight.dtype)
        start = None if self.initial_state is None else self.initial_state.repeat(1, len(x), 1)
        if lengths is None:
            states, final = self.rnn(x, start)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            states, final = self.rnn(packed, start)
            states, _ = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])
        if self.by_row:
            directions = 2 if self.rnn.bidirectional else 1
            states = final[-directions:].transpose(0, 1).flatten(1)
        return self.readout(states)


def to_torch(model: nn.Module) -> TorchNetwork:
    """The same network as plain torch.nn modules, with its own copy of the weights.

    The weights of a `SequenceModel` have the same names in both: `embedding.weight`, `rnn.weight_ih_l0`, `rnn.weight_hh_l0`,
    `rnn.bias_ih_l0`, `rnn.bias_hh_l0` and so on for each layer and direction, `readout.weight`, `readout.bias`. Those of an
    `ElmanNetwork` become

    | `U` | `W` | `b` | `V` | `c` | `s0` |
    |---|---|---|---|---|---|
    | `rnn.weight_ih_l0` | `rnn.weight_hh_l0` | `rnn.bias_ih_l0` | `readout.weight` | `readout.bias` | `initial_state` |

    and `rnn.bias_hh_l0` is zero. So `model.safetensors` of a run can be read without this library.

    Raises:
        TypeError: another kind of model.
        ValueError: a nonlinearity that torch.nn.RNN does not have.
    """
    if not isinstance(model, ElmanNetwork | SequenceModel):
        raise TypeError(f"model: expected an ElmanNetwork or a SequenceModel, found {type(model).__name__}")
    if model.nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', as torch.nn.RNN has, found {model.nonlinearity!r}")
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    first = next(iter(weights.values()))
    options: dict[str, Any] = {"device": first.device, "dtype": first.dtype}
    if isinstance(model, ElmanNetwork):
        rnn = nn.RNN(model.n, model.d, nonlinearity=model.nonlinearity, batch_first=True, **options)
        start = None if model.s0 is None else nn.Parameter(torch.empty(1, 1, model.d, **options))
        plain = TorchNetwork(None, rnn, nn.Linear(model.d, model.k, **options), start)
        weights = {
            ELMAN_NAMES[name]: value.view(1, 1, -1) if name == "s0" else value for name, value in weights.items()
        }
        weights["rnn.bias_hh_l0"] = torch.zeros_like(weights["rnn.bias_ih_l0"])
    else:
        embedding = None
        if model.embedding is not None:
            embedding = nn.Embedding(model.n, model.embedding.embedding_dim, **options)
        rnn = nn.RNN(
            model.rnn.input_size,
            model.d,
            model.layers,
            nonlinearity=model.nonlinearity,
            batch_first=True,
            dropout=model.dropout,
            bidirectional=model.bidirectional,
            **options,
        )
        readout = nn.Linear(model.readout.in_features, model.k, **options)
        plain = TorchNetwork(embedding, rnn, readout, by_row=model.task in OF_ROWS)
    plain.load_state_dict(weights)
    return plain.train(model.training)
