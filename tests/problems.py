"""The cases that every engine runs, as data, and the judge: the network written with PyTorch's own parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime.core.notation import NONLINEARITIES

NAMES = ("U", "W", "b", "V", "c", "x", "s0")


@dataclass(frozen=True)
class Problem:
    """Sizes and options of one case; ragged lengths run from 1 to T and leave NaN (or a wrong symbol) in the padding."""

    T: int
    B: int
    n: int
    d: int
    k: int
    nonlinearity: str = "tanh"
    ragged: bool = False
    symbols: bool = False
    s0: str = "zero"  # "zero", "given", "learned"
    reduction: str = "sequence"
    ignored: bool = False

    def __str__(self) -> str:
        flags = [self.nonlinearity, self.reduction, f"s0={self.s0}"]
        flags += [name for name in ("ragged", "symbols", "ignored") if getattr(self, name)]
        return f"T{self.T}-B{self.B}-n{self.n}-d{self.d}-k{self.k}-" + "-".join(flags)


PROBLEMS = [
    *(
        Problem(T, B, n, d, k, nonlinearity, ragged=ragged, s0="given")
        for nonlinearity in NONLINEARITIES
        for T, B, n, d, k, ragged in [
            (1, 1, 1, 1, 1, False),
            (1, 3, 17, 3, 100, False),
            (7, 17, 3, 17, 3, True),
            (60, 3, 100, 17, 17, True),
            (60, 1, 3, 100, 3, False),
            (13, 5, 17, 100, 1, True),
        ]
    ),
    Problem(9, 4, 3, 17, 5),
    Problem(9, 4, 3, 17, 5, s0="learned", ragged=True),
    Problem(9, 4, 3, 17, 5, reduction="token", ragged=True, ignored=True),
    Problem(9, 4, 3, 17, 5, reduction="token"),
    Problem(9, 4, 3, 17, 5, ignored=True),
    Problem(21, 6, 17, 17, 3, symbols=True),
    Problem(21, 6, 100, 33, 7, symbols=True, ragged=True, s0="given", reduction="token", ignored=True),
    Problem(1, 2, 1, 3, 2, symbols=True),
]


@dataclass
class Case:
    """A network and its data."""

    problem: Problem
    net: tt.ElmanNetwork
    x: Tensor
    y: Tensor
    lengths: Tensor | None
    s0: Tensor | None


def make(problem: Problem, dtype: torch.dtype = torch.float64) -> Case:
    """Draw a case."""
    p = problem
    net = tt.ElmanNetwork(
        p.n, p.d, p.k, p.nonlinearity, initial_state="learned" if p.s0 == "learned" else "zero", dtype=dtype
    )
    if net.s0 is not None:
        torch.nn.init.normal_(net.s0)
    lengths = None
    if p.ragged:
        lengths = torch.randint(1, p.T + 1, (p.B,))
        lengths[-1] = 1
    x = torch.randint(p.n, (p.B, p.T)) if p.symbols else torch.randn(p.B, p.T, p.n, dtype=dtype)
    y = torch.randint(p.k, (p.B, p.T))
    if p.ignored:
        y[torch.rand(y.shape) < 0.3] = -100
    if lengths is not None:
        padding = torch.arange(p.T) >= lengths.unsqueeze(1)
        x[padding] = -7 if p.symbols else torch.nan
        y[padding] = 12345
    x.requires_grad_(not p.symbols)
    s0 = torch.randn(p.B, p.d, dtype=dtype, requires_grad=True) if p.s0 == "given" else None
    return Case(problem, net, x, y, lengths, s0)


def ours(case: Case) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients by name, through the public loss and autograd."""
    net = case.net
    loss = net.loss(case.x, case.y, case.lengths, case.problem.reduction, s0=case.s0)
    return loss, _by_name(loss, case)


def judge(case: Case) -> tuple[Tensor, dict[str, Tensor]]:
    """The same by PyTorch's own parts and autograd: nn.RNN where it has the nonlinearity, else a loop."""
    z = _judge_states(case) @ case.net.V.T + case.net.c
    y = case.y
    if case.lengths is not None:
        y = y.where(torch.arange(y.shape[1]) < case.lengths.unsqueeze(1), -100)
    total = F.cross_entropy(z.flatten(0, 1), y.flatten(), reduction="sum")
    loss = total / (len(y) if case.problem.reduction == "sequence" else (y != -100).sum())
    return loss, _by_name(loss, case)


def _by_name(loss: Tensor, case: Case) -> dict[str, Tensor]:
    net = case.net
    s0 = case.s0 if case.s0 is not None else net.s0
    tensors = {"U": net.U, "W": net.W, "b": net.b, "V": net.V, "c": net.c, "x": case.x, "s0": s0}
    tensors = {name: t for name, t in tensors.items() if t is not None and t.requires_grad}
    return dict(zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True))


def _judge_states(case: Case) -> Tensor:
    """States [B, T, d]; zero in the padding."""
    p, net = case.problem, case.net
    x = F.one_hot(case.x.clamp_min(0), p.n).to(net.W.dtype) if p.symbols else case.x
    s0 = case.s0 if case.s0 is not None else net.initial_state(p.B)
    lengths = torch.full((p.B,), p.T) if case.lengths is None else case.lengths
    if p.nonlinearity in ("tanh", "relu"):
        rnn = torch.nn.RNN(p.n, p.d, nonlinearity=p.nonlinearity, batch_first=True, dtype=net.W.dtype)
        weights = {
            "weight_ih_l0": net.U,
            "weight_hh_l0": net.W,
            "bias_ih_l0": net.b,
            "bias_hh_l0": torch.zeros_like(net.b),
        }
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = torch.func.functional_call(rnn, weights, (packed, s0.unsqueeze(0)))
        return pad_packed_sequence(out, batch_first=True, total_length=p.T)[0]
    sigma = {"logistic": torch.sigmoid, "identity": lambda a: a}[p.nonlinearity]
    rows = []
    for i in range(p.B):
        s, states = s0[i], []
        for t in range(int(lengths[i])):
            s = sigma(net.U @ x[i, t] + net.W @ s + net.b)
            states.append(s)
        rows.append(F.pad(torch.stack(states), (0, 0, 0, p.T - int(lengths[i]))))
    return torch.stack(rows)


def assert_close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Refuse a difference larger than `tolerance` times the largest expected value."""
    assert found.shape == expected.shape, f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    found, expected = found.detach().double(), expected.detach().double()
    scale = max(float(expected.abs().max()), 1e-300)
    error = float((found - expected).abs().max())  # NaN fails the comparison below
    assert error <= tolerance * scale, (
        f"{what}: off by {error / scale:.2e} of the largest value, allowed {tolerance:.0e}"
    )
