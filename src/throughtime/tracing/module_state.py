"""What a cell's step depends on besides its arguments: tensors, and everything else that a trace would bake in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_OWN = frozenset(nn.Module().__dict__) - {"training"}
_SCALARS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


class Held(NamedTuple):
    """A tensor of a module: its qualified name, and where it is held."""

    name: str
    module: nn.Module
    key: str
    kind: str  # "parameter", "buffer", or "computed" by a parametrization
    tensor: Tensor


def held(cell: nn.Module) -> tuple[list[Held], list[Held]]:
    """The parameters of a cell, with computed ones computed, and its buffers; a shared tensor once for every place."""
    parameters, buffers = [], []
    for prefix, module in _parts(cell):
        if parametrize.is_parametrized(module):
            for key in module.parametrizations:  # type: ignore[union-attr]
                parameters.append(Held(prefix + key, module, key, "computed", getattr(module, key)))
        for key, p in module._parameters.items():
            if p is not None:
                parameters.append(Held(prefix + key, module, key, "parameter", p))
        for key, b in module._buffers.items():
            if b is not None:
                buffers.append(Held(prefix + key, module, key, "buffer", b))
    return parameters, buffers


def all_buffers(cell: nn.Module) -> list[Held]:
    """Every buffer, also of what computes parameters."""
    return [
        Held(f"{prefix}.{key}", module, key, "buffer", b)
        for prefix, module in cell.named_modules()
        for key, b in module._buffers.items()
        if b is not None
    ]


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """All submodules but those that compute parameters, with their names as prefixes."""
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None and not (name == "parametrizations" and parametrize.is_parametrized(module)):
            yield from _parts(child, f"{prefix}{name}.")


def settings(cell: nn.Module) -> tuple[Any, ...]:
    """Everything but tensors that a trace bakes in: scalars and strings by value, flags, and other objects by identity."""
    found: list[Any] = []
    for prefix, module in _parts(cell):
        found.append((prefix, type(module)))
        found += [(key, _plain(value)) for key, value in module.__dict__.items() if key not in _OWN]
    return tuple(found)


def _plain(value: Any) -> Any:
    if isinstance(value, _SCALARS):
        return type(value), value
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, dict):
        return tuple((repr(k), _plain(v)) for k, v in value.items())
    return id(value)


def hooked(cell: nn.Module) -> str:
    """The name of a submodule that has hooks, which a program would not call; "" where there is none."""
    for prefix, module in _parts(cell):
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
            return prefix.removesuffix(".") or "the cell"
    return ""


def loose(cell: nn.Module) -> str:
    """The name of a tensor that has a gradient and is no parameter, so that a program would not know of it; "" for none."""
    for prefix, module in _parts(cell):
        for key, value in module.__dict__.items():
            if isinstance(value, Tensor) and value.requires_grad:
                return prefix + key
    return ""


@contextmanager
def exchanged(places: Sequence[Held], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let modules hold other tensors in some places, for a while."""
    with parametrize.cached():
        before = []
        try:
            for place, tensor in zip(places, tensors, strict=True):
                home = _home(place)
                key = (id(place.module), place.key) if place.kind == "computed" else place.key
                before.append((home, key, home.get(key)))
                home[key] = tensor
            yield
        finally:
            for home, key, tensor in reversed(before):
                if tensor is None:
                    home.pop(key, None)
                else:
                    home[key] = tensor


def _home(place: Held) -> dict[Any, Any]:
    if place.kind == "computed":
        return parametrize._cache
    return place.module._parameters if place.kind == "parameter" else place.module._buffers
