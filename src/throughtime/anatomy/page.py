"""The page of an anatomy: one file of HTML that holds its own style, script and numbers, and asks no network for anything.

The [T, T] arrays travel as float32 with a mantissa of 13 bits (four digits), byte by byte in planes, deflated; a page of
T = 1000 stays under 10 MB. Paths to W and U need no arrays of their own: ‖G[t,k]‖ = ‖δ_{t,k}‖ times the size of step k's input.
"""

from __future__ import annotations

import base64
import html
import json
import math
import os
import re
import zlib
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from throughtime.anatomy.measures import in_steps
from throughtime.anatomy.plots import SIGNED, SIZES
from throughtime.data.files import write_atomically
from throughtime.untrusted.showing import visible

if TYPE_CHECKING:
    from throughtime.anatomy.gradient import Anatomy
    from throughtime.anatomy.paths import Paths

MANTISSA = 13
LONGEST = 1000


def write_page(
    a: Anatomy,
    path: str | os.PathLike[str],
    **options: Any,
) -> None:
    """Write the page of one instance of an anatomy.

    Args:
        a, options: as in `page`.
        path: the file to write.

    Raises:
        ValueError: as `page`.
        OSError: the file cannot be written.
    """
    write_atomically(path, page(a, **options))


def page(
    a: Anatomy,
    *,
    instance: int = 0,
    symbols: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    title: str = "Anatomy of the gradient",
) -> str:
    """The page of one instance of an anatomy, as HTML.

    Args:
        a: the anatomy; its curves and verdict are over the whole batch.
        instance: which of the batch the maps and paths show, from 0.
        symbols: what each step's input is called, at least one for each step of the instance.
        targets: what each step is to be predicted as.
        title: heading of the page.

    Raises:
        ValueError: the instance has more than 1000 steps, or `symbols` or `targets` are too few.
    """
    if not 0 <= instance < a.B:
        raise ValueError(f"instance: expected 0 to {a.B - 1}, found {instance}")
    length = a.unrolled.lengths[instance]
    if length > LONGEST:
        raise ValueError(f"instance {instance}: expected at most {LONGEST} steps for a page, found {length}")
    for name, given in (("symbols", symbols), ("targets", targets)):
        if given is not None and len(given) < length:
            raise ValueError(f"{name}: expected one for each of {length} steps, found {len(given)}")
    content = _content(a, instance, length)
    content["symbols"] = None if symbols is None else list(symbols[:length])
    content["targets"] = None if targets is None else list(targets[:length])
    content["spaced"] = symbols is not None and any(len(s) > 1 for s in symbols[:length])
    parts = {
        "title": html.escape(visible(title)),
        "verdict": html.escape(a.verdict),
        "style": _part("page.css"),
        "script": "\n".join(map(_part, ("page.js", "page_loss.js", "page_curves.js"))),
        "data": visible(json.dumps(content, ensure_ascii=False, allow_nan=False)).replace("<", "\\u003c"),
    }
    pieces = re.split(
        r"\{\{(\w+)\}\}", _part("page.html")
    )  # text and names in turn: what is put in is not searched again
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _part(name: str) -> str:
    return resources.files("throughtime.anatomy").joinpath(name).read_text(encoding="utf-8")


def _content(a: Anatomy, instance: int, length: int) -> dict[str, Any]:
    """What the page shows, without NaN (None stands for it)."""
    u = a.unrolled
    delta, jacobian = _square(a, a.delta_norms, instance), _square(a, a.jacobian_norms, instance)
    losses = _steps(a, a.losses, instance)
    paths = _parameters(a)
    arrays = {"delta": _packed(delta), "jacobian": _packed(jacobian, 8)}
    arrays |= {f"share_{p}": _packed(_square(a, found.shares, instance)) for p, found in paths.items()}
    sizes = {}
    for p, found in paths.items():
        norms = _square(a, found.norms, instance)
        size = _common_size(norms, delta)
        if size is None:
            arrays[f"norm_{p}"] = _packed(norms)
        else:
            sizes[p] = size
    half_life = in_steps(a.half_life) + ("" if math.isinf(a.half_life) else " steps")
    return {
        "T": length,
        "length": length,
        "chosen": max(range(length), key=lambda t: losses[t] or 0.0),  # the loss from which there is most to learn
        "reverse": u.chosen.reverse,
        "formulas": list(u.chosen.formulas),
        "direct": u.layer == len(u.layers) - 1,
        "horizon": a.horizon(0.99),
        "losses": losses,
        "V": _steps(a, a.V.norms, instance),
        "sizes": sizes,
        "parameters": list(paths),
        "by_lag": {p: found.by_lag.tolist() for p, found in paths.items()},
        "truncation": {"error": a.truncation.error.tolist(), "cosine": a.truncation.cosine.tolist()},
        "facts": [
            ("steps T", str(length)),
            ("states d", str(u.chosen.width)),
            ("loss", f"{sum(v for v in losses if v is not None):.4g}"),
            ("horizon (cosine 0.99)", f"{a.horizon(0.99)} steps"),
            ("half-life", half_life),
            ("largest Lyapunov exponent", f"{float(a.lyapunov[0]):+#.3g} per step"),
            ("paths − training gradient", f"{a.residual:.1e}"),
            *([("instances", str(a.B))] if a.B > 1 else []),
        ],
        "colours": {"sizes": SIZES, "signed": SIGNED},
        "arrays": arrays,
    }


def _parameters(a: Anatomy) -> dict[str, Paths]:
    """The paths that the page shows, by name: to W, U and b, to each gate of W, and to W by each of its two ways."""
    found = {"W": a.W, "U": a.U}
    if {"b", "b_ih"} & set(a.weights):
        found["b"] = a.b
    if a.W.gates:
        found |= {f"W {gate}": paths for gate, paths in a.W.gates.items()}
        found |= {f"W, {way} way": paths for way, paths in a.ways.items()}
    return found


def _common_size(norms: np.ndarray, delta: np.ndarray) -> list[float] | None:
    """For paths whose size is ‖δ_{t,k}‖ times a number of step k, that number for each k: it spares a map."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.nanmax(np.where(delta > 0, norms / delta, 0.0), axis=0)
    alike = np.isclose(norms, delta * size, rtol=1e-4, atol=0, equal_nan=True).all()
    return size.tolist() if alike else None


def _square(a: Anatomy, array: torch.Tensor, instance: int) -> np.ndarray:
    length = a.unrolled.lengths[instance]
    return (array if a.B == 1 else array[instance])[:length, :length].numpy()


def _steps(a: Anatomy, array: torch.Tensor, instance: int) -> list[float | None]:
    values = (array if a.B == 1 else array[instance])[: a.unrolled.lengths[instance]].tolist()
    return [None if math.isnan(v) else v for v in values]


def _packed(array: np.ndarray, mantissa: int = MANTISSA) -> str:
    """Float32 rounded to a short mantissa, its bytes in planes, deflated, in base 64."""
    with np.errstate(over="ignore", under="ignore"):
        words = np.ascontiguousarray(array, dtype="<f4").view("<u4").copy()
    finite = np.isfinite(array.ravel())
    flat, dropped = words.reshape(-1), 23 - mantissa
    flat[finite] = (flat[finite] + (1 << (dropped - 1))) & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
    planes = flat.view(np.uint8).reshape(-1, 4).T.tobytes()
    return base64.b64encode(zlib.compress(planes, 6)).decode()
