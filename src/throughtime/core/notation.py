"""The notation of the library and every check of a public argument.

    B   instances (sequences)      x_t [n]   input of step t             U [d, n]   input to state
    T   steps                      a_t [d]   pre-activation              W [d, d]   state to state
    n   inputs                     s_t [d]   state σ(a_t)                b [d]      bias of the state
    d   states                     z_t [k]   logits V s_t + c            V [k, d]   state to output
    k   classes                    ŷ_t [k]   softmax(z_t)                c [k]      bias of the output

Every check raises `ValueError` (a wrong value or shape) or `TypeError` (a wrong kind of object or dtype) with one line that
names the argument, what was expected and what was found.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from throughtime.core.dispatch import readable
from throughtime.untrusted.showing import did_you_mean

NONLINEARITIES = ("tanh", "relu", "logistic", "identity")
REDUCTIONS = ("sequence", "token")
IGNORED = -100
"""The label of a step that has no loss, as in `torch.nn.functional.cross_entropy`."""

SHAPES = {"U": ("d", "n"), "W": ("d", "d"), "V": ("k", "d"), "b": ("d",), "c": ("k",)}
"""The parameters of an Elman network in the order of the formula d·n + d·d + k·d + d + k."""


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a `value` that is not one of `choices`."""
    if value not in choices:
        meant = did_you_mean(value, choices)
        hint = "" if meant is None else f"; did you mean {meant!r}?"
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, found {value!r}{hint}")


LARGEST = (1 << 63) - 1
"""The largest size or seed: whole numbers have 64 bits wherever they become one."""


def check_positive(name: str, value: Any) -> int:
    """Return `value` if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number, found {value!r} of type {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, found {value}")
    return value


def check_rate(name: str, value: Any, others: str = "") -> None:
    """Refuse what is no number above 0; `others` says what else the argument may be."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a positive number{others}, found {value!r} of type {type(value).__name__}")
    if not value > 0:  # type: ignore[operator]
        raise ValueError(f"{name}: expected a positive number{others}, found {value}")


def check_size(name: str, value: Any) -> int:
    """Return `value` if it can be the size of an axis: a whole number from 1 to 2^63 − 1."""
    if check_positive(name, value) > LARGEST:
        raise ValueError(f"{name}: expected at most 2^63 − 1, found {value}")
    return value


def check_seed(seed: Any) -> int:
    """Return `seed` if every generator takes it: a whole number from 0 to 2^63 − 1."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed: expected a whole number, found {seed!r} of type {type(seed).__name__}")
    whole = operator.index(seed)
    if not 0 <= whole <= LARGEST:
        raise ValueError(f"seed: expected a whole number from 0 to 2^63 − 1, found {seed}")
    return whole


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def check_shape(name: str, tensor: Any, letters: Sequence[str], expected: Sequence[int | None]) -> None:
    """Refuse anything but a tensor of shape `expected`; None stands for any size, `letters` names the axes in the message."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    shape = tensor.shape
    if shape == expected:
        return
    if len(expected) == len(shape) and all(e is None or e == f for e, f in zip(expected, shape, strict=True)):
        return
    named = ", ".join(a if e is None else f"{a}={e}" for a, e in zip(letters, expected, strict=True))
    raise ValueError(f"{name}: expected shape [{named}], found {_shape(tensor.shape)}")


_SYMBOL_TYPES = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def is_symbols(x: Tensor) -> bool:
    """Whether `x` holds integer symbols (one-hot vectors by their index) rather than float vectors."""
    return x.dtype in _SYMBOL_TYPES


def check_inputs(x: Any, n: int, dtype: torch.dtype) -> tuple[int, int]:
    """Check inputs [B, T, n] of `dtype`, or integer symbols [B, T] in 0..n−1 (their range is checked where they are read).

    Returns (B, T).
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor, found {type(x).__name__}")
    if is_symbols(x):
        check_shape("x (integer symbols)", x, ("B", "T"), (None, None))
    else:
        if x.dtype != dtype:
            raise TypeError(f"x: expected {dtype} like the parameters, or integer symbols, found {x.dtype}")
        check_shape("x", x, ("B", "T", "n"), (None, None, n))
    B, T = x.shape[:2]
    if B == 0 or T == 0:
        raise ValueError(f"x: expected at least one instance and one step, found shape {_shape(x.shape)}")
    return B, T


def check_lengths(lengths: Any, B: int, T: int) -> Tensor | None:
    """Return `lengths` as an int64 tensor [B] on the CPU, each in 1..T; None where every row is whole."""
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor):
        try:
            lengths = torch.as_tensor(lengths)
        except (TypeError, ValueError, RuntimeError):  # no numbers, or none of 64 bits
            raise ValueError(f"lengths: expected whole numbers from 1 to T={T}, found {str(lengths)[:60]}") from None
    if lengths.dtype != torch.int64:
        if lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise TypeError(f"lengths: expected whole numbers, found {lengths.dtype}")
        if lengths.dtype == torch.uint64 and (lengths.long() < 0).any():  # those that int64 has no room for
            raise ValueError(f"lengths: expected whole numbers from 1 to T={T}, found {str(lengths.tolist())[:60]}")
        lengths = lengths.long()
    if lengths.device.type != "cpu":
        lengths = lengths.cpu()
    if lengths.shape != (B,):
        raise ValueError(f"lengths: expected shape [B={B}], found {_shape(lengths.shape)}")
    if not readable(lengths):  # a graph is made for any lengths
        return lengths
    low, high = (v.item() for v in lengths.aminmax())
    if low < 1 or high > T:
        row = int(((lengths < 1) | (lengths > T)).nonzero()[0])
        raise ValueError(f"lengths: expected 1 to T={T} steps, found {int(lengths[row])} in row {row}")
    return None if low == T else lengths


def check_starts(starts: Any, shape: Sequence[int], batch_first: bool) -> None:
    """Refuse marks of pieces that are not bool of `shape`, [B, T] with `batch_first`, else [T, B]."""
    check_shape("starts", starts, ("B", "T") if batch_first else ("T", "B"), shape)
    if starts.dtype != torch.bool:
        raise TypeError(f"starts: expected torch.bool, found {starts.dtype}")


def check_labels(y: Any, B: int, T: int) -> Tensor:
    """Return labels `y` as int64 [B, T] (their range is checked by `check_label_range`)."""
    check_shape("y", y, ("B", "T"), (B, T))
    if y.dtype != torch.int64:
        if not is_symbols(y):
            raise TypeError(f"y: expected integer labels, found {y.dtype}")
        y = y.long()
    return y


def check_sample_weight(weights: Any, B: int, T: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return weights, [B] of whole rows or [B, T] of their steps, as [B, T] of a dtype on a device."""
    weights = torch.as_tensor(weights)
    if weights.is_complex() or weights.dtype == torch.bool:
        raise TypeError(f"sample_weight: expected numbers, found {weights.dtype}")
    if weights.shape not in ((B,), (B, T)):
        raise ValueError(f"sample_weight: expected shape [B={B}] or [B={B}, T={T}], found {_shape(weights.shape)}")
    weights = weights.to(device, dtype)
    if readable(weights) and not (weights.isfinite() & (weights >= 0)).all():
        raise ValueError("sample_weight: expected finite numbers of 0 or more, found others")
    return weights if weights.dim() == 2 else weights.unsqueeze(1).expand(B, T)


def check_label_range(y: Tensor, k: int, lengths: Tensor | None) -> None:
    """Refuse a label outside 0..k−1 that is not −100, in the steps that `lengths` leaves; y [B, T]."""
    _check_range("y: label", y, k, lengths, ignored=IGNORED)


def check_symbol_range(x: Tensor, n: int, lengths: Tensor | None) -> None:
    """Refuse a symbol outside 0..n−1 in the steps that `lengths` leaves; x [B, T]."""
    _check_range("x: symbol", x, n, lengths, ignored=None)


def _check_range(what: str, values: Tensor, size: int, lengths: Tensor | None, ignored: int | None) -> None:
    low, high = values.aminmax()
    if low.item() >= 0 and high.item() < size:
        return
    bad = (values < 0) | (values >= size)
    if ignored is not None:
        bad &= values != ignored
    bad &= real_steps(values.shape[1], lengths, values.device)
    if bad.any():
        row, step = (int(i) for i in bad.nonzero()[0])
        allowed = f"0 to {size - 1}" + ("" if ignored is None else f" (or {ignored}, ignored)")
        raise ValueError(f"{what} in row {row}, step {step}: expected {allowed}, found {int(values[row, step])}")


def check_finite(x: Tensor, lengths: Tensor | None) -> None:
    """Refuse NaN or infinity in the steps of x [B, T, n] that `lengths` leaves; padding may hold anything.

    The sum of all elements answers the common case in one pass; only when it is not finite is each element looked at.
    """
    if math.isfinite((x.detach() if x.requires_grad else x).sum().item()):
        return
    bad = ~torch.isfinite(x) & real_steps(x.shape[1], lengths, x.device).unsqueeze(-1)
    if bad.any():
        row, step, i = (int(j) for j in bad.nonzero()[0])
        raise ValueError(
            f"x in row {row}, step {step}, input {i}: expected a finite number, found {x[row, step, i].item()}"
        )


def real_steps(T: int, lengths: Tensor | None, device: torch.device) -> Tensor:
    """Which steps are not padding: bool [B, T], or [1, T] all true without `lengths`."""
    if lengths is None:
        return torch.ones(1, T, dtype=torch.bool, device=device)
    return torch.arange(T, device=device) < lengths.to(device).unsqueeze(1)
