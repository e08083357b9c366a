"""Cells with a memory beside the state: the LSTM and its kin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.cells.base import Cell, inputs, states

State = tuple[Tensor, Tensor]


class LSTM(Cell):
    """Long short-term memory; the forget gate's bias starts at 1.

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)        g = tanh(a_g)        a = U x + b + W h
        c_t = f ⊙ c + i ⊙ g        h_t = o ⊙ tanh(c_t)

    Sources: Hochreiter & Schmidhuber (1997), "Long short-term memory"; Gers, Schmidhuber & Cummins (2000) for the forget gate.
    """

    parts = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 4 * hidden_size), states(hidden_size, 4 * hidden_size)
        with torch.no_grad():
            self.U.bias[hidden_size : 2 * hidden_size] = 1

    def forward(self, x: Tensor, state: State | None = None) -> State:
        h, c = self.begin(x, state)
        i, f, g, o = (self.U(x) + self.W(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class PeepholeLSTM(LSTM):
    """Gates that see the memory, each unit its own: as `LSTM`, with a_i + p_i ⊙ c, a_f + p_f ⊙ c, a_o + p_o ⊙ c_t.

    Source: Gers & Schmidhuber (2000), "Recurrent nets that time and count".
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.p_i, self.p_f, self.p_o = (nn.Parameter(torch.zeros(hidden_size)) for _ in range(3))

    def forward(self, x: Tensor, state: State | None = None) -> State:
        h, c = self.begin(x, state)
        i, f, g, o = (self.U(x) + self.W(h)).chunk(4, -1)
        c = torch.sigmoid(f + self.p_f * c) * c + torch.sigmoid(i + self.p_i * c) * torch.tanh(g)
        return torch.sigmoid(o + self.p_o * c) * torch.tanh(c), c


class CoupledLSTM(Cell):
    """Input and forget gate in one: what is let in is what is forgotten.

        f, o = sigmoid(a_f), sigmoid(a_o)        c_t = f ⊙ c + (1 − f) ⊙ tanh(a_g)        h_t = o ⊙ tanh(c_t)

    Source: Greff et al. (2017), "LSTM: a search space odyssey".
    """

    parts = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 3 * hidden_size), states(hidden_size, 3 * hidden_size)
        with torch.no_grad():
            self.U.bias[:hidden_size] = 1

    def forward(self, x: Tensor, state: State | None = None) -> State:
        h, c = self.begin(x, state)
        f, g, o = (self.U(x) + self.W(h)).chunk(3, -1)
        f = torch.sigmoid(f)
        c = f * c + (1 - f) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class LayerNormLSTM(Cell):
    """An LSTM whose sums and memory are normalised over their units.

        a = norm(U x + b) + norm(W h)        c_t as in `LSTM`        h_t = o ⊙ tanh(norm(c_t))

    Source: Ba, Kiros & Hinton (2016), "Layer normalization".
    """

    parts = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 4 * hidden_size), states(hidden_size, 4 * hidden_size)
        self.norm_x, self.norm_h = nn.LayerNorm(4 * hidden_size), nn.LayerNorm(4 * hidden_size)
        self.norm_c = nn.LayerNorm(hidden_size)

    def forward(self, x: Tensor, state: State | None = None) -> State:
        h, c = self.begin(x, state)
        i, f, g, o = (self.norm_x(self.U(x)) + self.norm_h(self.W(h))).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norm_c(c)), c


class MultiplicativeLSTM(Cell):
    """An LSTM whose recurrent matrix depends on the input, by way of m in the place of h.

        m = (V x) ⊙ (M h)        a = U x + b + W m        then as `LSTM`

    Source: Krause et al. (2016), "Multiplicative LSTM for sequence modelling".
    """

    parts = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.U, self.W = inputs(input_size, 4 * hidden_size), states(hidden_size, 4 * hidden_size)
        self.V, self.M = nn.Linear(input_size, hidden_size, bias=False), states(hidden_size, hidden_size)

    def forward(self, x: Tensor, state: State | None = None) -> State:
        h, c = self.begin(x, state)
        i, f, g, o = (self.U(x) + self.W(self.V(x) * self.M(h))).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class SLSTM(Cell):
    """The scalar LSTM of xLSTM: exponential gates kept in range by a stabiliser m, a normaliser n, and heads that do not mix.

        m_t = max(a_f + m, a_i)        i = exp(a_i − m_t)        f = exp(a_f + m − m_t)
        c_t = f ⊙ c + i ⊙ tanh(a_g)    n_t = f ⊙ n + i           h_t = sigmoid(a_o) ⊙ c_t / max(n_t, 1)

    a = U x + b + W h, where W is block-diagonal: `heads` blocks. The state is (h, c, n, m).

    Source: Beck et al. (2024), "xLSTM: extended long short-term memory". Its normaliser is n_t itself; max(n_t, 1) keeps a
    state that has seen little from being divided by next to nothing.
    """

    parts = 4

    def __init__(self, input_size: int, hidden_size: int, heads: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        if hidden_size % heads:
            raise ValueError(f"heads: expected a divisor of hidden_size={hidden_size}, found {heads}")
        self.heads, k = heads, hidden_size // heads
        self.U = inputs(input_size, 4 * hidden_size)
        self.W = nn.Parameter(torch.empty(heads, k, 4 * k).uniform_(-(k**-0.5), k**-0.5))

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, ...]:
        h, c, n, m = self.begin(x, state)
        mixed = torch.einsum("bhk,hkj->bhj", h.unflatten(-1, (self.heads, -1)), self.W)
        i, f, g, o = (p + q.flatten(1) for p, q in zip(self.U(x).chunk(4, -1), mixed.chunk(4, -1), strict=True))
        ahead = torch.maximum(f + m, i)
        i, f = torch.exp(i - ahead), torch.exp(f + m - ahead)
        c, n = f * c + i * torch.tanh(g), f * n + i
        return torch.sigmoid(o) * c / torch.clamp(n, min=1), c, n, ahead


def chrono_start(cell: LSTM, longest: int) -> LSTM:
    """Start an LSTM's gates for memories of 1 … `longest` steps: the forget biases at log u, u uniform in [1, longest − 1], the
    input biases at the negative of that. Returns the cell.

    Source: Tallec & Ollivier (2018), "Can recurrent neural networks warp time?".

    Raises: ValueError: fewer than 3 steps.
    """
    if longest < 3:
        raise ValueError(f"longest: expected at least 3 steps, found {longest}")
    d = cell.hidden_size
    with torch.no_grad():
        bias = cell.U.bias
        bias[d : 2 * d] = torch.empty(d).uniform_(1, longest - 1).log()
        bias[:d] = -bias[d : 2 * d]
    return cell
