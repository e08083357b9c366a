"""How a cell is called, and what it returns: a state is a tensor [B, …], or a tuple of states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Structure = Any
"""None for a tensor; a tuple of structures for a tuple."""


def structure_of(state: Any) -> Structure:
    """Raises: TypeError: neither a tensor nor a tuple of states."""
    if isinstance(state, Tensor):
        return None
    if isinstance(state, tuple | list):
        return tuple(map(structure_of, state))
    raise TypeError(f"state: expected a tensor or a tuple of them, found {type(state).__name__}")


def parts_of(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    return [state] if isinstance(state, Tensor) else [p for part in state for p in parts_of(part)]


def state_of(structure: Structure, parts: Sequence[Tensor]) -> Any:
    """The state of a structure that consists of parts."""
    left = iter(parts)

    def build(s: Structure) -> Any:
        return next(left) if s is None else tuple(build(part) for part in s)

    return build(structure)


def sizes_of(state_size: Any) -> tuple[Structure, list[tuple[int, ...]]]:
    """What `state_size` says: an int for a part [B, d], a list of ints for a part of several axes, a tuple for a tuple."""
    if isinstance(state_size, int) and not isinstance(state_size, bool):
        return None, [(state_size,)]
    if isinstance(state_size, list | torch.Size) and all(isinstance(k, int) for k in state_size):
        return None, [tuple(state_size)]
    if isinstance(state_size, tuple) and state_size:
        found = [sizes_of(part) for part in state_size]
        return tuple(s for s, _ in found), [size for _, sizes in found for size in sizes]
    raise TypeError(f"state_size: expected an int, a list of ints, or a tuple of those, found {state_size!r}")


class Result(NamedTuple):
    """What a step returns: its output, and the parts of the new state."""

    output: Tensor
    parts: list[Tensor]


def split(result: Any, structure: Structure) -> Result:
    """Tell output and new state apart: what has the state's structure is the new state, its first part the output.

    Raises: TypeError: neither a state nor a pair (output, state).
    """
    if _fits(result, structure):
        parts = parts_of(result)
        return Result(parts[0], parts)
    pair = isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[0], Tensor)
    if pair and _fits(result[1], structure):
        return Result(result[0], parts_of(result[1]))
    raise TypeError(
        f"the cell returned {_told(result)}; expected {_shape(structure)}, or a pair (output, {_shape(structure)})"
    )


def _fits(value: Any, structure: Structure) -> bool:
    if structure is None:
        return isinstance(value, Tensor)
    return isinstance(value, tuple | list) and len(value) == len(structure) and all(map(_fits, value, structure))


def _shape(structure: Structure) -> str:
    return "a tensor" if structure is None else f"({', '.join(map(_shape, structure))})"


def _told(value: Any) -> str:
    try:
        return _shape(structure_of(value))
    except TypeError:
        return type(value).__name__


def own_structure(cell: nn.Module, x: Tensor, drives: Sequence[Tensor]) -> tuple[Structure, list[Tensor]]:
    """The structure and parts of the state that a cell has where none is given, found by calling it.

    Raises: ValueError: the cell cannot be called so, or what it starts from is not zero.
    """
    ask = "pass state_size=, or an initial state"
    try:
        result = cell(x, None, *drives) if drives else cell(x)
    except Exception as error:
        raise ValueError(f"{type(cell).__name__} cannot be called without a state ({error}); {ask}") from error
    candidates = [result] if not isinstance(result, tuple | list) else [result, *result[1:2]]
    for candidate in candidates:
        try:
            structure = structure_of(candidate)
            zeros = [torch.zeros_like(p) for p in parts_of(candidate)]
            again = split(cell(x, state_of(structure, zeros), *drives), structure)
            first = split(result, structure)
        except Exception:  # not a state of this cell
            continue
        pairs = zip((first.output, *first.parts), (again.output, *again.parts), strict=True)
        if not all(a.shape == b.shape and (a.is_meta or torch.allclose(a, b, equal_nan=True)) for a, b in pairs):
            raise ValueError(f"{type(cell).__name__} starts from another state than zero where none is given; {ask}")
        return structure, zeros
    raise ValueError(f"{type(cell).__name__}: no part of what it returns without a state can be its state; {ask}")


def steps(T: int, reverse: bool) -> Iterator[int]:
    return iter(range(T - 1, -1, -1) if reverse else range(T))
