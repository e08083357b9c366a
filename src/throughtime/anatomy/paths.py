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
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from throughtime import contraction, ops
from throughtime.anatomy import measures
from throughtime.anatomy.network import Recurrence, Unrolled, unroll

if TYPE_CHECKING:
    from throughtime.anatomy.derivation import Derivation

RESIDUAL = {torch.float32: 1e-5, torch.float64: 1e-10}
"""The greatest relative distance allowed between the sum of all paths and the gradient of training."""

BLOCK_BYTES = 1 << 24
BLOCK_LOSSES = 64
EXPONENTS = 16


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


def anatomy(
    net: Any,
    x: Tensor,
    y: Tensor,
    lengths: Any = None,
    reduction: str = "sequence",
    *,
    s0: Tensor | None = None,
    layer: int = -1,
    direction: int = 0,
    readout: nn.Linear | None = None,
) -> Anatomy:
    """Take the gradient of `net`'s loss on a batch apart, path by path.

    Args:
        net: an `ElmanNetwork`; a `SequenceModel`; or a `tt.nn.RNN`, with its `readout`.
        x: [B, T, n], or integer symbols [B, T] (whatever `batch_first` of the RNN says).
        y: [B, T] labels; a step labelled −100 has no loss and no paths. For a SequenceModel that classifies, labels [B]: the
            loss counts as that of the last step walked. For one that forecasts, values [B, T, k].
        lengths: [B], or None.
        reduction: "sequence" or "token", as in training.
        s0: the state the sequences start from, [B, d] ([layers · directions, B, d] for a stack); None: the network's own.
        layer, direction: which recurrence of a stack to look into; 0 is the lowest layer, −1 the top one; direction 1 walks
            backward.
        readout: V and c for a bare `tt.nn.RNN`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
        ArithmeticError: the paths do not sum to the gradient of training within rounding, or it is not finite.
    """
    return Anatomy(unroll(net, x, y, lengths, s0, reduction, layer, direction, readout))


class Anatomy:
    """Every gradient path of one recurrence on one batch; made by `anatomy`.

    Steps t and k are counted from 1 in methods, instances from 0. Arrays that belong to an instance ([T], [T, T]) have a
    leading axis B where the batch has more than one; by_lag, by_loss, by_step, truncation and Lyapunov exponents are over the
    whole batch. Everything carries the loss's normaliser, so that paths sum to the gradient of training; `losses` alone are
    plain. `norms`, `shares`, `by_lag`, `by_loss`, `by_step`, `total` and `residual` are those of W.

    Attributes:
        W, U, b: `Paths` to the parameters of the recurrence.
        V, c: `Steps` to those of the readout.
        losses: [T] L_t in nats (or squared units); NaN in padding, 0 where the label is −100.
        truncation: `Truncation` of the gradient by W.
    """

    def __init__(self, unrolled: Unrolled) -> None:
        recurrence = unrolled.chosen
        if recurrence.W.dtype not in RESIDUAL:
            raise TypeError(f"net: expected float32 or float64 parameters, found {recurrence.W.dtype}")
        for name, gradient in unrolled.gradient.items():
            if not bool(torch.isfinite(gradient).all()):
                raise ArithmeticError(f"∂L/∂{name} is not finite: there is nothing to take apart")
        self.unrolled = unrolled
        self.T, self.B = unrolled.counts.shape
        self._previous = contraction.previous_states(
            recurrence.states, recurrence.s0, torch.tensor(unrolled.lengths), recurrence.reverse
        )
        self.losses = self._over_instances(unrolled.losses.T.where(self._real(), math.nan))
        self.W, self.U, self.b, self.truncation = _sweep(unrolled, self._previous)
        self.V, self.c = _readout_steps(unrolled, self._real())

    def _real(self) -> Tensor:
        return torch.arange(self.T) < torch.tensor(self.unrolled.lengths).unsqueeze(1)

    def _over_instances(self, array: Tensor) -> Tensor:
        return array[0] if self.B == 1 else array

    @property
    def norms(self) -> Tensor:
        return self.W.norms

    @property
    def shares(self) -> Tensor:
        return self.W.shares

    @property
    def by_lag(self) -> Tensor:
        return self.W.by_lag

    @property
    def by_loss(self) -> Tensor:
        return self.W.by_loss

    @property
    def by_step(self) -> Tensor:
        return self.W.by_step

    @property
    def total(self) -> Tensor:
        return self.W.total

    @property
    def residual(self) -> float:
        """The largest relative distance of the summed paths from the gradient of training, over W, U, b, V and c."""
        return max(p.residual for p in (self.W, self.U, self.b, self.V, self.c))

    def delta(self, t: int, instance: int = 0) -> Tensor:
        """δ_{t,k}, the derivative of L_t's part of the loss with respect to a_k, for k = 1..t: [t, d], row k − 1.

        In a direction that walks backward, and below a layer that does, a loss reaches later steps too: then [T_i, d].
        """
        self._check_step("t", t, instance)
        unrolled = self.unrolled
        found = unrolled.delta(instance, t - 1, t)[:, 0]
        before = unrolled.span(instance, t - 1, t).start
        return found if before == 0 else torch.cat([found.new_zeros(before, found.shape[1]), found])

    def path(self, t: int, k: int, instance: int = 0) -> Tensor:
        """G[t,k] [d, d], the contribution of path (t, k) to ∂L/∂W; zero where L_t does not depend on step k."""
        self._check_step("t", t, instance)
        self._check_step("k", k, instance)
        delta, previous = self.delta(t, instance), self._previous[:, instance]
        if k > len(delta):
            return delta.new_zeros(delta.shape[1], delta.shape[1])
        return contraction.contract(delta[k - 1 : k], previous[k - 1 : k])

    def horizon(self, cosine: float = 0.99) -> int:
        """The shortest window τ whose truncated gradient has at least this cosine with the full one."""
        if not 0 < cosine <= 1:
            raise ValueError(f"cosine: expected a number above 0 and at most 1, found {cosine!r}")
        enough = self.truncation.cosine >= cosine - 1e-12
        return int(enough.nonzero()[0]) + 1 if bool(enough.any()) else self.T

    @cached_property
    def jacobian_norms(self) -> Tensor:
        """[T, T] ‖∂s_t/∂s_k‖ (spectral) of the chosen recurrence; NaN where s_t does not depend on s_k.

        Exact up to 8 states; beyond, a lower bound with a mean error below 4 %: see `measures.jacobian_norms`.
        """
        recurrence, lengths = self.unrolled.chosen, self.unrolled.lengths
        norms = measures.jacobian_norms(self._slopes, recurrence.W)
        for i, length in enumerate(lengths):
            norms[i, length:] = math.nan
            norms[i, :, length:] = math.nan
            if recurrence.reverse:
                norms[i, :length, :length] = norms[i, :length, :length].flip(0, 1)
        return self._over_instances(norms)

    @cached_property
    def lyapunov(self) -> Tensor:
        """The 16 (or d) largest Lyapunov exponents of the driven recurrence, nats per step, largest first."""
        return measures.lyapunov(self._slopes, self.unrolled.chosen.W, self.unrolled.lengths, EXPONENTS)

    @property
    def half_life(self) -> float:
        """Steps after which a small perturbation of the state has halved: ln 2 / −λ₁; infinite where it does not shrink."""
        largest = float(self.lyapunov[0])
        return math.log(2) / -largest if largest < 0 else math.inf

    @cached_property
    def _slopes(self) -> Tensor:
        r = self.unrolled.chosen
        return measures.walked_slopes(ops.slopes(r.states, r.nonlinearity), self.unrolled.lengths, r.reverse)

    @property
    def verdict(self) -> str:
        """One sentence in plain words on how far the gradient reaches, with the numbers it rests on."""
        longest, horizon = max(self.unrolled.lengths), self.horizon(0.99)
        growth, half_life = float(self.lyapunov[0]), self.half_life
        reach = f"the last {horizon} of {longest} steps give 99 % of its direction"
        if self.W.total.count_nonzero() == 0:
            return "The gradient by W is zero: no loss depends on a state before its own step."
        if growth > 1 / longest:
            factor = math.exp(min(growth, 50))
            return (
                f"The gradient explodes: on its way back it grows {factor:.3g}-fold per step on average "
                f"(λ₁ = {growth:+.3f}); {reach}."
            )
        numbers = f"λ₁ = {growth:+.3f}; {reach}"
        lasting = (
            "it keeps its size on its way back" if half_life > 1e4 else f"it halves every {half_life:.3g} steps back"
        )
        if half_life < longest / 4:
            return f"The gradient vanishes: {lasting} ({numbers})."
        if horizon < longest / 4:
            return f"The gradient could reach far, but little of it comes from there: {lasting} ({numbers})."
        return f"The gradient reaches far: {lasting} ({numbers})."

    def derivation(self, t: int, instance: int = 0) -> Derivation:
        """The chain rule of ∂L_t/∂W written out path by path, with numbers: `.text` and `.latex`."""
        from throughtime.anatomy.derivation import derive

        self._check_step("t", t, instance)
        return derive(self, t, instance)

    def arrays(self) -> dict[str, Any]:
        """Every array by name, as NumPy arrays: what `save` writes."""
        found: dict[str, Any] = {"losses": self.losses, "lengths": torch.tensor(self.unrolled.lengths)}
        for name in ("W", "U", "b"):
            paths: Paths = getattr(self, name)
            for part in ("norms", "shares", "by_lag", "by_loss", "by_step", "total"):
                found[f"{name}_{part}"] = getattr(paths, part)
        for name in ("V", "c"):
            steps: Steps = getattr(self, name)
            found |= {f"{name}_{part}": getattr(steps, part) for part in ("norms", "shares", "total")}
        found |= {"truncation_error": self.truncation.error, "truncation_cosine": self.truncation.cosine}
        found |= {"jacobian_norms": self.jacobian_norms, "lyapunov": self.lyapunov}
        found["residual"] = torch.tensor(self.residual, dtype=torch.float64)
        return {name: array.numpy() for name, array in found.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write every array to a compressed NumPy file (`.npz`)."""
        import numpy as np

        from throughtime.data.files import write_atomically

        write_atomically(path, lambda file: np.savez_compressed(file, **self.arrays()))

    def to_html(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the page: one file that works offline. Options as in `page.write_page`."""
        from throughtime.anatomy.page import write_page

        write_page(self, path, **options)

    def __repr__(self) -> str:
        u = self.unrolled
        return f"Anatomy(T={self.T}, B={self.B}, d={u.chosen.W.shape[0]}, residual={self.residual:.1e}): {self.verdict}"

    def _check_step(self, name: str, step: int, instance: int) -> None:
        if not 0 <= instance < self.B:
            raise ValueError(f"instance: expected 0 to {self.B - 1}, found {instance}")
        length = self.unrolled.lengths[instance]
        if not 1 <= step <= length:
            raise ValueError(f"{name}: expected a step from 1 to {length}, found {step}")


def _sweep(unrolled: Unrolled, previous: Tensor) -> tuple[Paths, Paths, Paths, Truncation]:
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


def _readout_steps(unrolled: Unrolled, real: Tensor) -> tuple[Steps, Steps]:
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
