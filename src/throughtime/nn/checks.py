"""Checks of arguments that layers and cells share, with the types of error of torch.nn's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from throughtime.core.notation import LARGEST, NONLINEARITIES


def check_nonlinearity(nonlinearity: Any) -> None:
    """Refuse what is none, in torch.nn.RNN's words."""
    if nonlinearity not in NONLINEARITIES:
        *names, last = map(repr, NONLINEARITIES)
        raise ValueError(f"Unknown nonlinearity {nonlinearity!r}. Select from {', '.join(names)} or {last}.")


def check_sizes(**sizes: Any) -> None:
    """Refuse what torch.nn's layers do not name: sizes of more than 64 bits, truth values, and whatever else is no number."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size > LARGEST:
            raise ValueError(f"{name}: expected at most 2^63 − 1, found {size}")


def refuse_unknown(layer: str, options: Mapping[str, Any]) -> None:
    """Refuse arguments that a layer does not have, in torch.nn's words where it has some."""
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if options:
        raise TypeError(f"{layer}: unknown argument {next(iter(options))!r}")


def check_step(cell: str, input: Tensor, hx: Tensor | None, input_size: int, hidden_size: int) -> None:
    """Refuse what is no input [B, n] or [n] of one step and no state [B, d] or [d] that belongs to it."""
    if input.dim() not in (1, 2):
        raise ValueError(f"{cell}: Expected input to be 1D or 2D, got {input.dim()}D instead")
    if input.shape[-1] != input_size:
        raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {input_size}")
    if hx is None:
        return
    if hx.dim() not in (1, 2):
        raise ValueError(f"{cell}: Expected hidden to be 1D or 2D, got {hx.dim()}D instead")
    if hx.dim() != input.dim():
        raise ValueError(f"{cell}: Expected hidden to be {input.dim()}D like the input, got {hx.dim()}D instead")
    if hx.shape[-1] != hidden_size:
        raise RuntimeError(f"hidden0 has inconsistent hidden_size: got {hx.shape[-1]}, expected {hidden_size}")
    if hx.shape[:-1] != input.shape[:-1]:
        raise RuntimeError(f"Input batch size {len(input)} doesn't match hidden0 batch size {len(hx)}")
