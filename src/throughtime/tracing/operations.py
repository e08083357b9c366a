"""PyTorch's elementwise operations as instructions of a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from throughtime.programs.program import OPERATIONS
from throughtime.tracing.refusal import line_of_trace, refuse
from throughtime.tracing.sheet import Numbers, Sheet

NAMES = {
    "sgn": "sign", "bitwise_not": "logical_not", "bitwise_and": "logical_and", "bitwise_or": "logical_or",
    "logical_xor": "ne", "bitwise_xor": "ne", "clamp_min": "clamp", "clamp_max": "clamp", "true_divide": "div", "erf": "erf",
}  # fmt: skip
"""Operations that go by another name in a program."""

TRUTH = {"mul": "logical_and", "add": "logical_or", "minimum": "logical_and", "maximum": "logical_or"}
"""What arithmetic comes to between truth values."""

Operand = Numbers | float
Make = Callable[..., Numbers]


def elementwise(sheet: Sheet, q: fx.Node, name: str, operands: Sequence[Any], shape: tuple[int, ...]) -> Numbers:
    """The units of one of PyTorch's operations.

    Raises: KeyError: an operation that no program has.
    """

    def do(op: str, *values: Any) -> Numbers:
        return sheet.elementwise(op, [float(v) if isinstance(v, bool | int) else v for v in values], shape)

    if q.meta["val"].dtype == torch.bool and name in TRUTH:
        return do(TRUTH[name], *operands)
    if not _stays_real(q):
        raise refuse(
            f"{name} of whole numbers or truth values", line_of_trace(q.stack_trace), "convert them to float first"
        )
    if name in SPECIAL:
        return SPECIAL[name](do, *operands, **q.kwargs)
    name = NAMES.get(name, name)
    if name not in OPERATIONS or name in ("row_sum", "row_max"):
        raise KeyError(name)
    return do(name, *operands)


def _stays_real(q: fx.Node) -> bool:
    """Whether an operation's result is a real number, or a truth value that a comparison or a logical operation made."""
    name = getattr(q.target, "__name__", "").split(".")[0]
    truth = ("gt", "lt", "ge", "le", "eq", "ne", "where", "clone", "_to_copy", "isnan")
    return q.meta["val"].dtype.is_floating_point or name in truth or name.startswith(("logical_", "bitwise_"))


def _scaled(op: str) -> Make:
    """a ± alpha b."""

    def make(do: Make, a: Operand, b: Operand, alpha: float = 1) -> Numbers:
        return do(op, a, b if alpha == 1 else do("mul", b, alpha))

    return make


def _power(do: Make, base: Operand, exponent: Any) -> Numbers:
    """Small whole exponents as products, which are quicker and exact where PyTorch's are."""
    if not isinstance(exponent, int | float):
        return do("pow", base, exponent)
    plain: dict[float, Callable[[], Numbers]] = {
        0: lambda: do("add", do("mul", base, 0.0), 1.0),
        1: lambda: do("copy", base),
        2: lambda: do("mul", base, base),
        3: lambda: do("mul", do("mul", base, base), base),
        0.5: lambda: do("sqrt", base),
        -0.5: lambda: do("rsqrt", base),
        -1: lambda: do("reciprocal", base),
        -2: lambda: do("reciprocal", do("mul", base, base)),
    }
    return plain[exponent]() if exponent in plain else do("pow", base, exponent)


def _clamp(do: Make, v: Operand, low: Any = None, high: Any = None) -> Numbers:
    return do("clamp", v, -math.inf if low is None else low, math.inf if high is None else high)


def _threshold_backward(do: Make, g: Operand, v: Operand, threshold: float) -> Numbers:
    return do("relu_backward", g, v if threshold == 0 else do("sub", v, threshold))


def _convert(do: Make, v: Operand, dtype: torch.dtype | None = None, **_: Any) -> Numbers:
    if dtype != torch.bool:
        raise KeyError("_to_copy")
    return do("ne", v, 0.0)


SPECIAL: dict[str, Make] = {
    "add": _scaled("add"),
    "sub": _scaled("sub"),
    "pow": _power,
    "clamp": _clamp,
    "clamp_min": lambda do, v, low: _clamp(do, v, low),
    "clamp_max": lambda do, v, high: _clamp(do, v, None, high),
    "threshold_backward": _threshold_backward,
    "square": lambda do, v: do("mul", v, v),
    "exp2": lambda do, v: do("exp", do("mul", v, math.log(2))),
    "log2": lambda do, v: do("mul", do("log", v), 1 / math.log(2)),
    "log10": lambda do, v: do("mul", do("log", v), 1 / math.log(10)),
    "_to_copy": _convert,
    "isnan": lambda do, v: do("ne", v, v),
    "sinh": lambda do, v: do("mul", do("sub", do("exp", v), do("exp", do("neg", v))), 0.5),
    "cosh": lambda do, v: do("mul", do("add", do("exp", v), do("exp", do("neg", v))), 0.5),
}
"""Operations with options, or made of several: f(do, operands, options), where do(name, operands) adds an instruction."""
