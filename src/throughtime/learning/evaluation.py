"""How well a model does on sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.core.loss import step_losses
from throughtime.core.weights import dtype_of
from throughtime.data.batches import Batch, schedule
from throughtime.data.sequences import IGNORED, Sequences
from throughtime.learning.given import Data, as_sequences
from throughtime.learning.models import has_forward
from throughtime.learning.processes import Team
from throughtime.learning.windows import counted, labelled, walk


@dataclass(frozen=True)
class Evaluation:
    """How well a model did.

    Attributes:
        loss: per target that counts: cross-entropy in nats for labels, the model's loss (squared error) for values.
        accuracy: the share of labels predicted right; None for values, and for a model that has only a loss.
        count: how many targets counted.
    """

    loss: float
    accuracy: float | None
    count: int


def evaluate(
    model: Any, data: Data, *, batch_size: int = 64, truncate: int | None = None, team: Team | None = None
) -> Evaluation:
    """The loss and accuracy of `model` on `data`, each target counted once.

    Args:
        model: model(x, lengths) -> logits, where the targets are labels; .loss(x, y, lengths) where they are values, or the
            model has no forward.
        data: `Sequences`, (x, y), (x, y, lengths), a Dataset or a DataLoader, as in `fit`.
        batch_size: sequences computed side by side; changes the speed and the memory, not the result.
        truncate: walk the sequences in windows of so many steps, carrying the state: for long sequences.
        team: processes that share the work; each gets the result of the whole.
    """
    team = team or Team()
    sequences = as_sequences(data, dtype_of(model), "data", model)
    labels = labelled(sequences) and has_forward(model)
    total, right, count = 0.0, 0, 0

    def run(batch: Batch, **state: Any) -> Any:
        if labels:
            return model(batch.x, batch.lengths, **state)
        return model.loss(batch.x, batch.y, batch.lengths, **state)

    windows = [team.share(w) for w in schedule(sequences.lengths, batch_size, truncate=truncate, shuffle=False)]
    with _evaluating(model):
        for _, batch, found in walk(model, sequences, windows, truncate is not None, run):
            assert batch.y is not None
            if labels:
                total += float(step_losses(found, batch.y).sum(dtype=torch.float64))
                right += int((found.argmax(-1) == batch.y)[batch.y != IGNORED].sum())
            else:
                total += float(found) * len(batch.lengths)
            count += counted(batch.y)
    if team.size > 1:
        total, *counts = team.sum(torch.tensor([total, right, count], dtype=torch.float64)).tolist()
        right, count = map(int, counts)
    return Evaluation(total / max(count, 1), right / max(count, 1) if labels else None, count)


def predict_logits(
    model: Any, sequences: Sequences, *, batch_size: int = 64, truncate: int | None = None
) -> list[Tensor]:
    """What `model` predicts for each sequence, in their order: logits [T_i, k] (or [k], from a model of whole sequences).

    Args: as in `evaluate`; the sequences need no targets.
    """
    pieces: list[list[Tensor]] = [[] for _ in range(len(sequences))]
    windows = schedule(sequences.lengths, batch_size, truncate=truncate, shuffle=False)

    def run(batch: Batch, **state: Any) -> Any:
        return model(batch.x, batch.lengths, **state)

    with _evaluating(model):
        for window, batch, logits in walk(model, sequences, windows, truncate is not None, run):
            for row, length, z in zip(window.rows, batch.lengths, logits, strict=True):
                pieces[row].append(z[:length] if z.dim() == 2 else z)
    return [torch.cat(own) if own[0].dim() == 2 else own[-1] for own in pieces]


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Without gradients or dropout; the model's mode is as before afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
