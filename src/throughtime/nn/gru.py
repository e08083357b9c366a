"""The gated recurrent unit in the places of `torch.nn.GRU` and `torch.nn.GRUCell`. Formulas: `throughtime.programs.gru`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.checks import check_sizes, check_step, refuse_unknown
from throughtime.nn.layers import Layers
from throughtime.programs import Program, gru


class GRU(Layers):
    """A stack of GRUs over sequences, in one or both directions: `torch.nn.GRU`, faster.

    Arguments, parameters, inputs, outputs and errors are those of `torch.nn.GRU`, whose documentation holds here. Beyond it:

    - with `reset_after=False` the reset gate stands before the product, n = tanh(… + W_n (r ⊙ h) + b_hn), as in the paper and
      in Keras's option of this name; ONNX has it as linear_before_reset = 0;
    - the input may hold integer symbols in place of float vectors: [T, B] ([B, T] with `batch_first`), [T] for one sequence, or
      packed. A symbol i is the one-hot vector e_i, so the first layer takes column i of its weights;
    - padded input may come with `lengths`, which saves the packing, and sequences of several pieces with `starts`;
    - first, second and higher derivatives are exact, and `torch.compile` takes the layer whole.

    On CUDA, MPS and XPU the layer with `reset_after` runs as PyTorch's own fused operator: the engine "torch". The
    reference, a loop of PyTorch's operations, runs higher derivatives there, what torch.compile has recorded, and every dtype
    on the CPU but float32 and float64.

    It is a `torch.nn.RNNBase`, but no `torch.nn.GRU`: `torch.compile` leaves its graph at every instance of that class.

    Args:
        input_size, hidden_size: sizes n and d of an input and of a state.
        num_layers: recurrences on top of each other; each reads the states of the one below.
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: whether batched input and output are [B, T, ...] rather than [T, B, ...]; the states h_0, h_n never are.
        dropout: probability of zeroing each state between two layers while training.
        bidirectional: whether each layer also walks the sequences from their ends, as a second half of its states.
        device, dtype: of the parameters.
        reset_after: whether the reset gate stands after the product with the state, as in torch.nn.GRU and cuDNN.

    Raises: TypeError, ValueError: an argument of the wrong kind or value.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
        **unknown: Any,
    ) -> None:
        refuse_unknown("GRU", unknown)
        self.reset_after = reset_after  # of which the recurrences are made
        sizes = input_size, hidden_size, num_layers
        super().__init__("GRU", *sizes, bias, batch_first, dropout, bidirectional, device=device, dtype=dtype)

    _autocast_passes_by = ("cpu",)

    def _program(self, n: int) -> Program:
        return gru(n, self.hidden_size, self.bias, self.reset_after)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


class GRUCell(nn.GRUCell):
    """One step of a GRU: `torch.nn.GRUCell`, also with the reset gate before the product.

    A single step leaves nothing to save over PyTorch's own products, so it is made of them.

    Args:
        input_size, hidden_size: sizes n and d of an input and of a state.
        bias: whether there are `bias_ih` and `bias_hh`.
        device, dtype: of the parameters.
        reset_after: as in `GRU`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
    ) -> None:
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.reset_after = reset_after

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after one step.

        Args:
            input: x [B, n], or [n] for one sequence.
            hx: the state before, [B, d] or [d]; zero where None.

        Returns: the new state, [B, d] or [d].

        Raises: RuntimeError, ValueError: a wrong shape or dtype.
        """
        if self.reset_after:
            return super().forward(input, hx)
        check_step("GRUCell", input, hx, self.input_size, self.hidden_size)
        d = self.hidden_size
        h = input.new_zeros((*input.shape[:-1], d)) if hx is None else hx
        sizes = [2 * d, d]
        W_rz, W_n = self.weight_hh.split(sizes)
        b_rz, b_n = (None, None) if self.bias_hh is None else self.bias_hh.split(sizes)
        a_rz, a_n = F.linear(input, self.weight_ih, self.bias_ih).split(sizes, -1)
        r, z = torch.sigmoid(a_rz + F.linear(h, W_rz, b_rz)).chunk(2, -1)
        n = torch.tanh(a_n + F.linear(r * h, W_n, b_n))
        return n + z * (h - n)
