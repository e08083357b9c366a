"""The textbook's network: exactly U, W, b, V, c.

    s_t = σ(U x_t + W s_{t-1} + b)        ŷ_t = softmax(V s_t + c)

Source: Elman (1990), "Finding structure in time".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.core import loss as losses
from throughtime.core.contraction import Gradients
from throughtime.core.dispatch import readable
from throughtime.core.notation import (
    NONLINEARITIES,
    REDUCTIONS,
    SHAPES,
    check_choice,
    check_finite,
    check_inputs,
    check_label_range,
    check_labels,
    check_lengths,
    check_sample_weight,
    check_shape,
    check_size,
    check_starts,
    check_symbol_range,
    is_symbols,
)
from throughtime.core.pieces import Pieces, pieces_of
from throughtime.core.weights import settled, weights
from throughtime.models.torch_network import TorchNetwork, like, torch_rnn
from throughtime.nn import RNN
from throughtime.operators import ops, step
from throughtime.operators.program_ops import run_program
from throughtime.programs.elman import elman

INITIAL_STATES = ("zero", "learned")
INITIALIZATIONS = ("uniform", "orthogonal")

PARAMETERS = ("U", "W", "b", "V", "c", "s0")

TORCH_NAMES = {
    "U": "rnn.weight_ih_l0",
    "W": "rnn.weight_hh_l0",
    "b": "rnn.bias_ih_l0",
    "V": "readout.weight",
    "c": "readout.bias",
    "s0": "initial_state",
}
"""The parameters of an `ElmanNetwork` by their names in `ElmanNetwork.to_torch()`."""


class ElmanNetwork(nn.Module):
    """A recurrent network with a prediction and a loss at every step.

    Args:
        n: inputs; for integer symbols, the number of symbols (a symbol is a one-hot vector).
        d: states.
        k: classes.
        nonlinearity: σ: "tanh", "relu", "logistic" or "identity".
        initial_state: "zero", or "learned" for a parameter `s0` [d] (starting at zero). A call may always give its own.
        initialization: "uniform" draws every parameter from ±1/√d, as torch.nn.RNN and torch.nn.Linear do; "orthogonal"
            makes W orthogonal besides, so that gradients neither vanish nor explode at the start (Saxe et al., 2014).
        dtype: of the parameters; float32 where None.

    The parameters are `U` [d, n], `W` [d, d], `b` [d], `V` [k, d], `c` [k]; `num_parameters` counts them. Each may be computed
    from others, as torch.nn.utils.parametrize, prune, weight_norm and spectral_norm do. Sequences come as x [B, T, n] in the
    parameters' dtype or as integer symbols [B, T], labels as y [B, T].

    Raises: TypeError, ValueError: an argument of the wrong kind, shape or range, named with what was expected and found.
    """

    def __init__(
        self,
        n: int,
        d: int,
        k: int,
        nonlinearity: str = "tanh",
        *,
        initial_state: str = "zero",
        initialization: str = "uniform",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.n, self.d, self.k = check_size("n", n), check_size("d", d), check_size("k", k)
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        check_choice("initial_state", initial_state, INITIAL_STATES)
        check_choice("initialization", initialization, INITIALIZATIONS)
        self.nonlinearity = nonlinearity
        self.initialization = initialization
        for name, letters in SHAPES.items():
            shape = [getattr(self, letter) for letter in letters]
            setattr(self, name, nn.Parameter(torch.empty(shape, dtype=dtype)))
        self.register_parameter("s0", nn.Parameter(torch.empty(d, dtype=dtype)) if initial_state == "learned" else None)
        self.reset_parameters()

    U: nn.Parameter
    W: nn.Parameter
    b: nn.Parameter
    V: nn.Parameter
    c: nn.Parameter
    s0: nn.Parameter | None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters anew, from a random generator; None: PyTorch's global one."""
        bound = self.d**-0.5
        for name in SHAPES:
            nn.init.uniform_(getattr(self, name), -bound, bound, generator)
        if self.initialization == "orthogonal":
            nn.init.orthogonal_(self.W, generator=generator)
        if self.s0 is not None:
            nn.init.zeros_(self.s0)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        s0: Tensor | None = None,
        *,
        starts: Tensor | None = None,
        return_state: bool = False,
    ) -> Any:
        """The logits z [B, T, k] of sequences x.

        Args:
            x: [B, T, n] float, or integer symbols [B, T].
            lengths: [B], each in 1..T; later steps are padding, which is never read and whose logits are V·0 + c.
            s0: initial states [B, d]; the network's own where None.
            starts: bool [B, T], the first steps of pieces that lie one after another in a row, such as episodes: results and
                gradients are those of the pieces alone, each from the network's own initial state. s0 belongs to a row's first
                piece, or to none where the very first step is marked; marks in the padding mean nothing.
            return_state: also return the final states [B, d], of each row's last piece.
        """
        states, final = self._run(x, lengths, s0, starts)
        z = F.linear(states, self.V, self.c)
        return (z, final) if return_state else z

    def states(
        self, x: Tensor, lengths: Tensor | None = None, s0: Tensor | None = None, *, starts: Tensor | None = None
    ) -> Tensor:
        """The states s_1..s_T [B, T, d] of sequences x; zero in padding. Args: as in `forward`."""
        return self._run(x, lengths, s0, starts)[0]

    def _run(
        self, x: Tensor, lengths: Tensor | None, s0: Tensor | None, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        U, W, b, own_s0 = (getattr(self, name) for name in ("U", "W", "b", "s0"))
        x, lengths, s0 = self._checked(x, lengths, s0, own_s0, W.dtype)
        if starts is None:
            states, final = ops.recurrence(x, U, W, b, s0, lengths, self.nonlinearity, batch_first=True)
            return states, final.squeeze(0)
        check_starts(starts, x.shape[:2], batch_first=True)
        program = elman(self.n, self.d, True, self.nonlinearity)
        weights, steps = (U, W, b, torch.zeros_like(b)), x.transpose(0, 1).contiguous()
        (states,), (final,) = run_program(
            program, weights, (steps,), (s0,), lengths=lengths, starts=starts.T, restart=(own_s0,)
        )
        return states.transpose(0, 1), final

    def loss(
        self,
        x: Tensor,
        y: Tensor,
        lengths: Tensor | None = None,
        reduction: str = "sequence",
        *,
        sample_weight: Tensor | None = None,
        s0: Tensor | None = None,
        starts: Tensor | None = None,
        return_state: bool = False,
    ) -> Any:
        """The cross-entropy loss, a differentiable scalar in nats.

        Args:
            x, lengths, s0, starts: as in `forward`.
            y: labels [B, T] in 0..k−1; a step labelled −100 has no loss.
            reduction: "sequence": summed over the steps of an instance, averaged over the B instances; "token": averaged over
                the steps that count.
            sample_weight: [B] of whole instances or [B, T] of their steps, each 0 or more: sums of weights take the place of
                the counts, as `throughtime.core.loss` says. The loss is then put together from its parts, not fused.
            return_state: also return the final states [B, d], cut from the gradient: what truncated BPTT carries on.
        """
        arguments = self._step_arguments(x, y, lengths, s0, reduction)
        weights = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, x.shape[0], x.shape[1], self.W.dtype, x.device).T
        if starts is not None:
            value, final = self._loss_of_pieces(arguments, starts, s0, weights)
            return (value, final.detach()) if return_state else value
        value, final = step.elman_loss(*arguments, weights=weights, carry=return_state)
        return (value, final) if return_state else value

    def _loss_of_pieces(
        self, arguments: tuple, starts: Tensor, s0: Tensor | None, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss and the final states [B, d] where rows are of several pieces: each is a row of the learning step."""
        x, y, *_, lengths, _, reduction = arguments
        if weights is not None:  # those of a whole row are no sum over its pieces
            z, final = self(x.transpose(0, 1), lengths, s0, starts=starts, return_state=True)
            check_label_range(y.T, self.k, lengths)
            return losses.cross_entropy(z.transpose(0, 1), y, lengths, reduction, weights), final
        pieces, own = _apart(arguments, starts, s0 is not None, self.s0)
        value, final = step.elman_loss(*own, carry=True)
        assert final is not None
        return value * _share(pieces, y, reduction), final[pieces.closes]

    def initial_state(self, B: int) -> Tensor:
        """The state [B, d] that `B` sequences start from: zero, or the learned `s0`."""
        c, s0 = weights(self, ("c", "s0"))
        return c.new_zeros(B, self.d) if s0 is None else s0.expand(B, self.d)

    def to_torch(self) -> TorchNetwork:
        """The same network as torch.nn.RNN and torch.nn.Linear, with its own copy of the weights.

        | `U` | `W` | `b` | `V` | `c` | `s0` |
        |---|---|---|---|---|---|
        | `rnn.weight_ih_l0` | `rnn.weight_hh_l0` | `rnn.bias_ih_l0` | `readout.weight` | `readout.bias` | `initial_state` |

        and `rnn.bias_hh_l0` is zero. So `model.safetensors` of a run can be read without this library.

        Raises: ValueError: a nonlinearity that torch.nn.RNN does not have.
        """
        rnn = torch_rnn(self, RNN(self.n, self.d, nonlinearity=self.nonlinearity, batch_first=True, device="meta"))
        values = {TORCH_NAMES[name]: value for name, value in settled(self).state_dict().items()}
        values["rnn.bias_hh_l0"] = torch.zeros_like(values["rnn.bias_ih_l0"])
        start = values.get(TORCH_NAMES["s0"])
        if start is not None:
            values[TORCH_NAMES["s0"]] = start.view(1, 1, self.d)
            start = nn.Parameter(start.new_empty(1, 1, self.d))
        return TorchNetwork(None, rnn, nn.Linear(self.d, self.k, **like(self)), start).take(values, self.training)

    @property
    def num_parameters(self) -> int:
        """d·n + d·d + k·d + d + k, and d more for a learned initial state."""
        return sum(p.numel() for p in self.parameters())

    def describe(self) -> str:
        """A table of the parameters: shape by formula and in numbers, and count, with their sum."""
        letters = SHAPES if self.s0 is None else {**SHAPES, "s0": ("d",)}
        formula = " + ".join("·".join(axes) for axes in letters.values())
        shapes = {name: [getattr(self, letter) for letter in axes] for name, axes in letters.items()}
        table = parameter_table({name: (axes, shapes[name]) for name, axes in letters.items()})
        return f"{table}\n{formula} = {sum(map(math.prod, shapes.values())):,}"

    def extra_repr(self) -> str:
        return f"n={self.n}, d={self.d}, k={self.k}, nonlinearity={self.nonlinearity!r}"

    def __prepare_scriptable__(self) -> Any:
        """What torch.jit.script calls."""
        raise RuntimeError(
            "torch.jit.script: throughtime.ElmanNetwork is not written in TorchScript; torch.compile and torch.export take it "
            "as it is, and its to_torch() gives a network of torch.nn"
        )

    def _checked(
        self, x: Tensor, lengths: Any, s0: Tensor | None, own_s0: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The arguments of the operator: x, lengths, initial states."""
        B, T = check_inputs(x, self.n, dtype)
        lengths = check_lengths(lengths, B, T)
        if readable(x):
            if is_symbols(x):
                check_symbol_range(x, self.n, lengths)
            else:
                check_finite(x, lengths)
        if s0 is not None:
            check_shape("s0", s0, ("B", "d"), (B, self.d))
        elif own_s0 is not None:
            s0 = own_s0.expand(B, self.d)
        return x, lengths, s0

    def _step_arguments(self, x: Tensor, y: Tensor, lengths: Any, s0: Tensor | None, reduction: str) -> tuple:
        check_choice("reduction", reduction, REDUCTIONS)
        U, W, b, V, c, own_s0 = weights(self, PARAMETERS)
        x, lengths, s0 = self._checked(x, lengths, s0, own_s0, W.dtype)
        y = check_labels(y, *x.shape[:2])
        return x.transpose(0, 1), y.T, U, W, b, V, c, s0, lengths, self.nonlinearity, reduction


def parameter_table(parameters: Mapping[str, tuple[Sequence[str], Sequence[int]]]) -> str:
    """A table of parameters by name: the letters of the axes, their sizes, and the product of these."""
    table = [("", "shape", "", "parameters")]
    for name, (letters, shape) in parameters.items():
        table.append((name, " × ".join(letters), " × ".join(map(str, shape)), f"{math.prod(shape):,}"))
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines = (f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {n:>{widths[3]}}" for a, b, c, n in table)
    return "\n".join(line.rstrip() for line in lines)


def _apart(arguments: tuple, starts: Tensor, given: bool, own_s0: Tensor | None) -> tuple[Pieces, tuple]:
    """The pieces, and the arguments of the learning step with a row for each of them.

    Args:
        arguments: of rows, as `ElmanNetwork._step_arguments` has them.
        given: whether the initial states were given with the call.
        own_s0: the network's own, [d]; zero where None.
    """
    x, y, U, W, b, V, c, s0, lengths, nonlinearity, reduction = arguments
    check_starts(starts, y.shape[::-1], batch_first=True)
    pieces = pieces_of(starts, lengths)
    row, at, _ = pieces.steps(len(y))
    if given:
        s0 = s0[pieces.row].where(_takes(pieces).to(W.device), W.new_zeros(()) if own_s0 is None else own_s0)
    elif own_s0 is not None:
        s0 = own_s0.expand(len(pieces.row), -1)
    return pieces, (x[at.T, row.T], y[at.T, row.T], U, W, b, V, c, s0, pieces.length, nonlinearity, reduction)


def _takes(pieces: Pieces) -> Tensor:
    """Which pieces begin with the state that the call gives for their row: bool [P, 1]."""
    return (pieces.opens & ~pieces.marked).unsqueeze(1)


def _share(pieces: Pieces, y: Tensor, reduction: str) -> float:
    """What the loss of the pieces as rows is multiplied by to be that of the rows y [T, B]."""
    return len(pieces.row) / y.shape[1] if reduction == "sequence" else 1.0


@torch.no_grad()
def bptt(
    net: ElmanNetwork,
    x: Tensor,
    y: Tensor,
    lengths: Tensor | None = None,
    reduction: str = "sequence",
    *,
    s0: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Gradients]:
    """The loss and its gradients by the formulas of backpropagation through time, without autograd.

    Args: as in `ElmanNetwork.loss`.

    Returns:
        The loss (scalar) and `Gradients` with .U, .W, .b, .V, .c, .s0 [B, d], and .x [B, T, n] (None for symbols). The gradient
        of a learned initial state is the sum of .s0 over the instances, each of which adds up its pieces; of states that were
        given, .s0 is that of the pieces they belong to, and what other pieces add to a learned one is not told. Where a
        weight is computed from others, the gradient is that of the weight.

    Source: Werbos (1990), "Backpropagation through time: what it does and how to do it".
    """
    net = settled(net)
    arguments = net._step_arguments(x, y, lengths, s0, reduction)
    needs = not is_symbols(x), True
    if starts is None:
        loss, _, grads = step.elman_gradients(*arguments, needs=needs)
        assert grads is not None
        return loss, grads._replace(x=None if grads.x is None else grads.x.transpose(0, 1))
    pieces, own = _apart(arguments, starts, s0 is not None, net.s0)
    loss, _, grads = step.elman_gradients(*own, needs=needs)
    assert grads is not None
    share = _share(pieces, arguments[1], reduction)
    grads = Gradients(*(None if g is None else g * share for g in grads))  # type: ignore[arg-type]
    dx, ds0 = grads.x, grads.s0
    assert ds0 is not None
    if dx is not None:
        row, at, real = pieces.steps(x.shape[1])
        dx = torch.zeros_like(x).index_put((row.expand_as(real)[real], at[real]), dx.transpose(0, 1)[real])
    if s0 is not None:
        ds0 = ds0.where(_takes(pieces).to(ds0.device), 0.0)
    ds0 = ds0.new_zeros(len(x), net.d).index_add(0, pieces.row.to(ds0.device), ds0)
    return loss * share, grads._replace(x=dx, s0=ds0)
