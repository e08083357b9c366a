"""The loss of every step, and its two averages.

    L_t = −log ŷ_t[y_t],   ŷ_t = softmax(z_t)          e_t = ∂L_t/∂z_t = ŷ_t − onehot(y_t)

    For values ŷ_t [k] in place of classes, L_t = the mean over j of (ŷ_tj − y_tj)²; a value y_tj that is NaN is left out.

    reduction "sequence":  L = (1/B) Σ_i Σ_t L_t^(i)         summed over the steps, averaged over the B instances
    reduction "token":     L = (1/N) Σ_i Σ_t L_t^(i)         averaged over the N steps that count

A step counts when it is within its row's length and its label is not −100 (or its values are not all NaN). Where no step
counts, the loss is 0.
Layout: logits z [T, B, k], labels y [T, B] int64; any other leading axes serve as well.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.notation import IGNORED, real_steps


def counted_labels(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Labels [T, B] with every padded step set to the ignored label −100."""
    if lengths is None:
        return y
    return y.where(real_steps(y.shape[0], lengths, y.device).T, IGNORED)


def normalizer(y: Tensor, reduction: str) -> int | Tensor:
    """What the sum of all step losses is divided by: B for "sequence", the number of steps that count for "token"."""
    return y.shape[1] if reduction == "sequence" else (y != IGNORED).sum().clamp_min(1)


def step_losses(z: Tensor, y: Tensor) -> Tensor:
    """L_t of every step [T, B] in nats; 0 where the label is −100."""
    return F.cross_entropy(z.flatten(0, -2), y.flatten(), ignore_index=IGNORED, reduction="none").view(y.shape)


def cross_entropy(z: Tensor, y: Tensor, lengths: Tensor | None, reduction: str) -> Tensor:
    """The loss L (scalar, differentiable) of logits z [T, B, k] and labels y [T, B]."""
    y = counted_labels(y, lengths)
    total = F.cross_entropy(z.flatten(0, -2), y.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / normalizer(y, reduction)


def squared_error(values: Tensor, y: Tensor, lengths: Tensor | None, reduction: str) -> Tensor:
    """The loss L (scalar, differentiable) of values and targets y, both [T, B, k]."""
    known = ~y.isnan()
    if lengths is not None:
        known &= real_steps(y.shape[0], lengths, y.device).T.unsqueeze(-1)
    count = known.sum(-1)
    total = ((values - y).where(known, 0.0).square().sum(-1) / count.clamp_min(1)).sum()
    return total / (y.shape[1] if reduction == "sequence" else count.count_nonzero().clamp_min(1))


def errors(z: Tensor, y: Tensor) -> Tensor:
    """e_t = ŷ_t − onehot(y_t) of every step [T, B, k]; 0 where the label is −100."""
    counted = (y != IGNORED).unsqueeze(-1)
    e = torch.softmax(z, -1).where(counted, 0.0)
    return e.scatter_add_(-1, y.clamp_min(0).unsqueeze(-1), -counted.to(e.dtype))
