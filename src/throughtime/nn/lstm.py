"""Long short-term memory in the places of `torch.nn.LSTM` and `torch.nn.LSTMCell`. Formulas: `throughtime.programs.lstm`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from throughtime.nn.checks import check_sizes
from throughtime.nn.layers import Layers, State
from throughtime.programs import Program, lstm


class LSTM(Layers):
    """A stack of LSTMs over sequences, in one or both directions: `torch.nn.LSTM`, with exact derivatives of every order.

    Arguments, parameters, inputs, outputs and errors are those of `torch.nn.LSTM`, whose documentation holds here. Beyond it:

    - the input may hold integer symbols in place of float vectors: [T, B] ([B, T] with `batch_first`), [T] for one sequence, or
      packed. A symbol i is the one-hot vector e_i, so the first layer takes column i of its weights;
    - padded input may come with `lengths`, which saves the packing, and sequences of several pieces with `starts`;
    - `torch.compile` takes the layer whole.

    On CUDA, MPS and XPU the layer runs as PyTorch's own fused operator: the engine "torch". The
    reference, a loop of PyTorch's operations, runs higher derivatives there, what torch.compile has recorded, and every dtype
    on the CPU but float32 and float64.

    It is a `torch.nn.RNNBase`, but no `torch.nn.LSTM`: `torch.compile` leaves its graph at every instance of that class.

    Args:
        input_size, hidden_size: sizes n and d of an input and of a state.
        num_layers: recurrences on top of each other; each reads the states h of the one below.
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: whether batched input and output are [B, T, ...] rather than [T, B, ...]; h_0, c_0, h_n, c_n never are.
        dropout: probability of zeroing each state between two layers while training.
        bidirectional: whether each layer also walks the sequences from their ends, as a second half of its states.
        proj_size: where not 0, h has that many units, made of o ⊙ tanh(c) by the matrix `weight_hr`.
        device, dtype: of the parameters.

    Raises: TypeError, ValueError: an argument of the wrong kind or value.
    """

    state_parts = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        super().__init__(
            "LSTM", *sizes, bias, batch_first, dropout, bidirectional, proj_size=proj_size, device=device, dtype=dtype
        )

    @torch.no_grad()
    def open_forget_gates(self) -> None:
        """Let the biases of the forget gates start at 1, `bias_ih` 1 and `bias_hh` 0, so that what enters c stays there for a
        while: Gers, Schmidhuber & Cummins (2000); Józefowicz, Zaremba & Sutskever (2015)."""
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        for name, parameter in self.named_parameters():
            if name.startswith("bias_"):
                parameter[forget] = 1.0 if name.startswith("bias_ih") else 0.0

    def _program(self, n: int) -> Program:
        return lstm(n, self.hidden_size, self.bias, self.proj_size)

    @property
    def state_widths(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size

    def _parts(self, hx: Any) -> State:
        if not isinstance(hx, tuple | list) or len(hx) != 2 or not all(isinstance(part, Tensor) for part in hx):
            found = f"{len(hx)} of them" if isinstance(hx, tuple | list) else type(hx).__name__
            if isinstance(hx, tuple | list) and len(hx) == 2:
                found = " and ".join(type(part).__name__ for part in hx)
            raise TypeError(f"hx: expected two tensors (h_0, c_0), found {found}")
        return tuple(hx)

    def _whole(self, parts: State) -> State:
        return parts


class LSTMCell(nn.LSTMCell):
    """One step of an LSTM: `torch.nn.LSTMCell`, as it is. A single step leaves nothing to save over PyTorch's own."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        super().__init__(input_size, hidden_size, bias, device, dtype)
