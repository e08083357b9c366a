"""`throughtime look`: what a source is taken for, before anything is learnt from it."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

from cyclopts import Parameter

from throughtime.cli.options import ANYWHERE, SourceOptions
from throughtime.untrusted.showing import short

TASKS = {
    "tag": "a label for each step",
    "classify": "a label for each sequence",
    "lm": "the next symbol",
    "forecast": "the next values",
}
HELD_OUT = {
    "time": "the end of each sequence",
    "class": "sequences at random, as many of each class as in all",
    "sequence": "sequences at random",
    "group": "whole groups at random",
}
MOST_COLUMNS, MOST_NAMES, LONGEST = 30, 12, 70
"""Columns, and names of symbols or labels, that are shown; characters of the first sequence."""


def look(options: SourceOptions = ANYWHERE, *, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Tell what a source is taken for: format, task, sequences, inputs, labels, what is missing and what would be held out.

    Nothing is learnt. What is taken for the wrong thing can be named by the options, which `throughtime train` has, too.

    Args:
        json: for machines.
    """
    from throughtime.cli.errors import refusing
    from throughtime.cli.inputs import choices, read_source
    from throughtime.cli.report import table
    from throughtime.data.summary import summary

    with refusing():
        dataset, chosen = read_source(options)
    found = summary(dataset)
    if json:
        reading = {name: value for name, value in chosen.items() if value is not None}
        print(json_module.dumps(found | {"options": reading}, indent=2, ensure_ascii=False))
        return
    flags = choices(dataset)
    print(f"{dataset.name}: {f'read as {dataset.told}' if dataset.told else 'a built-in source'}")
    if flags:
        print(f"to choose otherwise: {', '.join(flags)}")
    for note in dataset.notes:
        print(f"note: {note}")
    print()
    print(
        _aligned(
            [
                ("task", f"{found['task']}: {TASKS[found['task']]}"),
                ("sequences", _told_sequences(found)),
                ("held out", HELD_OUT.get(found["held_out"] or "", "parts of the source, or none")),
                ("steps", _told_steps(found["steps"])),
                *_told_inputs(found),
                *([("labels", _counts(found["labels"]))] if found["labels"] else []),
                ("first", f"{found['first']['name']}: {short(found['first']['inputs'], LONGEST)}"),
                *([("", f"→ {short(found['first']['targets'], LONGEST)}")] if found["first"]["targets"] else []),
            ]
        )
    )
    if found["columns"]:
        rows = [
            (column["name"], f"{column['least']:.6g}", f"{column['greatest']:.6g}", f"{column['missing']:,}")
            for column in found["columns"][:MOST_COLUMNS]
        ]
        print()
        print(table([("column", "least", "greatest", "missing"), *rows]))
        if len(found["columns"]) > MOST_COLUMNS:
            print(f"and {len(found['columns']) - MOST_COLUMNS:,} further columns")


def _told_sequences(found: dict[str, Any]) -> str:
    cut = found["held_out"] == "time"
    parts = ", ".join(
        f"{name} {own['steps']:,} steps" if cut else f"{name} {own['sequences']:,}"
        for name, own in found["parts"].items()
    )
    count = found["parts"]["train"]["sequences"] if cut else found["sequences"]
    return f"{count:,} ({parts})"


def _told_steps(steps: dict[str, Any]) -> str:
    if steps["least"] == steps["greatest"]:
        return f"{steps['least']:,} each; {steps['all']:,} in all"
    return f"{steps['least']:,} to {steps['greatest']:,}, median {steps['median']:g}; {steps['all']:,} in all"


def _told_inputs(found: dict[str, Any]) -> list[tuple[str, str]]:
    symbols = found["symbols"]
    if symbols is None:
        columns = found["columns"]
        return [("inputs", f"{len(columns):,} {'column' if len(columns) == 1 else 'columns'} of numbers")]
    told = f"{symbols['kind']}, {symbols['different']:,} different; {_counts(symbols['frequent'])}"
    share = symbols["unknown"] / found["steps"]["all"]
    return [("inputs", told + (f"; {share:.1%} are too rare to be known" if symbols["unknown"] else ""))]


def _counts(counts: dict[str, int]) -> str:
    shown = [
        f"{short(repr(name) if name.isspace() else name, 20)} {count:,}"
        for name, count in list(counts.items())[:MOST_NAMES]
    ]
    return ", ".join(shown) + (f", and {len(counts) - MOST_NAMES:,} more" if len(counts) > MOST_NAMES else "")


def _aligned(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {told}" for name, told in rows)
