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
    from throughtime.data import Dataset
    from throughtime.learning import History

LONG, WINDOW = 1000, 200
"""Sequences of more steps than LONG are walked in windows of WINDOW steps, unless told otherwise."""


def train(options: TrainOptions = DEFAULTS) -> None:
    """Train a model, tell how well it does on the test part, and write a run folder.

    Without arguments, an Elman network learns which kind of token each character of Python source belongs to.
    """
    from throughtime.cli import report, samples
    from throughtime.cli.inputs import training_data
    from throughtime.learning import forecasts, run

    asked_for = _asked_for(options)
    with refusing():
        options, dataset = training_data(options)
        options = replace(options, truncate=_window(options, dataset))
        if dataset.task == "forecast":
            forecasts.check_backtest(
                list(dataset.parts.values())[-1], dataset.encoding, options.horizon, options.season
            )
        model = _new_model(options, dataset)
    _introduce(options, dataset, model)
    with _computing_on(options.engine):
        history = _fit(model, options, dataset)
        results = _measure(options, dataset, model, history)
        out = asked_for or _free(_usual(options))
        run.save(
            out,
            model,
            dataset.encoding,
            config=options.resolved(),
            history=history,
            metrics=results,
            files=_pictures(options, dataset, history, results),
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
    from throughtime.cli.inputs import USUAL

    return Path("runs") / Path(options.source or USUAL).stem


def _free(usual: Path) -> Path:
    """`usual`, or the next of `usual`-2, `usual`-3, … that is not there yet."""
    numbered = (usual.with_name(f"{usual.name}-{i}") for i in itertools.count(2))
    return next(path for path in itertools.chain([usual], numbered) if not path.exists())


def _window(options: TrainOptions, dataset: Dataset) -> Any:
    """The steps of a window of truncated BPTT, or "none"."""
    if options.truncate != "auto":
        return options.truncate
    whole = options.bidirectional or options.optimizer == "gd" or dataset.task == "classify"
    return "none" if whole or dataset.train.lengths.max() <= LONG else WINDOW


def _new_model(options: TrainOptions, dataset: Dataset) -> Any:
    """An Elman network where it serves, else a `SequenceModel`."""
    import torch

    from throughtime.model import ElmanNetwork
    from throughtime.sequence_model import SequenceModel

    torch.manual_seed(options.seed)
    n, k = dataset.n, dataset.k
    stack = {name: getattr(options, name) for name in ("embedding", "layers", "bidirectional", "dropout")}
    if dataset.task in ("tag", "lm") and all(value == getattr(DEFAULTS, name) for name, value in stack.items()):
        return ElmanNetwork(
            n,
            options.states,
            k,
            options.nonlinearity,
            initial_state=options.initial_state,
            initialization=options.initialization,
        )
    if options.initial_state == "learned":
        raise Refused("--initial-state: expected zero for a model other than a single Elman network, found learned")
    if options.embedding is not None and dataset.encoding.vocabulary is None:
        raise Refused(
            f"--embedding: expected none, as {dataset.name} has features, not symbols, found {options.embedding}"
        )
    model = SequenceModel(n, options.states, k, nonlinearity=options.nonlinearity, task=dataset.task, **stack)
    if options.initialization == "orthogonal":
        for name, parameter in model.named_parameters():
            if "weight_hh" in name:
                torch.nn.init.orthogonal_(parameter)
    return model


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


def _fit(model: Any, options: TrainOptions, dataset: Dataset) -> History:
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


def _measure(options: TrainOptions, dataset: Dataset, model: Any, history: History) -> dict[str, Any]:
    """What metrics.json holds: the training, and the results on each part that was held out."""
    from throughtime.learning import forecasts, metrics

    found: dict[str, Any] = {
        "task": dataset.task,
        "parameters": model.num_parameters,
        "epochs": len(history),
        "best_epoch": history.best_epoch,
        "seconds": sum(history["seconds"]),
        "baselines": {},
    }
    encoding = dataset.encoding
    scored = {name: part for name, part in dataset.parts.items() if name != "train"} or {"train": dataset.train}
    if dataset.task == "forecast":
        found["naive_errors"] = forecasts.naive_errors(dataset.train, encoding)
        name, part = list(scored.items())[-1]
        ahead = {"horizon": options.horizon, "season": options.season}
        return found | {name: forecasts.backtest(model, part, encoding, found["naive_errors"], **ahead)}
    truncate = None if isinstance(options.truncate, str) else options.truncate
    found["baselines"] = metrics.baselines(dataset.train, list(scored.values())[-1])
    return found | {name: metrics.measure_labels(model, part, encoding, truncate) for name, part in scored.items()}


def _pictures(options: TrainOptions, dataset: Dataset, history: History, results: dict[str, Any]) -> dict[str, bytes]:
    """The learning curve, and the confusion matrix where there is one, by file name."""
    from throughtime.cli import pictures

    found = {
        "learning-curve.png": pictures.learning_curve(
            history, f"{dataset.name}, d = {options.states}", results["baselines"]
        )
    }
    last = list(dataset.parts)[-1]
    if "confusion" in results[last]:
        title = f"{last} part of {dataset.name}"
        found["confusion-matrix.png"] = pictures.confusion_matrix(
            results[last]["confusion"], dataset.encoding.labels, title
        )
    return found
