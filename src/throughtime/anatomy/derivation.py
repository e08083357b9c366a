"""The chain rule of one loss, written out path by path with its numbers, as text and as LaTeX.

    ∂L_t/∂W = Σ_k (∂L_t/∂s_t) (∂s_t/∂s_k) (∂⁺s_k/∂W) = Σ_k δ_{t,k} s_{k−1}ᵀ

`∂⁺s_k/∂W` is the immediate derivative, with s_{k−1} held constant (Werbos, 1990; Pascanu et al., 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from throughtime.anatomy.gradient import Anatomy

NEAREST, LARGEST = 6, 6
"""Paths written out: the nearest to the loss, and the largest of the others."""


class Path(NamedTuple):
    """The numbers of one path (t, k)."""

    k: int
    delta_norm: float
    """‖δ_{t,k}‖"""
    input_norm: float
    """‖s_{k−1}‖"""
    norm: float
    """‖G[t,k]‖"""
    share: float
    """⟨G[t,k], G⟩ / ⟨G, G⟩"""


@dataclass(frozen=True)
class Derivation:
    """∂L_t/∂W written out; `str()` of it is the text."""

    t: int
    loss: float
    """L_t in nats"""
    error_norm: float
    """‖e_t‖, over the loss's normaliser"""
    paths: tuple[Path, ...]
    """Every path, the nearest to the loss first."""
    direct: bool
    """Whether the loss enters the recurrence at its own step alone (no layer in between)."""
    reverse: bool
    formulas: tuple[str, ...] = ()
    """What the cell computes at a step, and on the way back; empty for an Elman recurrence, whose formulas are written out."""

    @property
    def norm_sum(self) -> float:
        """Σ_k ‖G[t,k]‖."""
        return sum(p.norm for p in self.paths)

    @property
    def share(self) -> float:
        """Σ_k of the shares: what L_t adds to the gradient."""
        return sum(p.share for p in self.paths)

    @property
    def written(self) -> tuple[Path, ...]:
        """The paths that are written out, nearest first; `rest` are the others."""
        others = sorted(self.paths[NEAREST:], key=lambda p: -p.norm)[:LARGEST]
        return self.paths[:NEAREST] + tuple(sorted(others, key=lambda p: abs(self.t - p.k)))

    @property
    def rest(self) -> tuple[Path, ...]:
        return tuple(p for p in self.paths if p not in self.written)

    @property
    def _ends(self) -> tuple[int, int]:
        return min(p.k for p in self.paths), max(p.k for p in self.paths)

    @property
    def text(self) -> str:
        """The derivation in Unicode."""
        t, (first, last) = self.t, self._ends
        before = "k+1" if self.reverse else "k−1"
        after = "k−1" if self.reverse else "k+1"
        source = f"Vᵀ e_{t}" if self.direct else f"∂L_{t}/∂s_{t}"
        more = "" if self.direct else f" + ∂L_{t}/∂s_k through the layers above"
        lines = [
            f"∂L_{t}/∂W = Σ_k (∂L_{t}/∂s_{t}) (∂s_{t}/∂s_k) (∂⁺s_k/∂W) = Σ_k δ_{t},k s_{before}ᵀ    k = {first}..{last}",
            f"δ_{t},{t} = σ′(a_{t}) ⊙ {source}    δ_{t},k = σ′(a_k) ⊙ (Wᵀ δ_{t},{after}{more})",
        ]
        if self.formulas:
            lines = [
                f"∂L_{t}/∂W = Σ_k δ_{t},k s_{before}ᵀ    k = {first}..{last}    δ: by the result of the product with W",
                *(f"    {line}" for line in self.formulas),
            ]
        lines += [
            f"L_{t} = {self.loss:.4g} nats    ‖e_{t}‖ = {self.error_norm:.4g}    "
            f"Σ_k ‖G[{t},k]‖ = {self.norm_sum:.4g}    share of ∂L/∂W: {self.share:+.2%}",
            "",
            f"{'k':>6} {'‖δ‖':>10} {'‖s‖ before':>11} {'‖G[t,k]‖':>10} {'share':>9}   path",
        ]
        lines += [
            f"{p.k:>6} {p.delta_norm:>10.3g} {p.input_norm:>11.3g} {p.norm:>10.3g} {p.share:>+9.3%}   {self._product(p.k)}"
            for p in self.written
        ]
        if self.rest:
            total = sum(p.norm for p in self.rest)
            share = sum(p.share for p in self.rest)
            lines.append(f"{len(self.rest):>6} more paths, together {total:>15.3g} {share:>+9.3%}")
        return "\n".join(lines)

    @property
    def latex(self) -> str:
        """The derivation as a LaTeX `aligned` environment (for display mode; needs amsmath)."""
        t, (first, last) = self.t, self._ends
        before = "k+1" if self.reverse else "k-1"
        lines = [
            rf"\frac{{\partial L_{{{t}}}}}{{\partial W}} &= \sum_{{k={first}}}^{{{last}}} "
            rf"\frac{{\partial L_{{{t}}}}}{{\partial s_{{{t}}}}} \frac{{\partial s_{{{t}}}}}{{\partial s_k}} "
            rf"\frac{{\partial^{{+}} s_k}}{{\partial W}} = \sum_{{k={first}}}^{{{last}}} "
            rf"\delta_{{{t},k}}\, s_{{{before}}}^{{\top}}, \qquad L_{{{t}}} = {_number(self.loss)}"
        ]
        for p in self.written:
            lines.append(
                rf"G[{t},{p.k}] &= {self._product_latex(p.k)}, & \lVert\cdot\rVert &= {_number(p.norm)}, & "
                rf"{100 * p.share:+.3f}\,\%"
            )
        if self.rest:
            total = sum(p.norm for p in self.rest)
            share = sum(p.share for p in self.rest)
            lines.append(
                rf"\text{{{len(self.rest)} more}} & & \textstyle\sum\lVert\cdot\rVert &= {_number(total)}, & "
                rf"{100 * share:+.3f}\,\%"
            )
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def __str__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex}$"

    def _walk(self, k: int) -> list[int]:
        """The steps whose Jacobians the path (t, k) multiplies, from k to t."""
        return list(range(k, self.t + 1)) if k <= self.t else list(range(k, self.t - 1, -1))

    def _product(self, k: int) -> str:
        previous = k + 1 if self.reverse else k - 1
        if not self.direct or self.formulas:
            return f"δ_{self.t},{k} s_{previous}ᵀ"
        steps = [f"σ′{j}" for j in self._walk(k)]
        if len(steps) > 4:
            steps = [*steps[:2], "⋯", steps[-1]]
        return f"{' Wᵀ '.join(steps)} Vᵀe_{self.t} s_{previous}ᵀ"

    def _product_latex(self, k: int) -> str:
        previous = k + 1 if self.reverse else k - 1
        if not self.direct or self.formulas:
            return rf"\delta_{{{self.t},{k}}}\, s_{{{previous}}}^{{\top}}"
        steps = [rf"\Sigma'_{{{j}}}" for j in self._walk(k)]
        if len(steps) > 4:
            steps = [*steps[:2], r"\cdots", steps[-1]]
        product = r" W^{\top} ".join(steps)
        return rf"{product} V^{{\top}} e_{{{self.t}}}\, s_{{{previous}}}^{{\top}}"


def _number(value: float) -> str:
    """A number in LaTeX: 1.2·10⁻⁷ rather than 1.2e-07."""
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    return rf"{mantissa}\cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def derive(a: Anatomy, t: int, instance: int) -> Derivation:
    """The derivation of L_t of one instance from the arrays of an anatomy; t counted from 1."""
    unrolled, length = a.unrolled, a.unrolled.lengths[instance]
    norms, shares, delta, losses = (
        array if a.B == 1 else array[instance]
        for array in (a.W.norms[..., t - 1, :], a.W.shares[..., t - 1, :], a.delta_norms[..., t - 1, :], a.losses)
    )
    previous = (norms / delta).nan_to_num()
    order = sorted((k for k in range(1, length + 1) if not norms[k - 1].isnan()), key=lambda k: (abs(t - k), k))
    return Derivation(
        t=t,
        loss=float(losses[t - 1]),
        error_norm=float(torch.linalg.vector_norm(unrolled.errors[t - 1, instance].double())),
        paths=tuple(
            Path(k, float(delta[k - 1]), float(previous[k - 1]), float(norms[k - 1]), float(shares[k - 1]))
            for k in order
        ),
        direct=unrolled.layer == len(unrolled.layers) - 1,
        reverse=unrolled.chosen.reverse,
        formulas=unrolled.chosen.formulas,
    )
