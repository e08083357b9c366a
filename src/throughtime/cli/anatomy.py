"""`throughtime anatomy`: every gradient path of a trained model on a stretch of a sequence, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from throughtime.cli.options import NOWHERE, DataOptions, Json, OwnCell, Quiet, Whole
from throughtime.cli.terminal import print_json, quieten


def anatomy(
    run: Path,
    /,
    options: DataOptions = NOWHERE,
    *,
    instance: Whole | None = None,
    start: Whole = 1,
    around: str | None = None,
    steps: Whole = 200,
    out: Path | None = None,
    npz: Annotated[bool, Parameter(negative=())] = False,
    cell: OwnCell = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take the gradient of a trained model apart, path by path, and write the page that shows it.

    The page is one file that works offline: the paths from each loss to each earlier step, how far back the gradient reaches,
    and what truncation would lose. Of the folder nonfinite, which a training leaves whose loss or gradient was not finite, it
    shows the steps that led to it.

    Args:
        run: the run folder, or a folder nonfinite.
        instance: which sequence of the test part, from 0; of a batch in nonfinite, its row. Where left out, the first, or the
            row where it happened.
        start: its first step to look at, from 1; the state is carried up to it.
        around: look at the first place where this text stands, from 20 characters before it, instead of `start`.
        steps: how many steps, at most 1000.
        out: the page to write; anatomy.html in the folder where left out.
        npz: also write every array, to a .npz beside the page.
        cell: package.module:Class, where the model is of such a cell.
        json: tell what was found for machines, beside writing the page.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    from throughtime.anatomy.page import LONGEST
    from throughtime.anatomy.window import before_the_fault, window
    from throughtime.cli.cells import own_cell
    from throughtime.cli.errors import CommandError, Refused, one_line, refusing
    from throughtime.cli.inputs import held_out, open_run
    from throughtime.learning.nonfinite import is_black_box, read_black_box

    if not 1 <= steps <= LONGEST:
        raise Refused(f"--steps: expected 1 to {LONGEST}, found {steps}")
    with refusing():
        try:
            if is_black_box(run):
                if around is not None or start != 1 or options.source is not None:
                    raise Refused("--start, --around, SOURCE: expected none, as the folder has the batch, found some")
                box = read_black_box(run, cell=own_cell(cell))
                if not json:
                    print(box.report)
                found, name = before_the_fault(box, instance=instance, steps=steps), "what led to the fault"
            else:
                loaded = open_run(run, cell)
                dataset, part = held_out(loaded, options)
                sequences = dataset.parts[part]
                row = instance or 0
                if around is not None:
                    start = _start_before(around, sequences.texts, row)
                model = loaded.model.double()  # a trained model's gradient is a small difference of large paths
                found = window(model, sequences, loaded.encoding, instance=row, start=start, steps=steps)
                name = dataset.name
        except ArithmeticError as error:
            raise CommandError(one_line(error)) from error
        path = run / "anatomy.html" if out is None else out
        title = f"Anatomy of the gradient: {name}, {found.name}"
        found.anatomy.to_html(path, symbols=found.symbols, targets=found.targets, title=title)
        if npz:
            found.anatomy.save(path.with_suffix(".npz"))
    if json:
        told = {"page": str(path), "of": found.name, "verdict": found.anatomy.verdict}
        told |= {"horizon": found.anatomy.horizon(), "half_life": found.anatomy.half_life}
        print_json(told)
        return
    print(found.anatomy.verdict)
    print(f"{path}: {found.name}" + (f"; arrays in {path.with_suffix('.npz')}" if npz else ""))


def _start_before(text: str, texts: Sequence[str] | None, instance: int) -> int:
    """The step, from 1, that is 20 characters before the first place of `text`."""
    from throughtime.cli.errors import Refused

    if texts is None or not 0 <= instance < len(texts):
        raise Refused(f"--around: expected sequences of characters, and among them --instance {instance}, found none")
    place = texts[instance].find(text)
    if place < 0:
        raise Refused(f"--around: expected text that stands in sequence {instance}, found {text!r}, which does not")
    return max(1, place + 1 - 20)
