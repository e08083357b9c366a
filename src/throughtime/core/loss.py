"""The loss of every step, and its two averages.

    L_t = −log ŷ_t[y_t],   ŷ_t = softmax(z_t)          e_t = ∂L_t/∂z_t = ŷ_t − onehot(y_t)

    For values ŷ_t [k] in place of classes, L_t = the mean over j of (ŷ_tj − y_tj)²; a value y_tj that is NaN is left out.

    reduction "sequence":  L = (1/B) Σ_i Σ_t L_t^(i)         summed over the steps, averaged over the B instances
    reduction "token":     L = (1/N) Σ_i Σ_t L_t^(i)         averaged over the N steps that count

With weights w_t ≥ 0 of the steps, each L_t is multiplied by its own, and sums of weights take the place of the counts: of B,
the mean weights of the rows, added up (where each row has one weight, their sum); of N, the weights of the steps that count.

A step counts when it is within its row's length and its label is not −100 (or its values are not all NaN). Where no step
counts, the loss is 0.
Layout: logits z [T, B, k], labels y [T, B] int64, weights [T, B]; any other leading axes serve as well.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.core.notation import IGNORED, real_steps


def counted_labels(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Labels [T, B] with every padded step set to the ignored label −100."""
    if lengths is None:
        return y
    return y.where(real_steps(y.shape[0], lengths, y.device).T, IGNORED)


def normalizer(y: Tensor, reduction: str) -> int | Tensor:
    """What the sum of all step losses is divided by: B for "sequence", the number of steps that count for "token"."""
    return y.shape[1] if reduction == "sequence" else (y != IGNORED).sum().clamp_min(1)


def weight_sum(weights: Tensor, counted: Tensor, lengths: Tensor | None, reduction: str) -> Tensor:
    """What the weighted sum of all step losses is divided by; `counted` [T, B]: which steps count."""
    if reduction == "token":
        return weights.where(counted, 0.0).sum()
    real = real_steps(weights.shape[0], lengths, weights.device).T
    return (weights.where(real, 0.0).sum(0) / real.sum(0)).sum()


def step_losses(z: Tensor, y: Tensor) -> Tensor:
    """L_t of every step [T, B] in nats; 0 where the label is −100."""
    return F.cross_entropy(z.flatten(0, -2), y.flatten(), ignore_index=IGNORED, reduction="none").view(y.shape)


def cross_entropy(
    z: Tensor, y: Tensor, lengths: Tensor | None, reduction: str, weights: Tensor | None = None
) -> Tensor:
    """The loss L (scalar, differentiable) of logits z [T, B, k] and labels y [T, B]."""
    y = counted_labels(y, lengths)
    if weights is not None:
        return _weighted(step_losses(z, y), weights, y != IGNORED, lengths, reduction)
    total = F.cross_entropy(z.flatten(0, -2), y.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / normalizer(y, reduction)


def squared_error(
    values: Tensor, y: Tensor, lengths: Tensor | None, reduction: str, weights: Tensor | None = None
) -> Tensor:
    """The loss L (scalar, differentiable) of values and targets y, both [T, B, k]."""
    known = ~y.isnan()
    if lengths is not None:
        known &= real_steps(y.shape[0], lengths, y.device).T.unsqueeze(-1)
    count = known.sum(-1)
    losses = (values - y).where(known, 0.0).square().sum(-1) / count.clamp_min(1)
    if weights is not None:
        return _weighted(losses, weights, count > 0, lengths, reduction)
    return losses.sum() / (y.shape[1] if reduction == "sequence" else count.count_nonzero().clamp_min(1))


def _weighted(losses: Tensor, weights: Tensor, counted: Tensor, lengths: Tensor | None, reduction: str) -> Tensor:
    """The weighted loss of step losses [T, B], which are 0 where `counted` is False; 0 where no weight is left."""
    norm = weight_sum(weights, counted, lengths, reduction)
    return (losses * weights.where(counted, 0.0)).sum() / norm.where(norm > 0, 1.0)


def errors(z: Tensor, y: Tensor) -> Tensor:
    """e_t = ŷ_t − onehot(y_t) of every step [T, B, k]; 0 where the label is −100."""
    counted = (y != IGNORED).unsqueeze(-1)
    e = torch.softmax(z, -1).where(counted, 0.0)
    return e.scatter_add_(-1, y.clamp_min(0).unsqueeze(-1), -counted.to(e.dtype))
