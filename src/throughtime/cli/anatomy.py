"""`throughtime anatomy`: every gradient path of a trained model on a stretch of a sequence, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from throughtime.cli.options import NOWHERE, DataOptions, Whole


def anatomy(
    run: Path,
    /,
    options: DataOptions = NOWHERE,
    *,
    instance: Whole = 0,
    start: Whole = 1,
    steps: Whole = 200,
    out: Path | None = None,
    npz: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Take the gradient of a trained model apart, path by path, and write the page that shows it.

    The page is one file that works offline: the paths from each loss to each earlier step, how far back the gradient reaches,
    and what truncation would lose.

    Args:
        run: the run folder.
        instance: which sequence of the test part, from 0.
        start: its first step to look at, from 1; the state is carried up to it.
        steps: how many steps, at most 1000.
        out: the page to write; anatomy.html in the run folder where left out.
        npz: also write every array, to a .npz beside the page.
    """
    from throughtime.anatomy.page import LONGEST
    from throughtime.anatomy.window import window
    from throughtime.cli.errors import CommandError, Refused, one_line, refusing
    from throughtime.cli.inputs import held_out
    from throughtime.learning.run import load

    if not 1 <= steps <= LONGEST:
        raise Refused(f"--steps: expected 1 to {LONGEST}, found {steps}")
    with refusing():
        loaded = load(run)
        dataset, part = held_out(loaded, options)
        sequences = dataset.parts[part]
        try:
            found = window(loaded.model, sequences, loaded.encoding, instance=instance, start=start, steps=steps)
        except ArithmeticError as error:
            raise CommandError(one_line(error)) from error
        path = run / "anatomy.html" if out is None else out
        title = f"Anatomy of the gradient: {dataset.name}, {found.name}"
        found.anatomy.to_html(path, symbols=found.symbols, targets=found.targets, title=title)
        if npz:
            found.anatomy.save(path.with_suffix(".npz"))
    print(found.anatomy.verdict)
    print(f"{path}: {found.name}" + (f"; arrays in {path.with_suffix('.npz')}" if npz else ""))
