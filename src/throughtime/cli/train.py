"""`throughtime train`: from a source to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.cells import own_cell
from throughtime.cli.errors import CommandError, Refused, one_line, refusing
from throughtime.cli.options import DEFAULTS, TrainOptions
from throughtime.cli.parser import ENVIRONMENT
from throughtime.cli.terminal import print_json, quieten, say
from throughtime.untrusted.showing import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from throughtime.anatomy.watch import Watch
    from throughtime.callbacks import Callback
    from throughtime.data import Dataset, Encoding
    from throughtime.learning import History
    from throughtime.learning.forecasts import Rolled


def train(options: TrainOptions = DEFAULTS) -> None:
    """Train a model, tell how well it does on the test part, and write a run folder.

    Without arguments, an Elman network learns which kind of token each character of Python source belongs to.
    """
    from throughtime.callbacks import TensorBoard
    from throughtime.cli import choices, report, samples, unfinished
    from throughtime.cli.doctor import environment
    from throughtime.cli.inputs import training_data
    from throughtime.learning import forecasts, run
    from throughtime.learning.processes import launched, leave
    from throughtime.learning.windows import checksum

    quieten(options.quiet)
    fabric = launched()
    leads = fabric is None or fabric.is_global_zero
    placed, out = unfinished.place(options, fabric is not None)
    if placed is None:
        say(f"{out}: the training has ended, there is nothing to resume")
        return
    followed = [] if placed.tensorboard is None else [TensorBoard(placed.tensorboard)]
    choices.check_values(placed)
    with refusing():
        options, dataset = training_data(placed)
        options = choices.decided(options, dataset)
        if dataset.task == "forecast":
            forecasts.check_backtest(
                list(dataset.parts.values())[-1], dataset.encoding, options.horizon, options.season
            )
        model = choices.new_model(options, dataset)
    if leads:
        _introduce(options, dataset, model)
    watch = _watch(options, dataset) if options.watch and leads else None
    callbacks = [*followed, *([] if watch is None else [watch])]
    with _computing_on(options.engine):
        with unfinished.telling_what_is_left(out, options.cell):
            history = _fit(model, options, dataset, out, fabric, callbacks)
        leave()
        if not leads:
            return
        if dataset.valid is not None and history.best_epoch < len(history):
            say(f"kept the weights of epoch {history.best_epoch}, with the lowest valid loss")
        if dataset.valid is not None:
            dataset = replace(dataset, encoding=_calibrated(options, dataset, model))
        results = _measure(options, dataset, model, history)
        checksums = {name: checksum(part) for name, part in dataset.parts.items()}
        with unfinished.telling_what_is_left(out, options.cell):
            run.save(
                out,
                model,
                dataset.encoding,
                config=options.resolved() | {ENVIRONMENT: environment() | {"sha256": checksums}},
                history=history,
                metrics=results,
                overwrite=options.overwrite or options.resume,
            )
        unfinished.clear(out)
        _draw(out, options, dataset, model, history, results, watch)
        last = list(dataset.parts)[-1]
        if options.json:
            print_json({"run": str(out), "source": dataset.name, "part": last, **results})
            return
        print(report.headline(last, dataset.name, results[last]))
        print(report.results(results[last], results["baselines"]))
        samples.show_sample(run.load(out, cell=own_cell(options.cell)), dataset.parts[last])
        print(f"run folder: {out}")
        if sentence := report.warning(results[last], results["baselines"]):
            print(sentence)


def _introduce(options: TrainOptions, dataset: Dataset, model: Any) -> None:
    """Say what was read, and what is about to happen."""
    from throughtime.cli.inputs import describe

    parts = ", ".join(
        f"{name} {len(part):,} sequences of {int(part.lengths.sum()):,} steps" for name, part in dataset.parts.items()
    )
    for line in describe(dataset):
        say(line)
    say(f"{dataset.name} ({dataset.task}): {parts}")
    say(
        f"{type(model).__name__}: n = {dataset.n}, d = {options.states}, k = {dataset.k}; {model.num_parameters:,} parameters"
    )
    if isinstance(options.truncate, int):
        say(f"the gradient goes back at most {options.truncate} steps; the state is carried on")


@contextmanager
def _computing_on(engine: str) -> Iterator[None]:
    from throughtime.operators import ops

    before = ops.get_engine()
    try:
        ops.set_engine(engine)
    except RuntimeError as error:
        raise Refused(f"--engine: {error}") from error
    try:
        yield
    finally:
        ops.set_engine(before)


def _watch(options: TrainOptions, dataset: Dataset) -> Watch:
    """A watch over the first steps of the first held-out sequence."""
    from throughtime.anatomy.watch import Watch
    from throughtime.cli import choices
    from throughtime.data.batches import collate, schedule

    part = dataset.valid or dataset.train
    first = collate(
        part.take([0]),
        schedule(part.lengths[:1], 1, truncate=choices.WINDOW if part.per_step else None, shuffle=False)[0],
    )
    assert first.y is not None  # what is trained on has targets
    return Watch(first.x, first.y, first.lengths, reduction=options.reduction, say=say)


def _fit(
    model: Any, options: TrainOptions, dataset: Dataset, out: Path, fabric: Any, callbacks: list[Callback]
) -> History:
    from throughtime.cli import unfinished
    from throughtime.learning import Checkpoints, Interrupted, NonFiniteError, fit

    assert isinstance(options.epochs, int)  # `choices.decided` has seen to that
    folder = unfinished.folder(out)
    resume = unfinished.how_to_go_on(out, options.cell)
    try:
        with refusing():
            every, config = options.checkpoint_every, options.resolved()
            checkpoint = Checkpoints(folder, every, resume=options.resume, config=config)
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
            class_weight=options.class_weight,
            patience=options.epochs if options.patience is None and dataset.valid is not None else options.patience,
            seed=options.seed,
            progress=(fabric is None or fabric.is_global_zero) and not options.quiet,
            callbacks=callbacks,
            checkpoint=checkpoint,
            on_nonfinite=options.on_nonfinite,
            fabric=fabric,
        )
    except NonFiniteError as error:
        told = f"{error}; see {folder / 'nonfinite'}; try a lower --lr, or leave such batches out: {resume}"
        raise CommandError(f"{told} --on-nonfinite skip") from error
    except Interrupted:
        say(f"saved; {resume}")
        raise
    except (ValueError, TypeError) as error:
        unfinished.clear_unless_begun(out)
        raise Refused(one_line(error)) from error


def _calibrated(options: TrainOptions, dataset: Dataset, model: Any) -> Encoding:
    """The encoding with what the validation part teaches about the model's outputs."""
    from throughtime.learning import forecasts, metrics

    assert dataset.valid is not None
    if dataset.task == "lm":
        return dataset.encoding
    if dataset.task != "forecast":
        truncate = None if isinstance(options.truncate, str) else options.truncate
        return metrics.calibrate(model, dataset.valid, dataset.encoding, truncate)
    try:
        return forecasts.calibrate(model, dataset.valid, dataset.encoding, options.horizon, options.season)
    except ValueError as error:  # too short for the season
        say(f"the forecasts are the model's alone: {error}")
        return dataset.encoding


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


def _draw(
    out: Path,
    options: TrainOptions,
    dataset: Dataset,
    model: Any,
    history: History,
    results: dict[str, Any],
    watch: Watch | None,
) -> None:
    """Add the learning curve, and the confusion matrix, forecasts and what was watched where there are such, to the run folder.

    The run is whole without them: a picture that fails costs a warning.
    """
    from throughtime.cli import pictures
    from throughtime.data import write_atomically

    last, called = list(dataset.parts)[-1], short(dataset.name)
    drawn: dict[str, Callable[[], Figure]] = {
        "learning-curve.png": lambda: pictures.learning_curve(
            history, f"{called}, d = {options.states}", results["baselines"]
        )
    }
    if "confusion" in results[last]:
        drawn["confusion-matrix.png"] = lambda: pictures.confusion_matrix(
            results[last]["confusion"], dataset.encoding.labels, f"{last} part of {called}"
        )
    if dataset.task == "forecast":
        drawn["forecast.png"] = lambda: pictures.forecast(_rolled(options, dataset, model), dataset.encoding, called)
    if watch is not None and watch.looks:
        drawn["memory.png"] = watch.picture
    for name, draw in drawn.items():
        try:
            write_atomically(out / name, pictures.as_png(draw))
        except Exception as error:  # whatever a font or a name makes of it
            say(f"warning: {out / name}: expected a picture, found {type(error).__name__}: {one_line(error)}")


def _rolled(options: TrainOptions, dataset: Dataset, model: Any) -> Rolled:
    """The forecasts of the longest series of the last part."""
    from throughtime.learning import forecasts

    part = list(dataset.parts.values())[-1]
    rolled = forecasts.roll(model, part, dataset.encoding, options.horizon, options.season)
    return max(rolled, key=lambda own: len(own.times))
