"""The recipe of learning, one for every model: initialise; then, epoch after epoch, forward, loss, gradients, update.

    until satisfied:  L = loss(θ),  g = ∇L,  θ ← θ − update(g)          (gradient descent: update(g) = η g)

Truncated BPTT walks long sequences in consecutive windows of τ steps: the state is carried into the next window, the gradient
is cut at the window's edge (Williams and Peng, 1990). Clipping scales the whole gradient when its norm over all parameters
exceeds `clip_norm` (Pascanu et al., 2013).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from throughtime.data.batches import Batch, Window, schedule
from throughtime.data.sequences import Sequences
from throughtime.learning.evaluation import evaluate
from throughtime.learning.history import History, Row
from throughtime.learning.optimizers import OptimizerFactory, make_optimizer
from throughtime.learning.progress import Progress, progress_bar
from throughtime.learning.windows import Data, as_sequences, counted, parameter_dtype, walk
from throughtime.notation import REDUCTIONS, check_choice, check_positive

LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
}
"""The factor of the learning rate, by the share of all updates done."""


class NonFiniteError(ArithmeticError):
    """A loss or gradient was NaN or infinite. The model keeps the weights from before the step that would have used it."""


def fit(
    model: Any,
    train: Data,
    valid: Data | None = None,
    *,
    optimizer: str | OptimizerFactory = "adam",
    lr: float | None = None,
    lr_schedule: str = "constant",
    epochs: int = 10,
    batch_size: int | None = None,
    clip_norm: float | Literal["auto"] | None = "auto",
    truncate: int | None = None,
    reduction: str = "sequence",
    patience: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    watch: Callable[[Any, Row], None] | None = None,
) -> History:
    """Train any module that has `.loss(x, y, lengths)`.

    Args:
        model: changed in place. Its loss is summed over the steps and averaged over the instances ("sequence"), or it takes
            `reduction=`. For `truncate` it has `.initial_state(B)`, and its loss takes `s0=` and `return_state=True`, as
            `ElmanNetwork` and `SequenceModel` do.
        train, valid: `Sequences`; or (x, y) or (x, y, lengths), lists of sequences or padded arrays or tensors:
            x [B, T, n] float or [B, T] integer symbols, y [B, T] labels (−100: ignored), lengths [B].
        optimizer: "gd" (gradient descent on the full batch, θ ← θ − η ∇θ), "sgd", "momentum", "rmsprop", "adam", "adamw", or
            a factory over torch.optim.
        lr: learning rate η; None: the optimiser's default.
        lr_schedule: "constant"; or "cosine": η falls to 0 along half a cosine over all updates (Loshchilov and Hutter, 2017).
        epochs: passes over the training sequences.
        batch_size: instances per update; None: 32, or all of them for "gd".
        clip_norm: greatest norm of the gradient over all parameters; None: not clipped; "auto": 1, and None for "gd".
        truncate: window τ in steps of truncated BPTT; None: each sequence whole, which is exact.
        reduction: "sequence" or "token", as in `ElmanNetwork.loss`.
        patience: stop when the validation loss has not fallen for so many epochs, and restore the weights of the best one.
        seed: of the shuffling and of dropout; the same seed gives the same weights on the same machine and threads.
        progress: a progress bar on standard error; None: where that is a terminal.
        watch: called after every epoch with the model and the row of the history, to which it may add.

    Returns:
        The `History`, a row per epoch.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite.
        TypeError, ValueError: an argument or the data is wrong; the message names it.
    """
    sequences, held_out, batch_size = _checked(model, train, valid, optimizer, epochs, batch_size, truncate, patience)
    check_choice("reduction", reduction, REDUCTIONS)
    check_choice("lr_schedule", lr_schedule, tuple(LR_SCHEDULES))
    limit = (None if optimizer == "gd" else 1.0) if clip_norm == "auto" else clip_norm
    if limit is not None and not limit > 0:
        raise ValueError(f"clip_norm: expected a positive number, None or 'auto', found {clip_norm!r}")
    update = make_optimizer(optimizer, model.parameters(), lr)
    options = {} if reduction == "sequence" else {"reduction": reduction}
    history, best = History(), _Best(patience)

    rates = [group["lr"] for group in update.param_groups]

    def set_rate(done: float) -> None:
        for group, rate in zip(update.param_groups, rates, strict=True):
            group["lr"] = rate * LR_SCHEDULES[lr_schedule](done / epochs)

    def plan(epoch: int) -> list[Window]:
        return schedule(sequences.lengths, batch_size, truncate=truncate, seed=seed, epoch=epoch)

    with torch.random.fork_rng(devices=[]), progress_bar(progress, epochs * len(plan(0))) as bar:
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            began = time.perf_counter()
            row: Row = {"epoch": epoch}
            row |= _train_epoch(model, sequences, plan(epoch), truncate, options, update, set_rate, limit, bar, epoch)
            if held_out is not None:
                found = evaluate(model, held_out, truncate=truncate)
                row["valid_loss"] = found.loss
                if found.accuracy is not None:
                    row["valid_accuracy"] = found.accuracy
            row["seconds"] = time.perf_counter() - began
            if watch is not None:
                watch(model, row)
            history.rows.append(row)
            bar.epoch(row)
            if best.no_better(model, row):
                history.stopped_early = True
                break
    best.restore(model)
    return history


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
    if not callable(getattr(model, "loss", None)):
        raise TypeError(f"model: expected a module with .loss(x, y, lengths), found {type(model).__name__}")
    check_positive("epochs", epochs)
    for name, value in (("truncate", truncate), ("patience", patience), ("batch_size", batch_size)):
        if value is not None:
            check_positive(name, value)
    if patience is not None and valid is None:
        raise ValueError("patience: expected validation sequences `valid` to watch, found None")
    dtype = parameter_dtype(model)
    sequences = as_sequences(train, dtype, "train")
    held_out = None if valid is None else as_sequences(valid, dtype, "valid")
    if optimizer != "gd":
        return sequences, held_out, 32 if batch_size is None else batch_size
    if truncate is not None or (batch_size is not None and batch_size < len(sequences)):
        raise ValueError(
            'optimizer "gd": expected the full batch of whole sequences; take "sgd" with batch_size or truncate'
        )
    return sequences, held_out, len(sequences)


def _train_epoch(
    model: Any,
    sequences: Sequences,
    windows: list[Window],
    truncate: int | None,
    options: dict[str, str],
    optimizer: torch.optim.Optimizer,
    set_rate: Callable[[float], None],
    limit: float | None,
    bar: Progress,
    epoch: int,
) -> Row:
    """One update per window. Returns the mean loss per counted target and the mean gradient norm."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    total, count, norms = 0.0, 0, 0.0
    model.train()

    def loss(batch: Batch, **state: Any) -> Any:
        return model.loss(batch.x, batch.y, batch.lengths, **options, **state)

    for i, (_, batch, value) in enumerate(walk(model, sequences, windows, truncate is not None, loss)):
        optimizer.zero_grad()
        value.backward()
        norm, loss_value = _gradient_norm(parameters, limit), value.item()
        if not (math.isfinite(norm) and math.isfinite(loss_value)):
            raise NonFiniteError(
                f"epoch {epoch}, update {i + 1} of {len(windows)}: expected a finite loss and gradient, found loss "
                f"{loss_value:g} and gradient norm {norm:g}; the model keeps the weights from before this update"
            )
        set_rate(epoch - 1 + i / len(windows))
        optimizer.step()
        steps = counted(batch.y)  # type: ignore[arg-type]
        total += loss_value * (steps if options else len(batch.lengths))
        count += steps
        norms += norm
        bar.step()
    return {"train_loss": total / max(count, 1), "gradient_norm": norms / len(windows)}


def _gradient_norm(parameters: list[nn.Parameter], limit: float | None) -> float:
    """The norm of the gradient over all parameters, which is then scaled to at most `limit`."""
    if limit is not None:
        return float(nn.utils.clip_grad_norm_(parameters, limit))
    return float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))


class _Best:
    """The weights of the epoch with the lowest validation loss, kept when there is a patience to run out."""

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self._loss, self._since = math.inf, 0
        self._weights: dict[str, torch.Tensor] | None = None

    def no_better(self, model: nn.Module, row: Row) -> bool:
        """Take note of an epoch; whether patience has run out."""
        if self._patience is None:
            return False
        if row["valid_loss"] < self._loss:
            self._loss, self._since = row["valid_loss"], 0
            self._weights = {name: value.clone() for name, value in model.state_dict().items()}
        else:
            self._since += 1
        return self._since >= self._patience

    def restore(self, model: nn.Module) -> None:
        if self._weights is not None:
            model.load_state_dict(self._weights)
