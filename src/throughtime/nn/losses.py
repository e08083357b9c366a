"""Losses in the place of torch.nn's."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.nn.functional import linear_cross_entropy


class LinearCrossEntropyLoss(torch.nn.LinearCrossEntropyLoss):
    """torch.nn.LinearCrossEntropyLoss: a linear layer and the cross-entropy of what it gives, by
    `throughtime.nn.functional.linear_cross_entropy`. Arguments, parameters and state_dict are PyTorch's."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """input [N, in_features], target int64 [N] -> the loss."""
        if self.out_features or type(self.linear) is not torch.nn.Linear:
            return super().forward(input, target)
        return linear_cross_entropy(
            input, self.linear.weight, target, linear_bias=self.linear.bias, weight=self.weight, reduction=self.reduction,
            ignore_index=self.ignore_index, label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip
