"""What models become as plain torch.nn modules: see `ElmanNetwork.to_torch` and `SequenceModel.to_torch`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.core.notation import is_symbols, real_steps
from throughtime.models.reading import READERS, make_query
from throughtime.models.states import parts


class TorchNetwork(nn.Module):
    """A network of plain torch.nn modules: what `to_torch` returns.

    Attributes:
        embedding: torch.nn.Embedding; None: x holds features, or symbols that become one-hot vectors.
        rnn: torch.nn.RNN, LSTM or GRU with batch_first.
        readout: torch.nn.Linear.
        initial_state: [layers · directions, 1, d] to start from; None: zero.
        read: how one vector is made of a row's states, a name of `reading.READERS`; None: the readout reads every step.
        query: torch.nn.Linear of "attention".
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        rnn: nn.RNNBase,
        readout: nn.Linear,
        initial_state: nn.Parameter | None = None,
        read: str | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.rnn = rnn
        self.readout = readout
        self.initial_state = initial_state
        self.read = read
        self.query = None if read is None else make_query(read, readout.in_features, **like(readout))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """z [B, T, k], or [B, k] by row.

        Args:
            x: float [B, T, n], or integer symbols [B, T].
            lengths: [B]; None where all rows have T steps.
        """
        if is_symbols(x):
            if lengths is not None:  # padding may hold any number
                x = x.where(real_steps(x.shape[1], lengths, x.device), 0)
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
        if self.read is not None:
            directions = 2 if self.rnn.bidirectional else 1
            last = parts(final)[0][-directions:].transpose(0, 1).flatten(1)
            states = READERS[self.read](states, last, lengths, self.query)
        return self.readout(states)

    def take(self, weights: Mapping[str, Tensor], training: bool) -> TorchNetwork:
        """Copy `weights` by name, and train or evaluate as their model does; returns itself."""
        self.load_state_dict(weights)
        return self.train(training)


def torch_rnn(model: nn.Module, layer: nn.RNNBase) -> nn.RNNBase:
    """torch.nn's layer of the kind, sizes and options of one of `throughtime.nn`, with the dtype and device of `model`.

    Raises: ValueError: torch.nn has none, because of the nonlinearity or the place of the reset gate.
    """
    names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
    options: dict[str, Any] = {name: getattr(layer, name) for name in names} | like(model)
    if layer.mode == "LSTM":
        return nn.LSTM(layer.input_size, layer.hidden_size, proj_size=layer.proj_size, **options)
    if layer.mode == "GRU":
        if not layer.reset_after:
            raise ValueError("reset_after: expected True, as torch.nn.GRU has it, found False")
        return nn.GRU(layer.input_size, layer.hidden_size, **options)
    nonlinearity: Any = layer.nonlinearity
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', as torch.nn.RNN has, found {nonlinearity!r}")
    return nn.RNN(layer.input_size, layer.hidden_size, nonlinearity=nonlinearity, **options)


def like(model: nn.Module) -> dict[str, Any]:
    """The options that give new parameters the dtype and device of a model's."""
    first = next(model.parameters())
    return {"device": first.device, "dtype": first.dtype}
