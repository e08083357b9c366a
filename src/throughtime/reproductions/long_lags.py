"""Data of the long time lag problems of Hochreiter & Schmidhuber (1997, sections 5.4 and 5.6)."""

from __future__ import annotations

import torch
from torch import Tensor

SYMBOLS = "EBXYabcd"
"""Of the temporal order problem: the first, the last, the two whose order tells the class, and distractors."""


def adding(number: int, T: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences of T to T + T/10 steps, each a number in [−1, 1] and a mark; two of the numbers are marked by 1, one among the
    first ten, and another before the middle; the ends have the mark −1.

    Returns: x [number, longest, 2], the target 0.5 + (X₁ + X₂)/4 [number, 1], lengths [number].
    """
    lengths = torch.randint(T, T + T // 10 + 1, (number,), generator=generator)
    row = torch.arange(number)
    x = torch.zeros(number, int(lengths.max()), 2)
    x[..., 0] = 2 * torch.rand(x.shape[:2], generator=generator) - 1
    x[:, 0, 1], x[row, lengths - 1, 1] = -1, -1
    first = torch.randint(min(10, T // 2 - 1), (number,), generator=generator)
    second = torch.randint(T // 2 - 2, (number,), generator=generator)
    second = second + (second >= first)  # any step but the first marked one
    x[row, first, 1], x[row, second, 1] = 1, 1
    numbers = [x[row, at, 0].where(at > 0, 0.0) for at in (first, second)]  # a marked first step counts as 0
    return x, (0.5 + (numbers[0] + numbers[1]) / 4).unsqueeze(1), lengths


def temporal_order(number: int, T: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences of T to T + T/10 symbols of `SYMBOLS`: E, distractors, B at the end; and at a step from T/10 to T/5 and at one
    from T/2 to 6T/10 an X or a Y.

    Returns: x [number, longest], the class 0 to 3 (XX, XY, YX, YY) [number], lengths [number].
    """
    lengths = torch.randint(T, T + T // 10 + 1, (number,), generator=generator)
    row = torch.arange(number)
    x = torch.randint(4, 8, (number, int(lengths.max())), generator=generator)
    x[:, 0], x[row, lengths - 1] = 0, 1
    chosen = torch.randint(2, (number, 2), generator=generator)
    for i, (low, high) in enumerate(((T // 10, T // 5), (T // 2, 6 * T // 10))):
        x[row, torch.randint(low, high + 1, (number,), generator=generator)] = 2 + chosen[:, i]
    return x, 2 * chosen[:, 0] + chosen[:, 1], lengths
