"""Cells without gates, and those whose units move by rates of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.cells.base import Cell, inputs, states


class RNN(Cell):
    """The textbook's recurrence.

        h_t = tanh(U x_t + b + W h_{t-1})

    Source: Elman (1990), "Finding structure in time".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, hidden_size), states(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        return torch.tanh(self.U(x) + self.W(h))


class Leaky(Cell):
    """Leaky units: the continuous-time network, by Euler's steps of length Δ; a unit goes α = Δ/τ of the way at each.

        h_t = (1 − α) h_{t-1} + α tanh(U x_t + b + W h_{t-1})

    Args:
        alpha: how far a unit goes at each step, in (0, 1].
        learned: whether α is a parameter, one per unit, behind a sigmoid.

    Source: Funahashi & Nakamura (1993), "Approximation of dynamical systems by continuous time recurrent neural networks".
    """

    def __init__(self, input_size: int, hidden_size: int, alpha: float = 0.2, learned: bool = False) -> None:
        super().__init__(input_size, hidden_size)
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha: expected a number in (0, 1], found {alpha!r}")
        self.U, self.W, self.alpha = inputs(input_size, hidden_size), states(hidden_size, hidden_size), alpha
        start = torch.full((hidden_size,), min(alpha, 1 - 1e-4)).logit()
        self.logit = nn.Parameter(start) if learned else None

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        alpha = self.alpha if self.logit is None else torch.sigmoid(self.logit)
        return (1 - alpha) * h + alpha * torch.tanh(self.U(x) + self.W(h))


class IndRNN(Cell):
    """Units that see of the state themselves alone: W is a diagonal.

        h_t = relu(U x_t + b + w ⊙ h_{t-1})

    Source: Li et al. (2018), "Independently recurrent neural network (IndRNN)".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.w = inputs(input_size, hidden_size), nn.Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        return torch.relu(self.U(x) + self.w * h)


class CfC(Cell):
    """Closed-form continuous time: a backbone of both x and h, and a gate that stands for how much time has passed.

        z = tanh(B [x_t, h_{t-1}] + b)             t = sigmoid(T z + b_T)
        h_t = tanh(F z + b_F) ⊙ (1 − t) + t ⊙ tanh(G z + b_G)

    Args:
        backbone: units of z; d where None.

    Source: Hasani et al. (2022), "Closed-form continuous-time neural networks"; steps of equal length.
    """

    def __init__(self, input_size: int, hidden_size: int, backbone: int | None = None) -> None:
        super().__init__(input_size, hidden_size)
        k = backbone or hidden_size
        self.B = nn.Linear(input_size + hidden_size, k)
        self.F, self.G, self.T = nn.Linear(k, hidden_size), nn.Linear(k, hidden_size), nn.Linear(k, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        z = torch.tanh(self.B(torch.cat([x, h], -1)))
        t = torch.sigmoid(self.T(z))
        return torch.tanh(self.F(z)) * (1 - t) + t * torch.tanh(self.G(z))
