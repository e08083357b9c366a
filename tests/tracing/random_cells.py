"""Cells drawn at random: expressions of the operations that programs have, over inputs, states, and what was made before."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0.1).to(v.dtype)

    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        return g * torch.exp(-v.abs())


UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.tanh, torch.sigmoid, torch.relu, F.softplus, F.gelu, F.silu, F.elu, F.leaky_relu, torch.neg, torch.abs,
    lambda v: F.gelu(v, approximate="tanh"), lambda v: torch.exp(torch.clamp(v, max=1.0)), lambda v: torch.log1p(v.abs()),
    lambda v: (1 + v * v).sqrt(), lambda v: (1 + v * v).rsqrt(), lambda v: 1 / (1 + v**2), torch.sin, torch.cos,
    lambda v: torch.clamp(v, -0.5, 0.7), lambda v: F.hardtanh(v), lambda v: torch.log(1 + v.exp().clamp(max=5)), torch.erf,
    lambda v: 1 - v, lambda v: v - 0.3, lambda v: 2.5 * v, lambda v: v**3 * 0.1, Surrogate.apply, torch.expm1,
    lambda v: torch.where(v > 0, v, 0.1 * v), F.softsign, F.logsigmoid, F.mish, lambda v: v.detach() * v,
    lambda v: v.softmax(-1), lambda v: v - v.mean(-1, keepdim=True), lambda v: v / (1 + v.norm(dim=-1, keepdim=True)),
    lambda v: v - v.amax(-1, keepdim=True), lambda v: v * v.sum(-1, keepdim=True).tanh(),
    lambda v: F.layer_norm(v, v.shape[-1:]),
    lambda v: v.flip(-1), lambda v: v.roll(1, -1), lambda v: torch.cat([v[:, 1:], v[:, :1]], -1),
]  # fmt: skip
BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda u, v: u / (1.5 + v.tanh()),
    lambda u, v: torch.lerp(u, v, 0.25),
    lambda u, v: torch.where(u > v, u, v * 0.5), lambda u, v: torch.where((u < 0.2) & ~(v >= 0), u - v, u),
    lambda u, v: u.addcmul(u, v, value=0.5), lambda u, v: torch.logaddexp(u, v),
]  # fmt: skip


class RandomCell(nn.Module):
    """One drawn from a seed. `n`: inputs; `widths`: of the parts of the state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        torch.manual_seed(seed)
        self.n = draw.choice([1, 2, 5])
        self.widths = [draw.choice([1, 2, 3, 4, 6]) for _ in range(draw.choice([1, 1, 2, 3]))]
        self.own = draw.random() < 0.4  # an output of its own
        self.layers, self.vectors = nn.ModuleList(), nn.ParameterList()
        self.recipe: list[Callable[[list[Tensor]], Tensor]] = []
        sizes = [self.n, *self.widths]
        for _ in range(draw.randint(3, 14)):
            sizes.append(self.draw(draw, sizes))
        self.ends = [self.end(draw, sizes, w) for w in ([draw.choice([1, 3, 4])] if self.own else []) + self.widths]

    def linear(self, n: int, d: int, draw: random.Random) -> int:
        self.layers.append(nn.Linear(n, d, bias=draw.random() < 0.6))
        return len(self.layers) - 1

    def draw(self, draw: random.Random, sizes: list[int]) -> int:
        """Add one expression to the recipe; returns the width of its value."""
        i, j = draw.randrange(len(sizes)), draw.randrange(len(sizes))
        kinds = ["linear", "linear", "unary", "unary", "unary", "binary", "binary", "cat", "chunk", "vector", "heads"]
        kind = draw.choice(kinds)
        if kind == "binary" and sizes[i] != sizes[j] and 1 not in (sizes[i], sizes[j]):
            kind = "linear"
        if kind == "chunk" and sizes[i] < 2:
            kind = "unary"
        if kind == "linear":
            k, d = self.linear(sizes[i], draw.choice([1, 2, 4, 6]), draw), 0
            d = self.layers[k].out_features
            self.recipe.append(lambda pool: self.layers[k](pool[i]))
            return d
        if kind == "unary":
            f = draw.choice(UNARY)
            self.recipe.append(lambda pool: f(pool[i]))
            return sizes[i]
        if kind == "binary":
            g = draw.choice(BINARY)
            self.recipe.append(lambda pool: g(*torch.broadcast_tensors(pool[i], pool[j])))
            return max(sizes[i], sizes[j])
        if kind == "cat":
            k = self.linear(sizes[i] + sizes[j], 4, draw)
            self.recipe.append(lambda pool: self.layers[k](torch.cat([pool[i], pool[j]], -1)))
            return 4
        if kind == "chunk":
            part = draw.randrange(2)
            self.recipe.append(lambda pool: pool[i].chunk(2, -1)[part])
            return -(-sizes[i] // 2) if part == 0 else sizes[i] // 2
        if kind == "vector":
            self.vectors.append(nn.Parameter(torch.randn(sizes[i]) if draw.random() < 0.7 else torch.randn(())))
            k = len(self.vectors) - 1
            made = draw.choice([lambda p: p, torch.sigmoid, lambda p: 1 - p * p])  # of the call level
            self.recipe.append(lambda pool: made(self.vectors[k]) * pool[i])
            return sizes[i]
        h = 2 if sizes[i] % 2 == 0 else 1
        self.vectors.append(nn.Parameter(torch.randn(h, sizes[i] // h, 3) / 2))
        k = len(self.vectors) - 1
        self.recipe.append(
            lambda pool: torch.einsum("bhi,hij->bhj", pool[i].unflatten(-1, (h, -1)), self.vectors[k]).flatten(1)
        )
        return 3 * h

    def end(self, draw: random.Random, sizes: list[int], width: int) -> Callable[[list[Tensor]], Tensor]:
        """One of the last values, of a width that a part of the state has, and kept from growing."""
        i = len(sizes) - 1 - draw.randrange(min(3, len(sizes)))
        if sizes[i] == width:
            return lambda pool: torch.tanh(pool[i]) if i >= 1 + len(self.widths) else pool[i] * 0.9
        k = self.linear(sizes[i], width, draw)
        return lambda pool: torch.tanh(self.layers[k](pool[i]))

    def forward(self, x: Tensor, state):
        pool = [x, *(state if isinstance(state, tuple) else (state,))]
        for make in self.recipe:
            pool.append(make(pool))
        output, *rest = [end(pool) for end in self.ends]
        if not self.own:
            return (output, *rest) if rest else output
        return output, tuple(rest) if len(rest) > 1 else rest[0]
