"""The tables of choices: the command line offers each, and the documentation names each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from throughtime.cli.options import TrainOptions
from throughtime.core.notation import NONLINEARITIES, REDUCTIONS
from throughtime.data.builtin import BUILTIN
from throughtime.data.encoding import TASKS
from throughtime.data.readers.formats import FORMATS
from throughtime.learning.optimizers import OPTIMIZERS
from throughtime.learning.recipe import LR_SCHEDULES
from throughtime.models.reading import READERS
from throughtime.operators import ops
from throughtime.programs import CELLS

ROOT = Path(__file__).parents[1]
DOCUMENTS = "\n".join(
    path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
)
SOURCE = (ROOT / "src/throughtime/cli/options.py").read_text(encoding="utf-8")
TABLES: dict[str, Iterable[str]] = {
    "nonlinearity": NONLINEARITIES,
    "optimizer": OPTIMIZERS,
    "lr_schedule": LR_SCHEDULES,
    "reduction": REDUCTIONS,
    "task": TASKS,
    "engine": ops.ENGINES,
    "cell": CELLS,
    "read": READERS,
}


def offered(option: str) -> list[str]:
    """The words that an option takes."""
    hint = get_type_hints(TrainOptions)[option]
    literals = [hint, *get_args(hint)]
    return [word for kind in literals if get_origin(kind) is Literal for word in get_args(kind)]


@pytest.mark.parametrize("option", TABLES)
def test_the_command_line_offers_what_there_is(option: str) -> None:
    beyond = ["triton"] if option == "engine" else []  # the command trains on the CPU
    assert [*offered(option), *beyond] == sorted(TABLES[option], key=beyond.__contains__)


@pytest.mark.parametrize(
    ("table", "name"),
    [(table, name) for table, names in {**TABLES, "format": FORMATS, "source": BUILTIN}.items() for name in names],
)
def test_a_document_names_each(table: str, name: str) -> None:
    described = DOCUMENTS + (SOURCE if table == "format" else "")  # those are listed by --help
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", described, re.IGNORECASE), (
        f"{table}: {name} stands nowhere"
    )
