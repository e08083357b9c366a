"""`anatomy` and what it returns: the paths of one recurrence's gradient, and everything read from them.

Steps t and k are counted from 1, as in the mathematics; array index i stands for step i + 1.
"""

from __future__ import annotations

import html
import math
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from throughtime.anatomy import measures
from throughtime.anatomy.network import Unrolled, unroll
from throughtime.anatomy.paths import RESIDUAL, Paths, Steps, readout_steps, sweep, ways
from throughtime.core import contraction

if TYPE_CHECKING:
    from throughtime.anatomy.derivation import Derivation

EXPONENTS = 16


def anatomy(
    net: Any,
    x: Tensor,
    y: Tensor,
    lengths: Any = None,
    reduction: str = "sequence",
    *,
    s0: Any = None,
    layer: int = -1,
    direction: int = 0,
    readout: nn.Linear | None = None,
) -> Anatomy:
    """Take the gradient of `net`'s loss on a batch apart, path by path.

    Args:
        net: an `ElmanNetwork`; a `SequenceModel`; or a `tt.nn.RNN`, `LSTM` or `GRU`, with its `readout`.
        x: [B, T, n], or integer symbols [B, T] (whatever `batch_first` of the RNN says).
        y: [B, T] labels; a step labelled −100 has no loss and no paths. For a SequenceModel that classifies, labels [B]: the
            loss counts as that of the last step walked. For one that forecasts, values [B, T, k].
        lengths: [B], or None.
        reduction: "sequence" or "token", as in training.
        s0: the state the sequences start from, [B, d] ([layers · directions, B, d] for a stack; a pair of them for an LSTM);
            None: the network's own.
        layer, direction: which recurrence of a stack to look into; 0 is the lowest layer, −1 the top one; direction 1 walks
            backward.
        readout: V and c for a bare layer.

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
        weights: `Paths` to each weight of the recurrence by name: U, W, b; of a gated cell those of its program (U, W,
            b_ih, …), each with its gates. W, U and b are the same as attributes.
        V, c: `Steps` to those of the readout.
        losses: [T] L_t in nats (or squared units); NaN in padding, 0 where the label is −100.
        truncation: `Truncation` of the gradient by W.
        delta_norms: [T, T] ‖δ_{t,k}‖ of the products with W.
    """

    def __init__(self, unrolled: Unrolled) -> None:
        if unrolled.V.dtype not in RESIDUAL:
            raise TypeError(f"net: expected float32 or float64 parameters, found {unrolled.V.dtype}")
        for name, gradient in unrolled.gradient.items():
            if not bool(torch.isfinite(gradient).all()):
                raise ArithmeticError(f"∂L/∂{name} is not finite: there is nothing to take apart")
        self.unrolled = unrolled
        self.T, self.B = unrolled.counts.shape
        self.losses = self._over_instances(unrolled.losses.T.where(self._real(), math.nan))
        self.weights, self.truncation, self.delta_norms = sweep(unrolled)
        self.V, self.c = readout_steps(unrolled, self._real())

    def _real(self) -> Tensor:
        return torch.arange(self.T) < torch.tensor(self.unrolled.lengths).unsqueeze(1)

    def _over_instances(self, array: Tensor) -> Tensor:
        return array[0] if self.B == 1 else array

    @property
    def W(self) -> Paths:
        """The paths to the weight through which a state acts on the next one."""
        return self.weights[self.unrolled.chosen.main]

    @property
    def U(self) -> Paths:
        """The paths to the first weight that multiplies the inputs."""
        return self.weights["U" if "U" in self.weights else next(iter(self.weights))]

    @property
    def b(self) -> Paths:
        """The paths to the bias: `b`, or the summand of it that comes with the inputs (`b_ih`)."""
        for name in ("b", "b_ih"):
            if name in self.weights:
                return self.weights[name]
        raise AttributeError("b: the recurrence has no bias")

    @cached_property
    def ways(self) -> dict[str, Paths]:
        """The paths to W in two parts that sum to them: "elementwise", along routes that cross no product with a matrix between
        L_t and step k (in an LSTM the carousel, c_t = f ⊙ c_{t−1} + …), and "product", along the others."""
        return dict(zip(("elementwise", "product"), ways(self.unrolled)))

    @cached_property
    def openness(self) -> dict[str, Tensor]:
        """[T] the mean opening of each gate over its units, 0 shut to 1 open; NaN in padding. Empty without gates."""
        found = self.unrolled.chosen.openness()
        return {name: self._over_instances(v.T.where(self._real(), math.nan)) for name, v in found.items()}

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
        """The largest relative distance of the summed paths from the gradient of training, over all weights, V and c."""
        return max(p.residual for p in (*self.weights.values(), self.V, self.c))

    def delta(self, t: int, instance: int = 0) -> Tensor:
        """δ_{t,k}, the derivative of L_t's part of the loss with respect to a_k, for k = 1..t: [t, d], row k − 1. Of a gated
        cell, with respect to the result of the product with W: [t, rows of W].

        In a direction that walks backward, and below a layer that does, a loss reaches later steps too: then [T_i, d].
        """
        self._check_step("t", t, instance)
        unrolled = self.unrolled
        by_window = unrolled.deltas(instance, t - 1, t)
        before = unrolled.span(instance, t - 1, t).start
        uses = self._main_uses
        found = torch.cat([by_window[use.delta][:, 0] for use in uses], -1)
        return found if before == 0 else torch.cat([found.new_zeros(before, found.shape[1]), found])

    def path(self, t: int, k: int, instance: int = 0) -> Tensor:
        """G[t,k] [d, d], the contribution of path (t, k) to ∂L/∂W; zero where L_t does not depend on step k."""
        self._check_step("t", t, instance)
        self._check_step("k", k, instance)
        delta = self.delta(t, instance)
        found = torch.zeros_like(self.W.total)
        if k <= len(delta):
            uses = self._main_uses
            for use, own in zip(uses, delta[k - 1 : k].split([use.delta.width for use in uses], -1)):
                found[use.rows, use.columns] = contraction.contract(own, use.inputs[k - 1, instance : instance + 1])
        return found

    @cached_property
    def _main_uses(self) -> list[Any]:
        """Where W is used, by its rows."""
        chosen = self.unrolled.chosen
        return sorted((use for use in chosen.uses if use.parameter == chosen.main), key=lambda use: use.rows.start)

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
        norms = measures.jacobian_norms(recurrence.jacobians)
        for i, length in enumerate(lengths):
            norms[i, length:] = math.nan
            norms[i, :, length:] = math.nan
            if recurrence.reverse:
                norms[i, :length, :length] = norms[i, :length, :length].flip(0, 1)
        return self._over_instances(norms)

    @cached_property
    def lyapunov(self) -> Tensor:
        """The 16 (or d) largest Lyapunov exponents of the driven recurrence, nats per step, largest first."""
        return measures.lyapunov(self.unrolled.chosen.jacobians, self.unrolled.lengths, EXPONENTS)

    @property
    def half_life(self) -> float:
        """Steps after which a small perturbation of the state has halved: ln 2 / −λ₁; infinite where it does not shrink."""
        largest = float(self.lyapunov[0])
        return math.log(2) / -largest if largest < 0 else math.inf

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
                f"(λ₁ = {growth:+#.3g}); {reach}."
            )
        numbers = f"λ₁ = {growth:+#.3g}; {reach}"
        lasting = (
            "it keeps its size on its way back"
            if half_life > 1e4
            else f"it halves every {measures.in_steps(half_life)} steps back"
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
        for name, paths in self.weights.items():
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

    def _repr_html_(self) -> str | None:
        """The page of the first instance in a notebook, in place; None where that is too long for a page."""
        from throughtime.anatomy.page import LONGEST, page

        if self.unrolled.lengths[0] > LONGEST:
            return None
        return (
            f'<iframe srcdoc="{html.escape(page(self))}" style="width: 100%; height: 900px; border: 0" '
            'title="Anatomy of the gradient"></iframe>'
        )

    def __repr__(self) -> str:
        u = self.unrolled
        return f"Anatomy(T={self.T}, B={self.B}, d={u.chosen.width}, residual={self.residual:.1e}): {self.verdict}"

    def _check_step(self, name: str, step: int, instance: int) -> None:
        if not 0 <= instance < self.B:
            raise ValueError(f"instance: expected 0 to {self.B - 1}, found {instance}")
        length = self.unrolled.lengths[instance]
        if not 1 <= step <= length:
            raise ValueError(f"{name}: expected a step from 1 to {length}, found {step}")
