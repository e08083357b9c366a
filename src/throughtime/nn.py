"""Layers that take the place of torch.nn's: `RNN` for `torch.nn.RNN`, `RNNCell` for `torch.nn.RNNCell`.

    s_t = σ(weight_ih x_t + bias_ih + weight_hh s_{t-1} + bias_hh)

In the library's notation U = weight_ih, W = weight_hh, b = bias_ih + bias_hh. Both layers build and initialise their parameters
with torch's own base classes, so names, order, and the values drawn from a seed are torch's; the recurrence is the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime import ops
from throughtime.notation import NONLINEARITIES, check_choice, check_lengths, check_symbol_range, is_symbols


class RNN(nn.RNNBase):
    """A stack of Elman recurrences over sequences, in one or both directions: `torch.nn.RNN`, faster.

    Arguments, parameters, inputs, outputs and errors are those of `torch.nn.RNN`, whose documentation holds here. Beyond it:

    - `nonlinearity` may also be "logistic" or "identity";
    - the input may hold integer symbols in place of float vectors: [T, B] ([B, T] with `batch_first`), [T] for one sequence, or
      packed. A symbol i is the one-hot vector e_i, so the first layer takes column i of its weights;
    - padded input may come with `lengths`, which saves the packing;
    - first, second and higher derivatives are exact, and `torch.compile` takes the layer whole.

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
    ) -> None:
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
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
        self.nonlinearity = nonlinearity

    def forward(  # type: ignore[override]
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Run the stack over sequences.

        Args:
            input: [T, B, n] ([B, T, n] with `batch_first`), [T, n] for one sequence, a `PackedSequence`, or integer symbols in
                0..n−1 with the last axis left out.
            hx: h_0, the initial states [layers · directions, B, d] (without B for one sequence); zero where None.
            lengths: [B], each in 1..T, for padded input: the simpler and faster way to pass sequences of different lengths.
                Later steps are padding, which is never read and whose states are zero.

        Returns:
            The states of the last layer, shaped like the input with directions · d in place of n, and h_n, the final states of
            every layer and direction, shaped like h_0.

        Raises: RuntimeError, TypeError, ValueError: a wrong shape, dtype, length or symbol.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths: expected None with a PackedSequence, which has its own")
            return self._over_packed(input, hx)
        axes = 2 if is_symbols(input) else 3
        batched = input.dim() == axes
        if not batched and input.dim() != axes - 1:
            what = "integer symbols" if axes == 2 else "input"
            raise ValueError(f"RNN: Expected {what} to be {axes - 1}D or {axes}D, got {input.dim()}D tensor instead")
        if hx is not None and hx.dim() != 2 + batched:
            kind, axes = ("batched", 3) if batched else ("unbatched", 2)
            raise RuntimeError(f"For {kind} input, hx should be {axes}-D but got {hx.dim()}-D tensor")
        if not batched:
            if lengths is not None:
                raise ValueError("lengths: expected None with unbatched input, which is one whole sequence")
            states, final = self._over(input.unsqueeze(1), None if hx is None else hx.unsqueeze(1))
            return states.squeeze(1), final.squeeze(1)
        return self._over(input, hx, lengths, self.batch_first)

    def _over_packed(self, packed: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
        """Spread the packed steps over a padded [T, B], run, and gather the states of the real steps again.

        A padded entry repeats the real one before it: the recurrence never reads it, and its gradient is zero.
        """
        data, sizes, order, inverse = packed
        if data.dim() != (1 if is_symbols(data) else 2):
            raise RuntimeError(f"input must have 2 dimensions (1 for integer symbols), got {data.dim()}")
        whole = False
        if ops.unwatched():
            steps = sizes.tolist()
            if sum(steps) != len(data) or steps != sorted(steps, reverse=True):
                raise ValueError(f"batch_sizes: expected sizes that never grow and add to {len(data)}, found {steps}")
            whole = steps[-1] == steps[0]
        T, B = len(sizes), int(sizes[0])
        if hx is not None and order is not None:
            hx = hx.index_select(1, order)
        if whole:  # every row has all steps: packed is not ragged
            states, final = self._over(data.unflatten(0, (T, B)), hx)
            states = states.flatten(0, 1)
        else:
            real = torch.arange(B) < sizes.unsqueeze(1)
            source = (real.flatten().cumsum(0) - 1).to(data.device)
            target = real.flatten().nonzero().squeeze(1).to(data.device)
            x = data.index_select(0, source).unflatten(0, (T, B))
            states, final = self._over(x, hx, real.sum(0))
            states = states.flatten(0, 1).index_select(0, target)
        if inverse is not None:
            final = final.index_select(1, inverse)
        return PackedSequence(states, sizes, order, inverse), final

    def _over(
        self, x: Tensor, hx: Tensor | None, lengths: Tensor | None = None, batch_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The stack over x [T, B, n] or symbols [T, B]: states [T, B, directions · d], finals [layers · directions, B, d]. With
        `batch_first`, T and B trade places in x and in the states."""
        weights = self._weights()
        lengths = self._check(x, hx, lengths, batch_first, weights[0][1])
        finals: list[Tensor] = []
        outputs: list[Tensor] = []
        for i, (U, W, *biases) in enumerate(weights):
            reverse = self.bidirectional and i % 2 == 1
            if i and not reverse:
                x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
                if self.dropout and self.training:
                    x = self._drop(x, batch_first)
                outputs = []
            b = (biases[0], biases[1]) if biases else None
            s0 = None if hx is None else hx[i]
            states, final = ops.recurrence(x, U, W, b, s0, lengths, self.nonlinearity, reverse, batch_first)
            outputs.append(states)
            finals.append(final)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        return x, finals[0].unsqueeze(0) if len(finals) == 1 else torch.stack(finals)

    def _weights(self) -> Sequence[Sequence[Tensor]]:
        """U, W and the biases of every layer and direction."""
        own: dict[str, Any] = self._parameters
        try:  # past the attributes, whose lookup is slow
            return [[own[name] for name in names] for names in self._all_weights]
        except KeyError:  # pruned or parametrized: an attribute that is computed
            return self.all_weights

    def _drop(self, x: Tensor, batch_first: bool) -> Tensor:
        """Dropout, laid out steps first, so that the random numbers fall as in torch.nn.RNN."""
        steps = F.dropout((x.transpose(0, 1) if batch_first else x).contiguous(), self.dropout)
        return steps.transpose(0, 1) if batch_first else steps

    def _check(
        self, x: Tensor, hx: Tensor | None, lengths: Tensor | None, batch_first: bool, weight: Tensor
    ) -> Tensor | None:
        """Refuse what does not fit, with torch.nn.RNN's types of error. Returns the lengths as the engines take them."""
        B, T = x.shape[:2] if batch_first else x.shape[1::-1]
        if lengths is not None and x.numel():
            lengths = check_lengths(lengths, B, T)
        if is_symbols(x):
            if ops.unwatched() and x.numel():
                check_symbol_range(x if batch_first else x.T, self.input_size, lengths)
        else:
            self.check_input(x, None)
        for what, tensor in (("input", x), ("hidden", hx)):
            if tensor is not None and tensor.device != weight.device:
                raise RuntimeError(f"{what} and weights are on different devices: {tensor.device} and {weight.device}")
        if T == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if hx is not None:
            layers = self.num_layers * (2 if self.bidirectional else 1)
            self.check_hidden_size(hx, (layers, B, self.hidden_size))
            if hx.dtype != weight.dtype and not torch._C._is_any_autocast_enabled():
                raise RuntimeError(f"hidden dtype ({hx.dtype}) does not match weight dtype ({weight.dtype})")
        return lengths

    def extra_repr(self) -> str:
        own = self.nonlinearity not in ("tanh", "relu")  # torch's own are not shown there
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity}" if own else "")

    def flatten_parameters(self) -> None:
        """Does nothing: there is no second copy of the parameters. (torch.nn.RNN makes one for cuDNN.)"""


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
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        super().__init__(input_size, hidden_size, bias, nonlinearity, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The state after one step.

        Args:
            input: x [B, n], or [n] for one sequence.
            hx: the state before, [B, d] or [d]; zero where None.

        Returns: the new state, [B, d] or [d].

        Raises: RuntimeError, ValueError: a wrong shape or dtype.
        """
        if input.dim() not in (1, 2):
            raise ValueError(f"RNNCell: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]}, expected {self.input_size}")
        a = F.linear(input, self.weight_ih, self.bias_ih)
        if hx is None:
            return ops.sigma(a + self.bias_hh if self.bias else a, self.nonlinearity)
        if hx.dim() != input.dim():
            raise ValueError(f"RNNCell: Expected hidden to be {input.dim()}D like the input, got {hx.dim()}D instead")
        if hx.shape[-1] != self.hidden_size:
            raise RuntimeError(f"hidden0 has inconsistent hidden_size: got {hx.shape[-1]}, expected {self.hidden_size}")
        if hx.shape[:-1] != input.shape[:-1]:
            raise RuntimeError(f"Input batch size {len(input)} doesn't match hidden0 batch size {len(hx)}")
        return ops.sigma(a + F.linear(hx, self.weight_hh, self.bias_hh), self.nonlinearity)
