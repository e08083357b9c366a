"""Cells of one state with gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.cells.base import Cell, inputs, states


class GRU(Cell):
    """The gated recurrent unit, with the reset after the product, as torch.nn has it.

        r = sigmoid(U_r x + b_r + W_r h)        z = sigmoid(U_z x + b_z + W_z h)
        n = tanh(U_n x + b_n + r ⊙ (W_n h + c_n))        h_t = (1 − z) ⊙ n + z ⊙ h

    Source: Cho et al. (2014), "Learning phrase representations using RNN encoder–decoder".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 3 * hidden_size), states(hidden_size, 3 * hidden_size)
        self.c = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        (xr, xz, xn), (hr, hz, hn) = self.U(x).chunk(3, -1), self.W(h).chunk(3, -1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * (hn + self.c))
        return n + z * (h - n)


class LiGRU(Cell):
    """The light GRU of speech recognisers: no reset gate, and relu.

        z = sigmoid(U_z x + b_z + W_z h)        a = relu(U_a x + b_a + W_a h)        h_t = z ⊙ h + (1 − z) ⊙ a

    Source: Ravanelli et al. (2018), "Light gated recurrent units for speech recognition", without its batch norm.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 2 * hidden_size), states(hidden_size, 2 * hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        z, a = (self.U(x) + self.W(h)).chunk(2, -1)
        z = torch.sigmoid(z)
        return z * h + (1 - z) * torch.relu(a)


class MGU(Cell):
    """The minimal gated unit: one gate forgets and resets.

        f = sigmoid(U_f x + b_f + W_f h)        n = tanh(U_n x + b_n + W_n (f ⊙ h))        h_t = (1 − f) ⊙ h + f ⊙ n

    Source: Zhou et al. (2016), "Minimal gated unit for recurrent neural networks".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U = inputs(input_size, 2 * hidden_size)
        self.W_f, self.W_n = states(hidden_size, hidden_size), states(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        f, n = self.U(x).chunk(2, -1)
        f = torch.sigmoid(f + self.W_f(h))
        n = torch.tanh(n + self.W_n(f * h))
        return (1 - f) * h + f * n


class MinGRU(Cell):
    """A GRU whose gate and candidate see the input alone, so that the state is a mean that moves.

        z = sigmoid(U_z x + b_z)        h_t = (1 − z) ⊙ h + z ⊙ (U_n x + b_n)

    Source: Feng et al. (2024), "Were RNNs all we needed?".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U = inputs(input_size, 2 * hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        z, n = self.U(x).chunk(2, -1)
        z = torch.sigmoid(z)
        return (1 - z) * h + z * n


class UGRNN(Cell):
    """The update gate alone.

        g = sigmoid(U_g x + b_g + W_g h)        h_t = g ⊙ h + (1 − g) ⊙ tanh(U_c x + b_c + W_c h)

    Source: Collins, Sohl-Dickstein & Sussillo (2017), "Capacity and trainability in recurrent neural networks".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 2 * hidden_size), states(hidden_size, 2 * hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        g, c = (self.U(x) + self.W(h)).chunk(2, -1)
        g = torch.sigmoid(g)
        return g * h + (1 - g) * torch.tanh(c)


class LayerNormGRU(Cell):
    """A GRU whose sums are normalised over their units before they meet.

        u = norm(U x + b)        w = norm(W h)        then r, z, n and h_t as in `GRU`, of u and w

    Source: Ba, Kiros & Hinton (2016), "Layer normalization".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 3 * hidden_size), states(hidden_size, 3 * hidden_size)
        self.norm_x, self.norm_h = nn.LayerNorm(3 * hidden_size), nn.LayerNorm(3 * hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        (h,) = self.begin(x, h)
        (xr, xz, xn), (hr, hz, hn) = self.norm_x(self.U(x)).chunk(3, -1), self.norm_h(self.W(h)).chunk(3, -1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * hn)
        return n + z * (h - n)
