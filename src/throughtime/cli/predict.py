"""`throughtime predict`: what a trained model makes of a text or a source."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from throughtime.cli.errors import Refused, refusing
from throughtime.cli.options import NOWHERE, DataOptions, Json, OwnCell, Quiet, Whole
from throughtime.cli.terminal import quieten

if TYPE_CHECKING:
    from throughtime.data import Sequences
    from throughtime.learning.run import Run

As = Literal["csv", "tsv", "conll", "jsonl"]
AHEAD = Parameter(group=Group("Going on", sort_key=2))


def predict(
    run: Path,
    /,
    options: DataOptions = NOWHERE,
    *,
    text: str | None = None,
    steps: Annotated[Whole | None, AHEAD] = None,
    temperature: Annotated[float, AHEAD] = 1.0,
    seed: Annotated[Whole, AHEAD] = 0,
    form: Annotated[As | None, Parameter(name="--as")] = None,
    probabilities: Annotated[bool, Parameter(negative=())] = False,
    cell: OwnCell = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what a trained model predicts.

    A source with words, rows or sequences is given back as it came, line by line, with one more column: what is predicted. Of
    a text, characters are shown in the colours of their labels, words one per line. A language model goes on from --text; a
    forecast goes on from the end of each series. A symbol that the model does not know is read as the unknown symbol.

    Args:
        run: the run folder.
        text: a text to read instead of a source.
        steps: symbols that a language model writes (200 where left out), or values that are forecast (1).
        temperature: of a language model: below 1 favours likelier symbols; 0 takes the likeliest.
        seed: of what a language model draws.
        form: csv, tsv, conll or jsonl: give that back, in place of the format that came in.
        probabilities: add how probable the predicted labels are, as calibrated on the validation part; with --json all labels.
        cell: package.module:Class, where the model is of such a cell.
        json: for machines: an object per sequence and line, with everything.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    from throughtime.cli.inputs import inputs, open_run

    if options.source is not None and text is not None:
        raise Refused("expected SOURCE or --text, found both")
    with refusing():
        loaded = open_run(run, cell)
        task = loaded.encoding.task
        if task == "lm":
            _write(loaded, options, text, 200 if steps is None else steps, temperature, seed, json)
            return
        if steps is not None and task != "forecast":
            raise Refused(f"--steps: expected none, as {run} is for the task {task}, found {steps}")
        sequences, given = (loaded.encode(text), None) if text is not None else inputs(loaded, options)
        if task == "forecast":
            if form is not None or probabilities:
                raise Refused(f"--{'as' if form else 'probabilities'}: expected labels to give back, found a forecast")
            _forecast(loaded, sequences, 1 if steps is None else steps, json)
            return
        from throughtime.cli import answers

        if json and form not in (None, "jsonl"):
            raise Refused(f"--as: expected jsonl or none with --json, found {form}")
        found = answers.found(loaded, sequences)
        if json or form == "jsonl":
            answers.print_json(found, probabilities)
            return
        lines = answers.given_back(found, given, form, probabilities)
    if lines is None:
        answers.show(found, probabilities)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)


def _write(
    run: Run, options: DataOptions, text: str | None, steps: int, temperature: float, seed: int, json: bool
) -> None:
    """A language model's continuation of a text."""
    from throughtime.learning.generation import generate

    if text is None:
        raise Refused(
            f"expected --text to go on from, as {run.path} is for the task lm, found {options.source or 'none'}"
        )
    written = generate(run.model, run.encoding, text, steps, temperature=temperature, seed=seed)
    print(json_module.dumps({"text": text, "continuation": written}, ensure_ascii=False) if json else text + written)


def _forecast(run: Run, sequences: Sequences, steps: int, json: bool) -> None:
    """The values after the end of each series: a row per step, tabs between columns."""
    import numpy as np

    from throughtime.learning.forecasts import forecast_part

    names, calibration = run.encoding.labels, run.encoding.calibration
    ahead = forecast_part(run.model, run.encoding, sequences, steps)
    measured = calibration is not None and bool(calibration.spread)
    if not json:
        bounds = [f"{name} {side}" for name in names for side in ("low", "high")] if measured else []
        print("\t".join(["series", "step", *names, *bounds]))
    for i, values in enumerate(ahead):
        series = str(i) if sequences.names is None else sequences.names[i]
        found = None if calibration is None else calibration.intervals(values)
        if json:
            told: dict[str, Any] = {"name": series, "forecast": dict(zip(names, values.T.tolist(), strict=True))}
            if found is not None:
                told["interval"] = {
                    name: [low, high] for name, low, high in zip(names, *(b.T.tolist() for b in found), strict=True)
                }
            print(json_module.dumps(told, ensure_ascii=False))
            continue
        columns = values if found is None else np.column_stack([values, np.stack(found, -1).reshape(len(values), -1)])
        for step, row in enumerate(columns.tolist(), 1):
            print("\t".join([series, str(step), *(f"{value:.6g}" for value in row)]))
