"""The recipe of learning, one for every model: initialise; then, epoch after epoch, forward, loss, gradients, update.

    until satisfied:  L = loss(θ),  g = ∇L,  θ ← θ − update(g)          (gradient descent: update(g) = η g)

Truncated BPTT walks long sequences in consecutive windows of τ steps: the state is carried into the next window, the gradient
is cut at the window's edge (Williams and Peng, 1990). Clipping scales the whole gradient when its norm over all parameters
exceeds `clip_norm` (Pascanu et al., 2013).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from torch import nn

from throughtime.callbacks import Callback, Training
from throughtime.core.notation import REDUCTIONS, check_choice, check_positive, check_rate, check_seed
from throughtime.core.weights import dtype_of
from throughtime.data.batches import Window, schedule
from throughtime.data.sequences import Sequences
from throughtime.data.weighting import ClassWeight, weighted
from throughtime.learning.checkpoints import Checkpoints
from throughtime.learning.evaluation import evaluate
from throughtime.learning.given import Data, as_sequences
from throughtime.learning.history import History, Row
from throughtime.learning.interruption import deferred
from throughtime.learning.learner import Learner
from throughtime.learning.models import check_model, generator_of, seeded
from throughtime.learning.optimizers import OptimizerFactory, make_optimizer
from throughtime.learning.processes import Team
from throughtime.learning.progress import progress_bars
from throughtime.learning.telling import Callbacks, Function
from throughtime.learning.windows import checksum, labelled

LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
}
"""The factor of the learning rate, by the share of all updates done."""


def fit(
    model: Any,
    train: Data,
    valid: Data | None = None,
    *,
    optimizer: str | OptimizerFactory = "adam",
    lr: float | None = None,
    lr_schedule: str | Callable[[float], float] = "constant",
    epochs: int = 10,
    batch_size: int | None = None,
    clip_norm: float | Literal["auto"] | None = "auto",
    truncate: int | None = None,
    reduction: str = "sequence",
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    patience: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    callbacks: Iterable[Callback] = (),
    watch: Callback | Callable[[Any, Row], object] | None = None,
    checkpoint: Checkpoints | None = None,
    on_nonfinite: str = "stop",
    fabric: Any | None = None,
) -> History:
    """Train any module that has `.loss(x, y, lengths)`.

    Args:
        model: changed in place. Its loss is summed over the steps and averaged over the instances ("sequence"), or it takes
            `reduction=`. For `truncate` it has `.initial_state(B)`, and its loss takes `s0=` and `return_state=True`, as
            `ElmanNetwork` and `SequenceModel` do. A model with only `.loss` is judged by that on `valid`; where it has a
            `forward` and `valid` has labels, model(x, lengths) are their logits, which tell the accuracy, too.
        train, valid: `Sequences`; or (x, y) or (x, y, lengths), lists of sequences or padded arrays or tensors:
            x [B, T, n] float or [B, T] integer symbols, y [B, T] labels (−100: ignored), lengths [B]; for a model of a task
            with a target for each sequence, y [B], or values [B, k]. Or PyTorch's: a `Dataset` of pairs (x, y), a sequence
            each, or a `DataLoader` of such batches. They are read once, before the training, which then batches and shuffles
            by itself.
        optimizer: "gd" (gradient descent on the full batch, θ ← θ − η ∇θ), "sgd", "momentum", "rmsprop", "adam", "adamw", or
            a factory over torch.optim.
        lr: learning rate η; None: the optimiser's default.
        lr_schedule: "constant"; or "cosine": η falls to 0 along half a cosine over all updates (Loshchilov and Hutter, 2017);
            or a function of the share of all updates done, whose value is what η is multiplied by.
        epochs: passes over the training sequences.
        batch_size: instances per update; None: 32, or that of a DataLoader, or all of them for "gd".
        clip_norm: greatest norm of the gradient over all parameters; None: not clipped; "auto": 1, and None for "gd".
        truncate: window τ in steps of truncated BPTT; None: each sequence whole, which is exact.
        reduction: "sequence" or "token", as in `ElmanNetwork.loss`.
        sample_weight: how much each training sequence counts, [S] numbers of 0 or more; or lists of such numbers, one for each
            step. Sums of weights take the place of the counts, as `throughtime.core.loss` says; the model's loss takes
            `sample_weight=`. On `valid` every target counts once.
        class_weight: how much each label counts: "balanced" (all classes together the same), a mapping, or [k] numbers.
        patience: stop when the validation loss has not fallen for so many epochs, and restore the weights of the best one.
        seed: of the shuffling and of dropout; the same seed gives the same weights on the same machine and threads. The
            library's own models draw from a generator of their training, so that trainings may run in several Python threads.
            Where any part of the model, or the optimiser, is of another library, PyTorch's global generator is seeded for the
            time of the training and then put back: run one of those at a time.
        progress: a progress bar on standard error; None: where that is a terminal.
        callbacks: told of the start, every update, every epoch and the end; they may stop the training. See `tt.callbacks`.
        watch: one more; or a function, called after every epoch with the model and the row of the history, to which it may add
            numbers.
        checkpoint: where to write checkpoints, how often, and whether to go on from the last one, which ends with the same
            weights to the bit as a training that was never stopped. Ctrl-C, SIGTERM and SIGHUP write one before they end it.
        on_nonfinite: a loss or gradient that is NaN or infinite: "stop", or "skip": leave that batch out. Either way a black
            box, the folder `nonfinite` beside the checkpoints, keeps what happened.
        fabric: a launched `lightning_fabric.Fabric`, whose processes share every batch: all call `fit` with the same arguments.

    Returns:
        The `History`, a row per epoch.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite, and so for every batch of an epoch with "skip".
        Interrupted: Ctrl-C, SIGTERM or SIGHUP, where there are checkpoints.
        OSError: a checkpoint cannot be written.
        TypeError, ValueError: an argument, the data or a checkpoint is wrong; the message names it.
    """
    sequences, held_out, batch_size = _checked(model, train, valid, optimizer, epochs, batch_size, truncate, patience)
    sequences = weighted(sequences, sample_weight, class_weight)
    check_choice("reduction", reduction, REDUCTIONS)
    if not callable(lr_schedule):
        check_choice("lr_schedule", lr_schedule, tuple(LR_SCHEDULES))
    factor = lr_schedule if callable(lr_schedule) else LR_SCHEDULES[lr_schedule]
    seed = check_seed(seed)
    check_choice("on_nonfinite", on_nonfinite, ("stop", "skip"))
    check_model(
        model,
        reduction,
        truncate is not None,
        sequences.weights is not None,
        held_out is not None and labelled(held_out),
    )
    limit = (None if optimizer == "gd" else 1.0) if clip_norm == "auto" else clip_norm
    if limit is not None:
        check_rate("clip_norm", limit, ", None or 'auto'")
    update = make_optimizer(optimizer, model.parameters(), lr)
    rates = [group["lr"] for group in update.param_groups]
    generator = generator_of(model, update)
    team = Team(fabric)

    def set_rate(done: float) -> None:
        for group, rate in zip(update.param_groups, rates, strict=True):
            group["lr"] = rate * factor(done / epochs)

    def plan(epoch: int) -> list[Window]:
        return schedule(sequences.lengths, batch_size, truncate=truncate, seed=seed, epoch=epoch)

    windows = plan(0)
    watched = [] if watch is None else [watch if isinstance(watch, Callback) else Function(watch)]
    training = Training(model, update, epochs, len(windows), History())
    told = Callbacks([*callbacks, *watched, *progress_bars(progress)], training, team)
    lanes = None if truncate is None else model.initial_state(len(windows[0].lanes))
    learner = Learner(
        model, sequences, update, generator, lanes, reduction, limit, set_rate, on_nonfinite, team, told, checkpoint
    )
    if checkpoint is not None:
        learner.settings = {
            "lr": rates,
            "optimizer": f"{type(update).__name__} {update.defaults}",
            "lr_schedule": getattr(lr_schedule, "__qualname__", lr_schedule),
            "epochs": epochs,
            "batch_size": batch_size,
            "clip_norm": limit,
            "truncate": truncate,
            "reduction": reduction,
            "patience": patience,
            "seed": seed,
            "train": checksum(sequences),
            "valid": None if held_out is None else checksum(held_out),
        }
    with seeded(generator, seed), deferred(checkpoint is not None) as pending:
        standing = learner.begin()
        training.history, training.update = standing.history, (standing.epoch - 1) * len(windows) + standing.done
        with told.begun():
            while standing.epoch <= epochs and standing.best.since < (patience or math.inf) and not told.stopped:
                training.epoch = standing.epoch
                began = time.perf_counter() - standing.seconds
                learner.epoch(standing, plan(standing.epoch), began, pending)
                row = standing.row()
                if held_out is not None:
                    found = evaluate(model, held_out, truncate=truncate, team=team)
                    row["valid_loss"] = found.loss
                    if found.accuracy is not None:
                        row["valid_accuracy"] = found.accuracy
                row["seconds"] = time.perf_counter() - began
                standing.history.rows.append(row)
                told.epoch()
                if patience is not None:
                    standing.best.note(model, row["valid_loss"])
                standing.next_epoch()
                learner.heed(standing, pending)
        if checkpoint is not None:
            learner.save(standing)
    if standing.best.weights is not None:
        model.load_state_dict(standing.best.weights)
    standing.history.stopped_early = told.stopped or (patience is not None and standing.best.since >= patience)
    return standing.history


def _checked(
    model: Any,
    train: Data,
    valid: Data | None,
    optimizer: str | OptimizerFactory,
    epochs: int,
    batch_size: int | None,
    truncate: int | None,
    patience: int | None,
) -> tuple[Sequences, Sequences | None, int]:
    check_positive("epochs", epochs)
    for name, value in (("truncate", truncate), ("patience", patience), ("batch_size", batch_size)):
        if value is not None:
            check_positive(name, value)
    if not isinstance(model, nn.Module) or not callable(getattr(model, "loss", None)):
        raise TypeError(f"model: expected a module with .loss(x, y, lengths), found {type(model).__name__}")
    if patience is not None and valid is None:
        raise ValueError("patience: expected validation sequences `valid` to watch, found None")
    dtype = dtype_of(model)
    sequences = as_sequences(train, dtype, "train", model)
    held_out = None if valid is None else as_sequences(valid, dtype, "valid", model)
    if optimizer != "gd":
        return sequences, held_out, batch_size or getattr(train, "batch_size", None) or 32
    if truncate is not None or (batch_size is not None and batch_size < len(sequences)):
        raise ValueError(
            'optimizer "gd": expected the full batch of whole sequences; take "sgd" with batch_size or truncate'
        )
    return sequences, held_out, len(sequences)
