"""Random draws from a generator that is given, in place of PyTorch's global one, which all threads share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

_given: ContextVar[torch.Generator | None] = ContextVar("generator", default=None)


@contextmanager
def drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """Within it, `dropout` in this thread draws from `generator`; None: as before."""
    token = _given.set(generator or _given.get())
    try:
        yield
    finally:
        _given.reset(token)


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x with each number zeroed with probability p, and the others scaled by 1 / (1 − p): what `torch.nn.functional.dropout`
    makes of it with the same state of the generator; x itself where p is 0, or not `training`."""
    generator = None if torch.compiler.is_compiling() else _given.get()
    if generator is None or not training or p in (0, 1):  # then nothing is drawn
        return F.dropout(x, p, training)
    return x * torch.empty_like(x).bernoulli_(1 - p, generator=generator).div_(1 - p)
