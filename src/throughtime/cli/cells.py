"""A cell of the user's on the command line, package.module:Class. Only a name that was typed is imported, none that a file
holds."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from throughtime.cli.errors import Refused, one_line
from throughtime.cli.options import is_own_cell

if TYPE_CHECKING:
    from throughtime.models.cell_layers import CellFactory


def own_cell(name: str | None) -> CellFactory | None:
    """What makes the cells that `name` stands for; None for a built-in one. Modules are looked for in the current folder, too.

    Raises: Refused: there is no such module or class, or importing it fails.
    """
    if name is None or not is_own_cell(name):
        return None
    module, _, path = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module)
    except Exception as error:  # whatever the user's module raises
        raise Refused(
            f"--cell: expected a module that can be imported, found {type(error).__name__}: {one_line(error)}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise Refused(f"--cell: expected {path} in the module {module}, found no {part}")
        found = getattr(found, part)
    if not callable(found):
        raise Refused(f"--cell: expected a class, or a function that makes a cell, found {type(found).__name__} {name}")
    return found  # type: ignore[return-value]  # what it makes is checked when it has made it
