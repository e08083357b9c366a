"""Text coloured by a label per character."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from throughtime.cli.terminal import colourable
from throughtime.untrusted.showing import short, visible

STYLES = ("green", "yellow", "default", "bold magenta", "cyan", "bright_blue", "dim", "red", "bold blue", "bold green")
"""Of the labels, in their order; those of python-source as editors have them."""


def show(text: str, labels: Sequence[str], names: Sequence[str], truth: Sequence[str] | None = None) -> None:
    """Print `text` on standard output, each character in the colour of its label, and a legend.

    Where standard output shows no colour, each line has its labels beneath it, one letter for each.

    Args:
        labels: one per character.
        names: the labels there are, in their order.
        truth: where given, characters whose label is another one are underlined.
    """
    console = Console(file=colourable(), highlight=False, soft_wrap=True)
    colours = console.color_system is not None and not console.no_color
    letters = _letters(names)
    if colours:
        styles = {name: STYLES[i % len(STYLES)] for i, name in enumerate(names)}
        wrong = (
            [False] * len(text) if truth is None else [label != true for label, true in zip(labels, truth, strict=True)]
        )
        coloured = Text()
        for (label, is_wrong), run in groupby(zip(labels, wrong, text, strict=True), key=lambda step: step[:2]):
            piece = "".join(character for *_, character in run)
            coloured.append(visible(piece), f"{styles[label]} underline" if is_wrong else styles[label])
        console.print(coloured)
        legend = Text("  ").join(Text(short(name), styles[name]) for name in names)
        console.print(legend + Text("  underlined: wrong", "underline") if truth is not None else legend)
        return
    begin = 0
    for line in text.splitlines(keepends=True):
        shown = line.rstrip("\r\n")
        print(shown)
        beneath = zip(labels[begin : begin + len(shown)], shown, strict=True)
        print("".join(letters[label] * len(visible(character)) for label, character in beneath).rstrip())
        begin += len(line)
    print("  ".join(f"{letters[name]} {short(name)}" for name in names if letters[name] != " "))


def _letters(names: Sequence[str]) -> dict[str, str]:
    """A letter for each label: of its own name where one is left; a space for "space"."""
    letters: dict[str, str] = {}
    spare = [chr(point) for point in range(ord("A"), ord("Z") + 1)] + [chr(p) for p in range(ord("0"), ord("9") + 1)]
    for name in names:
        own = [" "] if name == "space" else [c for c in name.lower() if c.isalnum()]
        free = (c for c in [*own, *spare] if c not in letters.values())
        letters[name] = next(free, "?")
    return letters
