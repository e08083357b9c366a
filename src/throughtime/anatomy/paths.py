"""The gradient of training taken apart, path by path, from the same δ and the same contraction as training.

    δ_{t,k} = ∂L_t/∂a_k          G[t,k] = δ_{t,k} s_{k−1}ᵀ          Σ_t Σ_k G[t,k] = ∂L/∂W

The losses are the batch of one backward sweep: row t holds the derivative of L_t alone. A path's norm is ‖δ_{t,k}‖ ‖s_{k−1}‖
and its product with the whole gradient G is δ_{t,k}ᵀ (G s_{k−1}), so that no path's matrix is ever formed; those of one lag
t − k are contracted together, which is what truncation needs (and takes memory for T matrices d × d). Losses come in blocks, so
that the rest stays bounded. For U, x_k takes the place of s_{k−1}; for b, 1. In any other cell than Elman's each matrix M has a
product of its own, with δ = ∂L/∂(its result) and what it multiplies in the place of s_{k−1}.

Steps t and k are counted from 1, as in the mathematics; array index i stands for step i + 1.

Sources: Werbos (1990) for the sum; Bengio et al. (1994) and Pascanu et al. (2013) for its reading as paths; Cashman et al.
(2018) for gradients itemised by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from throughtime.anatomy.network import Unrolled
from throughtime.anatomy.recurrence import Use
from throughtime.core import contraction
from throughtime.programs.program import Window

RESIDUAL = {torch.float32: 1e-5, torch.float64: 1e-10}
"""The greatest relative distance allowed between the sum of all paths and the gradient of training."""

BLOCK_BYTES = 1 << 24
BLOCK_LOSSES = 64


@dataclass(frozen=True)
class Paths:
    """The paths to one parameter. Arrays have a leading axis for the instances where there is more than one."""

    norms: Tensor
    """[T, T] ‖G[t,k]‖ (Frobenius), row t, column k; NaN where no path leads from L_t to step k."""
    shares: Tensor
    """[T, T] ⟨G[t,k], G⟩ / ⟨G, G⟩; they sum to 1 over all paths of all instances (to 0 where G is zero)."""
    total: Tensor
    """ΣΣ G[t,k], shaped like the parameter."""
    residual: float
    """‖total − gradient of training‖ / ‖gradient of training‖."""
    gates: dict[str, Paths] = field(default_factory=dict)
    """The paths to each gate's rows, where the cell has gates: their squares and shares add to the whole's."""

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


def sweep(unrolled: Unrolled) -> tuple[dict[str, Paths], Truncation, Tensor]:
    """One backward sweep per block of losses, from which everything about the paths to each weight is read; the truncation is
    that of the gradient by the recurrence's main weight, and the last tensor holds ‖δ_{t,k}‖ of its products."""
    recurrence = unrolled.chosen
    main = recurrence.main
    ledger = _Ledger(unrolled, tuple(recurrence.weights), by_lag=main)
    ledger.fill(lambda *block: unrolled.deltas(*block))
    found = {
        name: ledger.paths(name, _residual(name, ledger.total[name], unrolled.gradient[name]))
        for name in recurrence.weights
    }
    delta = ledger.deltas.sqrt()
    for i, length in enumerate(unrolled.lengths):
        _blank(delta[i], delta[i], unrolled, i, length)
    return found, _truncation(ledger.by_lag, unrolled.gradient[main]), delta[0 if len(delta) == 1 else slice(None)]


def ways(unrolled: Unrolled) -> tuple[Paths, Paths]:
    """The paths to the main weight, each in its two parts: along routes from L_t to step k that cross no product with a matrix
    between them, and along the others. The two sum to the whole."""
    main = unrolled.chosen.main
    elementwise, product = (_Ledger(unrolled, (main,)) for _ in range(2))
    elementwise.fill(lambda *block: unrolled.deltas(*block, elementwise=True))

    def others(instance: int, first: int, last: int) -> dict[Window, Tensor]:
        whole, part = (unrolled.deltas(instance, first, last, elementwise=only) for only in (False, True))
        return {window: whole[window] - part[window] for window in whole}

    product.fill(others)
    residual = _residual(main, elementwise.total[main] + product.total[main], unrolled.gradient[main])
    return elementwise.paths(main, residual), product.paths(main, residual)


class _Ledger:
    """Sums over blocks of losses: what is known of the paths to each weight, by gate where there are gates."""

    def __init__(self, unrolled: Unrolled, names: tuple[str, ...], by_lag: str | None = None) -> None:
        recurrence = unrolled.chosen
        self.unrolled, self.names, self.lagged = unrolled, names, by_lag
        self.weights = {name: recurrence.weights[name] for name in names}
        self.gradient = {name: unrolled.gradient[name] for name in names}
        self.uses = [use for use in recurrence.uses if use.parameter in names]
        _refuse_overlaps(self.uses)
        self.gates = recurrence.gates or (("", slice(0, None)),)
        T, B = unrolled.counts.shape
        like = next(iter(self.weights.values()))
        self.squares = {name: like.new_zeros(len(self.gates), B, T, T) for name in names}
        self.shares = {name: like.new_zeros(len(self.gates), B, T, T) for name in names}
        self.summed = {use.delta: like.new_zeros(T, B, use.delta.width) for use in self.uses}
        self.total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.by_lag = like.new_zeros(T, *self.weights[by_lag].shape) if by_lag else like.new_zeros(0)
        self.deltas = like.new_zeros(B, T, T)  # ‖δ_{t,k}‖² of the lagged weight

    def fill(self, deltas: Callable[[int, int, int], Mapping[Window, Tensor]]) -> None:
        """Sweep back from every loss; `deltas(instance, first, last)` as `Unrolled.deltas`."""
        unrolled = self.unrolled
        for i in range(len(unrolled.lengths)):
            groups = self._groups(i)
            for first, last in _blocks(unrolled, i):
                steps = unrolled.span(i, first, last)
                found = deltas(i, first, last)
                for window, parts, members in groups:
                    delta = found[window]
                    self._add(i, slice(first, last), steps, delta, parts, members)
                    for use, _, _ in members:
                        if use.parameter == self.lagged and use.columns is not None:
                            assert use.inputs is not None
                            target = self.by_lag[:, use.rows, use.columns]
                            own = first - steps.start
                            _add_by_lag(target, delta, use.inputs[steps, i], own, unrolled.reaches)
                for window, summed in self.summed.items():
                    summed[steps, i] += found[window].sum(1)
        self._contract()

    def _groups(self, instance: int) -> list[tuple[Window, list[tuple[int, slice]], list[tuple[Use, Tensor, Tensor]]]]:
        """By δ and the rows it belongs to: which of its units are which gate's, and for every use the norms [T] of what is
        multiplied and G v [T, rows], so that ⟨δ ⊗ v, G⟩ = δᵀ (G v)."""
        groups: dict[tuple[Window, int], list[tuple[Use, Tensor, Tensor]]] = {}
        for use in self.uses:
            block = self.gradient[use.parameter][use.rows]
            norm, along = _input_products(use, block, instance, self.unrolled.counts.shape[0])
            groups.setdefault((use.delta, use.rows.start), []).append((use, norm, along))
        found = []
        for (window, start), members in groups.items():
            parts = []
            for g, (_, rows) in enumerate(self.gates):
                stop = start + window.width if rows.stop is None else min(rows.stop, start + window.width)
                if max(rows.start, start) < stop:
                    parts.append((g, slice(max(rows.start, start) - start, stop - start)))
            found.append((window, parts, members))
        return found

    def _add(
        self,
        i: int,
        rows: slice,
        steps: slice,
        delta: Tensor,
        parts: list[tuple[int, slice]],
        members: list[tuple[Use, Tensor, Tensor]],
    ) -> None:
        for g, units in parts:
            own = delta[..., units]
            square = torch.linalg.vector_norm(own, dim=-1).square()
            targets = torch.stack([along[steps][:, units] for _, _, along in members], -1)
            products = own @ targets  # [K, R, uses]
            if any(use.parameter == self.lagged for use, _, _ in members):
                self.deltas[i, rows, steps] += square.T
            for u, (use, norm, _) in enumerate(members):
                self.squares[use.parameter][g, i, rows, steps] += (square * norm[steps].square().unsqueeze(1)).T
                self.shares[use.parameter][g, i, rows, steps] += products[..., u].T

    def _contract(self) -> None:
        lengths = torch.tensor(self.unrolled.lengths)
        for use in self.uses:
            delta, total = self.summed[use.delta], self.total[use.parameter]
            if use.columns is None:
                total[use.rows] += contraction.bias_gradient(delta)
            else:
                assert use.inputs is not None
                width = use.columns.stop - use.columns.start
                total[use.rows, use.columns] += contraction.input_gradient(delta, use.inputs, lengths, width)

    def paths(self, name: str, residual: float) -> Paths:
        """What was found of the paths to one weight."""
        size = self.gradient[name].square().sum()
        squares, shares = self.squares[name], self.shares[name] / (size if size > 0 else 1.0)
        rows = [rows for gate, rows in self.gates if gate]
        total = self.total[name]
        gates = {}
        if rows and total.shape[0] == rows[-1].stop:
            for g, (gate, own) in enumerate(self.gates):
                gates[gate] = self._seen(squares[g].sqrt(), shares[g], total[own], residual)
        return replace(self._seen(squares.sum(0).sqrt(), shares.sum(0), total, residual), gates=gates)

    def _seen(self, norms: Tensor, shares: Tensor, total: Tensor, residual: float) -> Paths:
        for i, length in enumerate(self.unrolled.lengths):
            _blank(norms[i], shares[i], self.unrolled, i, length)
        alone = 0 if len(norms) == 1 else slice(None)
        return Paths(norms[alone], shares[alone], total, residual)


def _refuse_overlaps(uses: list[Use]) -> None:
    """A path through a matrix that is used twice in a step would be of rank two."""
    for a, b in combinations(uses, 2):
        across = a.columns is None or b.columns is None or _meet(a.columns, b.columns)
        if a.parameter == b.parameter and _meet(a.rows, b.rows) and across:
            raise ValueError(f"{a.parameter}: expected each part of it to be used once in a step, found it used twice")


def _meet(a: slice, b: slice) -> bool:
    return a.start < b.stop and b.start < a.stop


def _blocks(unrolled: Unrolled, instance: int) -> list[tuple[int, int]]:
    """Ranges of losses whose δ fit into a block of memory, without the steps at their ends that have no loss."""
    length = unrolled.lengths[instance]
    width = max(unrolled.V.shape[1], *(use.delta.width for use in unrolled.chosen.uses))
    size = max(1, min(BLOCK_LOSSES, BLOCK_BYTES // (length * width * unrolled.V.element_size())))
    counted = unrolled.counts[:length, instance].nonzero().squeeze(1).tolist()
    found: list[tuple[int, int]] = []
    for t in counted:
        if found and t < found[-1][0] + size:
            found[-1] = (found[-1][0], t + 1)
        else:
            found.append((t, t + 1))
    return found


def _input_products(use: Use, block: Tensor, instance: int, T: int) -> tuple[Tensor, Tensor]:
    """‖v_k‖ [T] of what a parameter multiplies at every step, and G v_k [T, rows] for its gradient's rows G."""
    if use.columns is None:
        return block.new_ones(T), block.expand(T, -1)
    assert use.inputs is not None
    v, G = use.inputs[:, instance], block[:, use.columns]
    if v.is_floating_point():
        return torch.linalg.vector_norm(v, dim=-1), v @ G.T
    return block.new_ones(T), G.T[v.long().clamp(0, G.shape[1] - 1)]  # padding may hold anything


def _add_by_lag(by_lag: Tensor, delta: Tensor, previous: Tensor, own: int, reaches: tuple[bool, bool]) -> None:
    """Add Σ δ_{t,k} s_{k−1}ᵀ over the paths of each lag |t − k| to by_lag [T, d, n].

    delta [K, R, d], previous [K, n]; row r's own step has index own + r. The paths of one lag lie on a diagonal of (k, r),
    which a view with a longer stride turns into a row.
    """
    (K, R, d), n = delta.shape, previous.shape[1]
    delta = delta.contiguous()
    earlier, later = reaches
    padded = delta.new_zeros(K + 2 * (R - 1), R, d)
    padded[R - 1 : R - 1 + K] = delta
    inputs = previous.new_zeros(K + 2 * (R - 1), n)
    inputs[R - 1 : R - 1 + K] = previous
    diagonals = padded.as_strided((K + R - 1, R, d), (R * d, (R + 1) * d, 1))
    windows = inputs.as_strided((K + R - 1, R, n), (n, n, 1))
    lag = own - (torch.arange(K + R - 1) - (R - 1))  # of t before k, for each diagonal
    begin, end = 0, K + R - 1
    if not later:
        end = own + R  # the diagonal of lag 0 is the last
    if not earlier:
        begin = own + R - 1
    chunk = max(1, BLOCK_BYTES // (d * n * delta.element_size()))
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
