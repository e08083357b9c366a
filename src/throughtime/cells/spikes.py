"""Spiking units: a step forwards, and a smooth derivative in its place on the way back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from throughtime.cells.base import Cell, inputs, states


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.slope = slope
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return g / (1 + ctx.slope * v.abs()) ** 2, None


def spike(v: Tensor, slope: float = 25.0) -> Tensor:
    """1 where v > 0, else 0; on the way back as if it had the derivative 1 / (1 + slope |v|)².

    Source: Zenke & Ganguli (2018), "SuperSpike: supervised learning in multilayer spiking neural networks".
    """
    return _Spike.apply(v, slope)


class LIF(Cell):
    """Leaky integrate-and-fire: a potential that leaks, a spike where it passes 1, and a reset by what fired.

        v_t = β v ⊙ (1 − z) + U x_t + b + W z        z_t = spike(v_t − 1)

    Args:
        beta: what is left of a potential after a step, in (0, 1); a parameter per unit.
        slope: of the surrogate derivative (see `spike`).

    The state is (z, v). Source: Neftci, Mostafa & Zenke (2019), "Surrogate gradient learning in spiking neural networks".
    """

    parts = 2

    def __init__(self, input_size: int, hidden_size: int, beta: float = 0.9, slope: float = 25.0) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, hidden_size), states(hidden_size, hidden_size)
        self.beta, self.slope = nn.Parameter(torch.full((hidden_size,), float(beta))), slope

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        z, v = self.begin(x, state)
        v = self.beta * v * (1 - z) + self.U(x) + self.W(z)
        return spike(v - 1, self.slope), v


class AdaptiveLIF(Cell):
    """Units whose threshold rises with each spike and sinks back slowly: a memory of hundreds of steps.

        a_t = ρ a + z        v_t = β v ⊙ (1 − z) + U x_t + b + W z        z_t = spike(v_t − 1 − κ a_t)

    Args:
        beta, rho: what is left of a potential, and of a threshold's rise, after a step; parameters per unit.
        kappa: how much a spike raises the threshold.
        slope: of the surrogate derivative.

    The state is (z, v, a). Source: Bellec et al. (2018), "Long short-term memory and learning-to-learn in networks of spiking
    neurons".
    """

    parts = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        beta: float = 0.9,
        rho: float = 0.98,
        kappa: float = 0.1,
        slope: float = 25.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, hidden_size), states(hidden_size, hidden_size)
        self.beta, self.rho = (nn.Parameter(torch.full((hidden_size,), float(v))) for v in (beta, rho))
        self.kappa, self.slope = kappa, slope

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, ...]:
        z, v, a = self.begin(x, state)
        a = self.rho * a + z
        v = self.beta * v * (1 - z) + self.U(x) + self.W(z)
        return spike(v - 1 - self.kappa * a, self.slope), v, a
