"""`throughtime train`: from a source to a run folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.errors import CommandError, Refused, refusing, say
from throughtime.cli.options import DEFAULTS, TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from throughtime.data import Dataset
    from throughtime.learning import History

LONG, WINDOW = 1000, 200
"""Sequences of more steps than LONG are walked in windows of WINDOW steps, unless told otherwise."""


def train(options: TrainOptions = DEFAULTS) -> None:
    """Train a model, tell how well it does on the test part, and write a run folder.

    Without arguments, an Elman network learns which kind of token each character of Python source belongs to.
    """
    from throughtime import data
    from throughtime.cli import report, samples
    from throughtime.learning import run

    asked_for = _asked_for(options)
    with refusing():
        dataset = data.load(options.source)
        options = _resolved(options, dataset)
        model = _new_model(options, dataset)
    _introduce(options, dataset, model)
    with _computing_on(options.engine):
        history = _fit(model, options, dataset)
        results, picture = _measure(options, dataset, model, history)
        out = asked_for or _free(_usual(options))
        run.save(
            out,
            model,
            dataset.encoding,
            config=options.resolved(),
            history=history,
            metrics=results,
            files={"learning-curve.png": picture},
            overwrite=options.overwrite,
        )
        last = list(dataset.parts)[-1]
        print(report.headline(last, dataset.name, results[last]))
        print(report.results(results[last], results["baselines"]))
        samples.show_sample(run.load(out), dataset.parts[last])
        print(f"run folder: {out}")


def _asked_for(options: TrainOptions) -> Path | None:
    """The run folder that was asked for, which may be written; None: any that is free."""
    from throughtime.learning.run import check_free

    if options.out is None and not options.overwrite:
        return None
    out = options.out or _usual(options)
    with refusing():
        check_free(out, options.overwrite)
    return out


def _usual(options: TrainOptions) -> Path:
    return Path("runs") / Path(options.source).stem


def _free(usual: Path) -> Path:
    """`usual`, or the next of `usual`-2, `usual`-3, … that is not there yet."""
    numbered = (usual.with_name(f"{usual.name}-{i}") for i in itertools.count(2))
    return next(path for path in itertools.chain([usual], numbered) if not path.exists())


def _resolved(options: TrainOptions, dataset: Dataset) -> TrainOptions:
    """The options with every "auto" decided."""
    if options.task not in (None, dataset.task):
        raise Refused(f"--task: expected {dataset.task}, which {dataset.name} is for, found {options.task}")
    truncate = options.truncate
    if truncate == "auto":
        truncate = WINDOW if dataset.train.lengths.max() > LONG and options.optimizer != "gd" else "none"
    return replace(options, task=dataset.task, truncate=truncate)


def _new_model(options: TrainOptions, dataset: Dataset) -> nn.Module:
    import torch

    from throughtime.model import ElmanNetwork

    torch.manual_seed(options.seed)
    return ElmanNetwork(
        dataset.n,
        options.states,
        dataset.k,
        options.nonlinearity,
        initial_state=options.initial_state,
        initialization=options.initialization,
    )


def _introduce(options: TrainOptions, dataset: Dataset, model: Any) -> None:
    """Say what is about to happen."""
    parts = ", ".join(
        f"{name} {len(part):,} sequences of {int(part.lengths.sum()):,} steps" for name, part in dataset.parts.items()
    )
    say(f"{dataset.name} ({dataset.task}): {parts}")
    say(
        f"{type(model).__name__}: n = {dataset.n}, d = {options.states}, k = {dataset.k}; {model.num_parameters:,} parameters"
    )
    if isinstance(options.truncate, int):
        say(f"the gradient goes back at most {options.truncate} steps; the state is carried on")


@contextmanager
def _computing_on(engine: str) -> Iterator[None]:
    from throughtime import ops

    before = ops.get_engine()
    try:
        ops.set_engine(engine)
    except RuntimeError as error:
        raise Refused(f"--engine: {error}") from error
    try:
        yield
    finally:
        ops.set_engine(before)


def _fit(model: nn.Module, options: TrainOptions, dataset: Dataset) -> History:
    from throughtime.learning import NonFiniteError, fit

    try:
        with refusing():
            return fit(
                model,
                dataset.train,
                dataset.valid,
                optimizer=options.optimizer,
                lr=options.lr,
                lr_schedule=options.lr_schedule,
                epochs=options.epochs,
                batch_size=options.batch_size,
                clip_norm=None if options.clip_norm == "none" else options.clip_norm,
                truncate=None if isinstance(options.truncate, str) else options.truncate,
                reduction=options.reduction,
                patience=options.patience,
                seed=options.seed,
                progress=True,
            )
    except NonFiniteError as error:
        raise CommandError(f"{error}; try a lower --lr") from error


def _measure(options: TrainOptions, dataset: Dataset, model: Any, history: History) -> tuple[dict[str, Any], bytes]:
    """What metrics.json holds, and the learning curve."""
    from throughtime.cli.pictures import learning_curve
    from throughtime.learning import metrics

    truncate = None if isinstance(options.truncate, str) else options.truncate
    scored = {name: part for name, part in dataset.parts.items() if name != "train"} or {"train": dataset.train}
    measured = {name: metrics.measure(model, part, dataset.encoding, truncate) for name, part in scored.items()}
    baselines = metrics.baselines(dataset.train, list(scored.values())[-1])
    results = {
        "task": dataset.task,
        "parameters": model.num_parameters,
        "epochs": len(history),
        "best_epoch": history.best_epoch,
        "seconds": sum(history["seconds"]),
        **measured,
        "baselines": baselines,
    }
    return results, learning_curve(history, f"{dataset.name}, d = {options.states}", baselines)
