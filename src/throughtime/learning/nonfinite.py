"""What is known of a loss or gradient that is not finite, and the black box that keeps it.

nonfinite/report.json          epoch, update, loss, gradient norm, the norms before, where it began
nonfinite/batch.safetensors    x, y, lengths and s0 of the batch
nonfinite/model.safetensors    the weights that it met; beside them, model.json as in a run folder
nonfinite/SHA256SUMS           the checksums of these files

`read_black_box` opens it again, and `anatomy.window.before_the_fault` takes the gradient apart that led to it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.core.loss import counted_labels, errors
from throughtime.core.weights import settled
from throughtime.data.batches import Batch
from throughtime.data.files import write_atomically
from throughtime.engines import reference
from throughtime.learning.checksums import check_checksums, write_checksums
from throughtime.learning.tensor_files import read_tensors
from throughtime.models.cell_layers import CellFactory
from throughtime.models.model import ElmanNetwork
from throughtime.models.states import State, named, take

FILES = ("report.json", "batch.safetensors", "model.safetensors", "model.json")
KEPT = 10
"""How many gradient norms before the bad one are told."""


@dataclass(frozen=True)
class Place:
    """A step of a sequence of the batch: its row and t, both from 0."""

    row: int
    t: int


@dataclass(frozen=True)
class Report:
    """What happened.

    Attributes:
        epoch, update, updates: where: the update of so many in the epoch, from 1.
        loss, gradient_norm: those found, before clipping.
        norms: the gradient norms of the updates before, the last one last.
        state: the first step whose state is not finite; None: all are, or the model does not show its states.
        delta: the first step that the backward sweep, which goes from the last t to the first, left the finite range at.
        parameters: those whose gradient is not finite.
    """

    epoch: int
    update: int
    updates: int
    loss: float
    gradient_norm: float
    norms: tuple[float, ...]
    state: Place | None
    delta: Place | None
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        told = [
            f"epoch {self.epoch}, update {self.update} of {self.updates}: expected a finite loss and gradient, found loss "
            f"{self.loss:g} and gradient norm {self.gradient_norm:g}"
        ]
        if self.state is not None:
            told.append(f"the state left the finite range first at step t={self.state.t} of row {self.state.row}")
        elif self.delta is not None:
            told.append(
                f"δ left the finite range first at step t={self.delta.t} of row {self.delta.row}, going backward"
            )
        if self.norms:
            told.append(f"gradient norms before it: {', '.join(f'{norm:.3g}' for norm in self.norms)}")
        return "; ".join(told)


class NonFiniteError(ArithmeticError):
    """A loss or gradient was NaN or infinite. The model keeps the weights from before the step that would have used it.

    Attributes:
        report: what happened.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(f"{report}; the model keeps the weights from before this update")


def examine(
    model: nn.Module,
    batch: Batch,
    s0: State | None,
    *,
    epoch: int,
    update: int,
    updates: int,
    loss: float,
    gradient_norm: float,
    norms: tuple[float, ...],
) -> Report:
    """Where a batch went wrong. The gradients that the parameters have are those of the batch.

    Args:
        s0: the states that the pieces started from; None: the model's own.
    """
    bad = tuple(n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all())
    state, delta = _places(model, batch, s0) if isinstance(model, ElmanNetwork) else (None, None)
    return Report(epoch, update, updates, loss, gradient_norm, norms, state, delta, bad)


def write_black_box(folder: Path, report: Report, model: nn.Module, batch: Batch, s0: State | None) -> None:
    """Write the folder `nonfinite`. Raises: OSError: it cannot be written."""
    from safetensors.torch import save

    from throughtime.learning.run import MODELS, describe

    tensors = {"x": batch.x, "y": batch.y, "lengths": batch.lengths} | named("s0", s0)
    kept = {name: value.detach().clone().contiguous() for name, value in tensors.items() if value is not None}
    model = settled(model)
    weights = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "batch.safetensors", save(kept))
    write_atomically(folder / "model.safetensors", save(weights))
    if type(model).__name__ in MODELS:
        write_atomically(folder / "model.json", json.dumps(describe(model), indent=2) + "\n")
    write_atomically(folder / "report.json", json.dumps(asdict(report), indent=2) + "\n")
    write_checksums(folder, [name for name in FILES if (folder / name).is_file()])


@dataclass(frozen=True)
class BlackBox:
    """What was kept of a batch: the report, the model as it met the batch, and the batch.

    Attributes:
        report: what happened.
        model: in evaluation mode.
        x, y, lengths: as in `loss`.
        s0: the states that the rows started from; None: the model's own.
    """

    report: Report
    model: nn.Module
    x: Tensor
    y: Tensor
    lengths: Tensor
    s0: State | None


def is_black_box(folder: Path) -> bool:
    """Whether a folder is meant as one."""
    return (folder / "report.json").is_file()


def read_black_box(folder: Path, *, cell: CellFactory | None = None) -> BlackBox:
    """What `write_black_box` wrote. Nothing in the folder is trusted.

    Args: cell: as in `throughtime.load`.

    Raises: OSError, ValueError: a file is missing or wrong; the message names it.
    """
    from throughtime.learning.run import load_model

    check_checksums(folder, [name for name in FILES if (folder / name).is_file()])
    path = folder / "batch.safetensors"
    batch = read_tensors(path)
    for name in ("x", "y", "lengths"):
        if name not in batch:
            raise ValueError(f"{path}: expected a tensor {name}, found {', '.join(batch) or 'none'}")
    x, y, lengths = batch["x"], batch["y"], batch["lengths"]
    rows = {len(part) if part.dim() else 0 for part in (x, y, lengths)}
    if len(rows) > 1 or rows == {0} or x.dim() < 2 or lengths.dtype != torch.int64 or lengths.dim() != 1:
        raise ValueError(f"{path}: expected x, y and lengths of the same rows, found other shapes")
    s0 = take("s0", batch)
    for name, part in named("s0", s0).items():
        if part.dim() not in (2, 3) or part.shape[-2] != len(x) or not part.is_floating_point():
            raise ValueError(f"{path}: {name}: expected states of {len(x)} rows, found shape {list(part.shape)}")
    if int(lengths.min()) < 1 or int(lengths.max()) > x.shape[1]:
        raise ValueError(f"{path}: lengths: expected 1 to {x.shape[1]}, found others")
    report = _read_report(folder / "report.json", lengths)
    return BlackBox(report, load_model(folder, finite=False, cell=cell), x, y, lengths, s0)


def _read_report(path: Path, lengths: Tensor) -> Report:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        places = {name: None if values[name] is None else Place(**values[name]) for name in ("state", "delta")}
        report = Report(**values | places | {name: tuple(values[name]) for name in ("norms", "parameters")})
        for place in filter(None, places.values()):
            if not 0 <= place.row < len(lengths) or not 0 <= place.t < int(lengths[place.row]):
                raise ValueError(f"no step {place.t} in row {place.row}")
        str(report)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: expected what a training reported, found: {error}") from error
    return report


def _places(net: ElmanNetwork, batch: Batch, s0: Any) -> tuple[Place | None, Place | None]:
    """The first step at which a state is not finite, and the first that δ meets on its way back."""
    net = settled(net)
    x, lengths = batch.x.transpose(0, 1), batch.lengths
    if s0 is None and net.s0 is not None:
        s0 = net.initial_state(len(lengths))
    with torch.no_grad():  # by the engine that keeps NaN and infinity as they are
        states, _ = reference.forward(x, net.U, net.W, net.b, s0, lengths, net.nonlinearity, False)
        broken = _steps(states)
        if broken or batch.y is None or batch.y.dim() != 2:
            return (min(broken, key=lambda place: place.t) if broken else None), None
        y = counted_labels(batch.y.T, lengths)
        e = errors(states @ net.V.T + net.c, y) / len(lengths)
        delta, _ = reference.backward(e @ net.V, None, states, net.W, None, net.nonlinearity, False)
        broken = _steps(delta)
        return None, (max(broken, key=lambda place: place.t) if broken else None)


def _steps(values: Tensor) -> list[Place]:
    """The steps of values [T, B, d] that are not all finite."""
    found: Any = (~values.isfinite().all(-1)).nonzero().tolist()
    return [Place(row, t) for t, row in found]
