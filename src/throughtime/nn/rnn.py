"""The textbook's recurrence in the places of `torch.nn.RNN` and `torch.nn.RNNCell`.

    s_t = σ(weight_ih x_t + bias_ih + weight_hh s_{t-1} + bias_hh)

In the library's notation U = weight_ih, W = weight_hh, b = bias_ih + bias_hh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.checks import check_nonlinearity, check_sizes, check_step, refuse_unknown
from throughtime.nn.layers import Layers, Pass, State
from throughtime.operators import ops
from throughtime.programs import Program, elman


class RNN(Layers):
    """A stack of Elman recurrences over sequences, in one or both directions: `torch.nn.RNN`, faster.

    Arguments, parameters, inputs, outputs and errors are those of `torch.nn.RNN`, whose documentation holds here. Beyond it:

    - `nonlinearity` may also be "logistic" or "identity";
    - the input may hold integer symbols in place of float vectors: [T, B] ([B, T] with `batch_first`), [T] for one sequence, or
      packed. A symbol i is the one-hot vector e_i, so the first layer takes column i of its weights;
    - padded input may come with `lengths`, which saves the packing, and sequences of several pieces with `starts`;
    - first, second and higher derivatives are exact, and `torch.compile` takes the layer whole.

    On CUDA, MPS and XPU the layer with "tanh" or "relu" runs as PyTorch's own fused operator: the engine "torch". The
    reference, a loop of PyTorch's operations, runs higher derivatives there, what torch.compile has recorded, and every dtype
    on the CPU but float32 and float64.

    It is a `torch.nn.RNNBase`, but no `torch.nn.RNN`: `torch.compile` leaves its graph at every instance of that class.

    Args:
        input_size, hidden_size: sizes n and d of an input and of a state.
        num_layers: recurrences on top of each other; each reads the states of the one below.
        nonlinearity: σ: "tanh", "relu", "logistic" or "identity".
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: whether batched input and output are [B, T, ...] rather than [T, B, ...]; the states h_0, h_n never are.
        dropout: probability of zeroing each state between two layers while training.
        bidirectional: whether each layer also walks the sequences from their ends, as a second half of its states.
        device, dtype: of the parameters.

    Raises: TypeError, ValueError: an argument of the wrong kind or value.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown("RNN", unknown)
        check_nonlinearity(nonlinearity)
        self.nonlinearity = nonlinearity  # of which the recurrences are made
        # The base class knows two modes by name, of the same parameters.
        super().__init__(
            "RNN_TANH",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.mode = f"RNN_{nonlinearity.upper()}"

    def _program(self, n: int) -> Program:
        return elman(n, self.hidden_size, self.bias, self.nonlinearity)

    def _one(self, i: int, weights: Sequence[Tensor], over: Pass) -> tuple[Tensor, State]:
        """By the operator of this one recurrence, which is quicker around small calls; it knows no pieces, no kernels."""
        if over.starts is not None or ops.get_engine() == "triton":
            return super()._one(i, weights, over)
        U, W, *biases = weights
        b, b_hh = biases or (None, None)
        s0 = None if over.initial is None else over.initial[0]
        states, final = ops.recurrence(
            over.x, U, W, b, s0, over.lengths, self.nonlinearity, over.reverse, over.batch_first, b_hh
        )
        return states, (final,)

    def extra_repr(self) -> str:
        own = self.nonlinearity not in ("tanh", "relu")  # torch's own are not shown there
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity}" if own else "")


class RNNCell(nn.RNNCell):
    """One step of the recurrence: `torch.nn.RNNCell`, with "logistic" and "identity" besides.

    A single step leaves nothing to save over PyTorch's own products, so it is made of them.

    Args:
        input_size, hidden_size: sizes n and d of an input and of a state.
        bias: whether there are `bias_ih` and `bias_hh`.
        nonlinearity: σ: "tanh", "relu", "logistic" or "identity".
        device, dtype: of the parameters.

    Raises: ValueError: an unknown nonlinearity.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_nonlinearity(nonlinearity)
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after one step.

        Args:
            input: x [B, n], or [n] for one sequence.
            hx: the state before, [B, d] or [d]; zero where None.

        Returns: the new state, [B, d] or [d].

        Raises: RuntimeError, ValueError: a wrong shape or dtype.
        """
        check_step("RNNCell", input, hx, self.input_size, self.hidden_size)
        a = F.linear(input, self.weight_ih, self.bias_ih)
        if hx is None:
            return ops.sigma(a + self.bias_hh if self.bias else a, self.nonlinearity)
        return ops.sigma(a + F.linear(hx, self.weight_hh, self.bias_hh), self.nonlinearity)
