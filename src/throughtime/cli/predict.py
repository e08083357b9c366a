"""`throughtime predict`: what a trained model makes of a text or a source."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from throughtime.cli.errors import Refused, refusing
from throughtime.cli.options import NOWHERE, DataOptions, Json, OwnCell, Quiet, Whole
from throughtime.cli.terminal import quieten

if TYPE_CHECKING:
    from torch import Tensor

    from throughtime.data import Sequences
    from throughtime.learning.run import Run

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
    cell: OwnCell = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what a trained model predicts.

    Labels: characters are shown in the colours of theirs, other steps one per line. A language model goes on from --text; a
    forecast goes on from the end of each series. A symbol that the model does not know is read as the unknown symbol.

    Args:
        run: the run folder.
        text: a text to read instead of a source.
        steps: symbols that a language model writes (200 where left out), or values that are forecast (1).
        temperature: of a language model: below 1 favours likelier symbols; 0 takes the likeliest.
        seed: of what a language model draws.
        cell: package.module:Class, where the model is of such a cell.
        json: for machines: an object per sequence and line.
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
        sequences = inputs(loaded, options) if text is None else loaded.encode(text)
        if task == "forecast":
            _forecast(loaded, sequences, 1 if steps is None else steps, json)
            return
        logits = loaded.logits(sequences)
    for i, z in enumerate(logits):
        name = str(i) if sequences.names is None else sequences.names[i]
        if z.dim() == 1:
            _print_class(loaded, name, probabilities(loaded, z), json)
        else:
            labels = [loaded.encoding.labels[label] for label in loaded.encoding.decode(z.numpy()).tolist()]
            _print_tags(loaded, name, sequences, i, labels, json)


def probabilities(run: Run, z: Tensor) -> list[float]:
    """Of the classes, from logits [k], as calibrated on the validation part."""
    calibration = run.encoding.calibration
    return (z.double() / (1.0 if calibration is None else calibration.temperature)).softmax(0).tolist()


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


def _print_class(run: Run, name: str, probabilities: list[float], json: bool) -> None:
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    label = run.encoding.labels[best]
    if json:
        found = dict(zip(run.encoding.labels, probabilities, strict=True))
        print(json_module.dumps({"name": name, "label": label, "probabilities": found}, ensure_ascii=False))
    else:
        print(f"{name}\t{label}\t{probabilities[best]:.3f}")


def _print_tags(run: Run, name: str, sequences: Sequences, i: int, labels: list[str], json: bool) -> None:
    from throughtime.cli import highlight

    text = None if sequences.texts is None else sequences.texts[i]
    if json:
        known = {"name": name} | ({} if text is None else {"text": text})
        print(json_module.dumps(known | {"labels": labels}, ensure_ascii=False))
        return
    if len(sequences) > 1:
        print(f"# {name}")
    if text is not None and len(text) == len(labels):
        highlight.show(text, labels, run.encoding.labels)
        return
    vocabulary = run.encoding.vocabulary
    x = sequences.inputs[i]
    steps = range(len(labels)) if vocabulary is None else vocabulary.decode(x if x.ndim == 1 else x[:, 0])
    sys.stdout.writelines(f"{step}\t{label}\n" for step, label in zip(steps, labels, strict=True))
    print()
