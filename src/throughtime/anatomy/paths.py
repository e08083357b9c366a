"""The gradient of training taken apart, path by path, from the same δ and the same contraction as training.

    δ_{t,k} = ∂L_t/∂a_k          G[t,k] = δ_{t,k} s_{k−1}ᵀ          Σ_t Σ_k G[t,k] = ∂L/∂W

The losses are the batch of one backward sweep: row t holds the derivative of L_t alone. A path's norm is ‖δ_{t,k}‖ ‖s_{k−1}‖
and its product with the whole gradient G is δ_{t,k}ᵀ (G s_{k−1}), so that no path's matrix is ever formed; those of one lag
t − k are contracted together, which is what truncation needs (and takes memory for T matrices d × d). Losses come in blocks, so
that the rest stays bounded. For U, x_k takes the place of s_{k−1}; for b, 1.

Steps t and k are counted from 1, as in the mathematics; array index i stands for step i + 1.

Sources: Werbos (1990) for the sum; Bengio et al. (1994) and Pascanu et al. (2013) for its reading as paths; Cashman et al.
(2018) for gradients itemised by step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from throughtime import contraction
from throughtime.anatomy.network import Recurrence, Unrolled

RESIDUAL = {torch.float32: 1e-5, torch.float64: 1e-10}
"""The greatest relative distance allowed between the sum of all paths and the gradient of training."""

BLOCK_BYTES = 1 << 24
BLOCK_LOSSES = 64


@dataclass(frozen=True)
class Paths:
    """The paths to one parameter: W, U or b. Arrays have a leading axis for the instances where there is more than one."""

    norms: Tensor
    """[T, T] ‖G[t,k]‖ (Frobenius), row t, column k; NaN where no path leads from L_t to step k."""
    shares: Tensor
    """[T, T] ⟨G[t,k], G⟩ / ⟨G, G⟩; they sum to 1 over all paths of all instances (to 0 where G is zero)."""
    total: Tensor
    """ΣΣ G[t,k], shaped like the parameter."""
    residual: float
    """‖total − gradient of training‖ / ‖gradient of training‖."""

    @cached_property
    def by_lag(self) -> Tensor:
        """[T] the shares summed over all paths with |t − k| = lag, lag = 0..T−1, over all instances."""
        T = self.shares.shape[-1]
        step = torch.arange(T)
        lag = (step.unsqueeze(1) - step).abs()
        summed = self.shares.nan_to_num().view(-1, T, T).sum(0)
        return torch.zeros(T, dtype=summed.dtype).index_add(0, lag.flatten(), summed.flatten())

    @property
    def by_loss(self) -> Tensor:
        """[T] the shares summed over k: what each loss L_t adds, over all instances."""
        return self.shares.nansum(-1).view(-1, self.shares.shape[-1]).sum(0)

    @property
    def by_step(self) -> Tensor:
        """[T] the shares summed over t: what flows through each step k, over all instances."""
        return self.shares.nansum(-2).view(-1, self.shares.shape[-1]).sum(0)


@dataclass(frozen=True)
class Steps:
    """The paths to V or c: one per step, since the readout is used once for each loss."""

    norms: Tensor
    """[T] ‖e_t s_tᵀ‖ (or ‖e_t‖), over the loss's normaliser; with a leading axis for several instances."""
    shares: Tensor
    """[T] ⟨e_t s_tᵀ, G⟩ / ⟨G, G⟩; they sum to 1 over all steps of all instances."""
    total: Tensor
    residual: float


@dataclass(frozen=True)
class Truncation:
    """The gradient by W that keeps, for each loss, the last τ steps only; index τ − 1 of each array, τ = 1..T.

    It is the sum of the paths with |t − k| < τ: truncated BPTT with a window of τ that ends at each loss (Williams and Peng,
    1990, with one new step per window).
    """

    error: Tensor
    """[T] ‖G_τ − G‖ / ‖G‖."""
    cosine: Tensor
    """[T] ⟨G_τ, G⟩ / (‖G_τ‖ ‖G‖)."""


def sweep(unrolled: Unrolled, previous: Tensor) -> tuple[Paths, Paths, Paths, Truncation]:
    """One backward sweep per block of losses, from which everything about the paths is read."""
    recurrence = unrolled.chosen
    T, B = unrolled.counts.shape
    gradient = [unrolled.gradient[p] for p in ("W", "U", "b")]
    d = recurrence.W.shape[0]
    norms = recurrence.W.new_full((3, B, T, T), math.nan)
    shares = norms.clone()
    by_step = recurrence.W.new_zeros(T, B, d)  # Σ_t δ_{t,k}: what training contracts
    by_lag = recurrence.W.new_zeros(T, d, d)
    squares = torch.stack([g.square().sum() for g in gradient])
    squares = squares.where(squares > 0, 1.0)
    for i, length in enumerate(unrolled.lengths):
        sizes, targets = _input_norms(recurrence, previous, i), _targets(recurrence, previous, gradient, i)
        for first, last in _blocks(unrolled, i):
            steps, rows = unrolled.span(i, first, last), slice(first, last)
            delta = unrolled.delta(i, first, last)
            norm = torch.linalg.vector_norm(delta, dim=-1)
            norms[:, i, rows, steps] = norm.T * sizes[:, None, steps]
            shares[:, i, rows, steps] = (delta @ targets[steps]).permute(2, 1, 0) / squares[:, None, None]
            by_step[steps, i] += delta.sum(1)
            _add_by_lag(by_lag, delta, previous[steps, i], first - steps.start, unrolled.reaches)
        _blank(norms[:, i], shares[:, i], unrolled, i, length)
    x, n = recurrence.x, recurrence.U.shape[1]
    lengths = torch.tensor(unrolled.lengths)
    totals = [
        by_lag.sum(0),
        contraction.input_gradient(by_step, x, lengths, n),
        contraction.bias_gradient(by_step),
    ]
    alone = 0 if B == 1 else slice(None)
    W, U, b = (
        Paths(norms[p, alone], shares[p, alone], total, _residual(name, total, gradient[p]))
        for p, (name, total) in enumerate(zip(("W", "U", "b"), totals))
    )
    return W, U, b, _truncation(by_lag, gradient[0])


def _blocks(unrolled: Unrolled, instance: int) -> list[tuple[int, int]]:
    """Ranges of losses whose δ fit into a block of memory, without the steps at their ends that have no loss."""
    length = unrolled.lengths[instance]
    width = max(unrolled.V.shape[1], unrolled.chosen.W.shape[0])
    size = max(1, min(BLOCK_LOSSES, BLOCK_BYTES // (length * width * unrolled.V.element_size())))
    counted = unrolled.counts[:length, instance].nonzero().squeeze(1).tolist()
    found: list[tuple[int, int]] = []
    for t in counted:
        if found and t < found[-1][0] + size:
            found[-1] = (found[-1][0], t + 1)
        else:
            found.append((t, t + 1))
    return found


def _input_norms(recurrence: Recurrence, previous: Tensor, instance: int) -> Tensor:
    """‖s_{k−1}‖, ‖x_k‖ and 1 for every step k, [3, T]."""
    x = recurrence.x[:, instance]
    one = previous.new_ones(x.shape[0])
    x_norm = torch.linalg.vector_norm(x, dim=-1) if x.is_floating_point() else one
    return torch.stack([torch.linalg.vector_norm(previous[:, instance], dim=-1), x_norm, one])


def _targets(recurrence: Recurrence, previous: Tensor, gradient: list[Tensor], instance: int) -> Tensor:
    """G s_{k−1} for G = ∂L/∂W, ∂L/∂U x_k, and ∂L/∂b, for every step k: [T, d, 3]. ⟨δ ⊗ input, G⟩ = δᵀ (G input)."""
    by_W, by_U, by_b = gradient
    x = recurrence.x[:, instance]
    symbols = not x.is_floating_point()
    along_x = by_U.T[x.long().clamp(0, by_U.shape[1] - 1)] if symbols else x @ by_U.T  # padding may hold anything
    return torch.stack([previous[:, instance] @ by_W.T, along_x, by_b.expand_as(along_x)], -1)


def _add_by_lag(by_lag: Tensor, delta: Tensor, previous: Tensor, own: int, reaches: tuple[bool, bool]) -> None:
    """Add Σ δ_{t,k} s_{k−1}ᵀ over the paths of each lag |t − k| to by_lag [T, d, d].

    delta [K, R, d], previous [K, d]; row r's own step has index own + r. The paths of one lag lie on a diagonal of (k, r),
    which a view with a longer stride turns into a row.
    """
    K, R, d = delta.shape
    earlier, later = reaches
    padded = delta.new_zeros(K + 2 * (R - 1), R, d)
    padded[R - 1 : R - 1 + K] = delta
    inputs = previous.new_zeros(K + 2 * (R - 1), d)
    inputs[R - 1 : R - 1 + K] = previous
    diagonals = padded.as_strided((K + R - 1, R, d), (R * d, (R + 1) * d, 1))
    windows = inputs.as_strided((K + R - 1, R, d), (d, d, 1))
    lag = own - (torch.arange(K + R - 1) - (R - 1))  # of t before k, for each diagonal
    begin, end = 0, K + R - 1
    if not later:
        end = own + R  # the diagonal of lag 0 is the last
    if not earlier:
        begin = own + R - 1
    chunk = max(1, BLOCK_BYTES // (d * d * delta.element_size()))
    for at in range(begin, end, chunk):
        part = slice(at, min(at + chunk, end))
        by_lag.index_add_(0, lag[part].abs(), contraction.contract(diagonals[part], windows[part]))


def _blank(norms: Tensor, shares: Tensor, unrolled: Unrolled, instance: int, length: int) -> None:
    """NaN where no path leads; zero for the paths of steps without a loss."""
    T = norms.shape[-1]
    step = torch.arange(T)
    earlier, later = unrolled.reaches
    t, k = step.unsqueeze(1), step
    none = ((k > t) & (not later)) | ((k < t) & (not earlier)) | (t >= length) | (k >= length)
    for array in (norms, shares):
        array.nan_to_num_(nan=0.0)
        array.masked_fill_(none, math.nan)


def _residual(name: str, total: Tensor, gradient: Tensor) -> float:
    """‖total − gradient‖ / ‖gradient‖, or an error when the paths do not sum to the gradient of training."""
    total, gradient, tolerance = total.double(), gradient.double(), RESIDUAL[gradient.dtype]
    size = float(gradient.norm())
    residual = float((total - gradient).norm()) / (size if size > 0 else 1.0)
    if not residual <= tolerance:
        advice = "; in float64 (net.double()) rounding is smaller" if tolerance > 1e-9 else ""
        raise ArithmeticError(
            f"the paths to {name} sum to the gradient of training within {residual:.1e}, expected {tolerance:.0e}{advice}"
        )
    return residual


def _truncation(by_lag: Tensor, gradient: Tensor) -> Truncation:
    size = float(gradient.norm())
    if size == 0:
        return Truncation(torch.zeros(len(by_lag)), torch.ones(len(by_lag)))
    error, product, kept = [], [], []
    so_far = torch.zeros_like(gradient)
    for at_lag in by_lag:
        so_far += at_lag
        error.append((so_far - gradient).norm())
        product.append((so_far * gradient).sum())
        kept.append(so_far.norm())
    norm = torch.stack(kept)
    cosine = torch.stack(product) / (norm * size).where(norm > 0, 1.0)
    return Truncation(torch.stack(error) / size, cosine.clamp(-1, 1))


def readout_steps(unrolled: Unrolled, real: Tensor) -> tuple[Steps, Steps]:
    """The paths to V and c: e_t s_tᵀ and e_t of every step."""
    e, s = unrolled.errors, unrolled.read
    by_V, by_c = unrolled.gradient["V"], unrolled.gradient["c"]
    length = torch.linalg.vector_norm(e, dim=-1)
    found = []
    for name, gradient, norms, products, total in (
        (
            "V",
            by_V,
            length * torch.linalg.vector_norm(s, dim=-1),
            (e * (s @ by_V.T)).sum(-1),
            contraction.recurrent_gradient(e, s),
        ),
        ("c", by_c, length, e @ by_c, contraction.bias_gradient(e)),
    ):
        square = gradient.square().sum()
        shares = products / (square if square > 0 else 1.0)
        alone = 0 if e.shape[1] == 1 else slice(None)
        norms, shares = (array.T.where(real, math.nan)[alone] for array in (norms, shares))
        found.append(Steps(norms, shares, total, _residual(name, total, gradient)))
    return found[0], found[1]
