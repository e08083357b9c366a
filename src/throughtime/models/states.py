"""The state that a model carries from one call to the next: a tensor, or a tuple of them, one for each part.

Rows are the last axis but one of every part: [B, width], or [layers, B, width].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

State = Tensor | tuple[Tensor, ...]


def parts(state: State) -> tuple[Tensor, ...]:
    """The parts of a state."""
    return (state,) if isinstance(state, Tensor) else tuple(state)


def each(function: Callable[..., Any], *states: State) -> Any:
    """`function` of the corresponding parts of states, put together as these are."""
    if isinstance(states[0], Tensor):
        return function(*states)
    return tuple(function(*own) for own in zip(*states, strict=True))


def named(name: str, state: State | None) -> dict[str, Tensor]:
    """The parts by name: `name` for a tensor, `name.0`, `name.1`, … for a tuple, nothing for None."""
    if state is None or isinstance(state, Tensor):
        return {} if state is None else {name: state}
    return {f"{name}.{i}": part for i, part in enumerate(state)}


def take(name: str, tensors: Mapping[str, Tensor]) -> State | None:
    """What `named` gave, found among `tensors`; None where there is nothing of that name."""
    if name in tensors:
        return tensors[name]
    own: list[Tensor] = []
    while f"{name}.{len(own)}" in tensors:
        own.append(tensors[f"{name}.{len(own)}"])
    return tuple(own) or None
