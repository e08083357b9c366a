"""Where a training stands: everything that decides how it goes on, to and from a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.learning.checkpoints import State
from throughtime.learning.history import History, Row
from throughtime.learning.windows import Carried
from throughtime.models.states import State as States
from throughtime.models.states import named, take


@dataclass
class Best:
    """The weights of the epoch with the lowest validation loss."""

    loss: float = math.inf
    since: int = 0
    weights: dict[str, Tensor] | None = None

    def note(self, model: nn.Module, valid_loss: float) -> None:
        """Take note of an epoch; `since` counts those after the best one."""
        if valid_loss < self.loss:
            self.loss, self.since = valid_loss, 0
            self.weights = {name: value.clone() for name, value in model.state_dict().items()}
        else:
            self.since += 1


@dataclass
class Standing:
    """Where a training stands.

    Attributes:
        epoch: the one in progress, from 1.
        done: how many windows of its schedule are done; the schedule depends on the seed and the epoch alone.
        total, count, norms, skipped: over those windows, the sum of losses, the targets that counted (or their weights), the
            sum of gradient norms, and the windows left out because they were not finite.
        seconds: spent in this epoch.
        carried: the states of the lanes, where they are carried.
        history, best: of the epochs before.
    """

    epoch: int = 1
    done: int = 0
    total: float = 0.0
    count: float = 0
    norms: float = 0.0
    skipped: int = 0
    seconds: float = 0.0
    carried: Carried | None = None
    history: History = field(default_factory=History)
    best: Best = field(default_factory=Best)

    def row(self) -> Row:
        """What the epoch's windows came to: the mean loss per counted target and the mean gradient norm."""
        made = self.done - self.skipped
        row: Row = {
            "epoch": self.epoch,
            "train_loss": self.total / (self.count or 1),
            "gradient_norm": self.norms / made,
        }
        return row | ({"skipped": self.skipped} if self.skipped else {})

    def next_epoch(self) -> None:
        """Close the epoch, whose row the history has."""
        self.epoch += 1
        self.done = self.count = self.skipped = 0
        self.total = self.norms = self.seconds = 0.0
        self.carried = None


NUMBERS = {"epoch": int, "done": int, "total": float, "count": float, "norms": float, "skipped": int, "seconds": float}


def pack(
    standing: Standing,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    lanes: States | None,
    settings: dict[str, Any],
) -> State:
    """The tensors and numbers of a checkpoint. The state of the random generator is among them.

    Args:
        lanes: the carried states of all lanes.
        settings: what the training was asked to do, in values that JSON knows.

    Raises: TypeError: the optimiser keeps something that is neither a tensor nor a number.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (standing.best.weights or {}).items()}
    tensors["random"] = generator.get_state()
    tensors |= named("lanes", lanes)
    values: dict[str, Any] = {name: getattr(standing, name) for name in NUMBERS}
    values |= {"best_loss": standing.best.loss, "best_since": standing.best.since, "history": standing.history.rows}
    values |= {"optimizer": {}, "settings": settings}
    for index, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            elif value is None or isinstance(value, bool | int | float):
                values["optimizer"][f"{index}.{name}"] = value
            else:
                raise TypeError(
                    f"optimizer: expected one whose state is tensors and numbers, so that it fits in a checkpoint, "
                    f"found {name}, a {type(value).__name__}"
                )
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}, values


def unpack(
    state: State,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    lanes: States | None,
    settings: dict[str, Any],
) -> Standing:
    """Where the training stood; gives the model, the optimiser and the random generator what they had then.

    Args: lanes: of the parts, shapes and dtype that carried states have; None: no states are carried.

    Raises: ValueError: a checkpoint of another training (names what differs), or one that nothing here has written.
    """
    tensors, values = state
    _check_settings(values.get("settings"), settings)
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    for name, value in weights.items():
        _check_tensor(tensors, f"model.{name}", value.shape, value.dtype)
    standing = Standing(**{name: _number(values, name, kind) for name, kind in NUMBERS.items()})
    if min(standing.epoch - 1, standing.done, standing.count, standing.done - standing.skipped, standing.skipped) < 0:
        raise ValueError("checkpoint: expected numbers of epochs, windows and targets, found negative ones")
    standing.history.rows = _rows(values.get("history"), standing.epoch - 1)
    standing.best = Best(_number(values, "best_loss", float), _number(values, "best_since", int))
    if any(name.startswith("best.") for name in tensors):
        standing.best.weights = {
            name: _check_tensor(tensors, f"best.{name}", value.shape, value.dtype) for name, value in weights.items()
        }
    if (carried := take("lanes", tensors)) is not None and lanes is not None:
        for name, part in named("lanes", lanes).items():
            _check_tensor(tensors, name, part.shape, part.dtype)
        standing.carried = Carried(carried)
    random = _check_tensor(tensors, "random", generator.get_state().shape, torch.uint8)
    _restore_optimizer(optimizer, tensors, values.get("optimizer"))
    model.load_state_dict({name: tensors[f"model.{name}"] for name in weights})
    try:
        generator.set_state(random)
    except RuntimeError as error:
        raise ValueError(
            f"checkpoint: random: expected a state of PyTorch's generator, found another: {error}"
        ) from error
    return standing


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: Any) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    named = {name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")}
    for key, value in [*named.items(), *(numbers.items() if isinstance(numbers, dict) else ())]:
        index, _, name = key.partition(".")
        if not (index.isascii() and index.isdecimal() and len(index) < 10 and int(index) < len(parameters) and name):
            raise ValueError(
                f"checkpoint: optimizer.{key}: expected a parameter below {len(parameters)}, found another"
            )
        if isinstance(value, Tensor):
            if value.shape not in (parameters[int(index)].shape, torch.Size([])):
                raise ValueError(
                    f"checkpoint: optimizer.{key}: expected the parameter's shape, found {tuple(value.shape)}"
                )
        elif value is not None and not isinstance(value, bool | int | float):
            raise ValueError(f"checkpoint: optimizer.{key}: expected a number, found {type(value).__name__}")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _check_settings(found: Any, expected: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise ValueError("checkpoint: expected the settings of a training, found none")
    for name, value in expected.items():
        if found.get(name) != value:
            raise ValueError(f"{name}: expected {found.get(name)!r}, that of the checkpoint, found {value!r}")


def _check_tensor(tensors: dict[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    found = tensors.get(name)
    if found is None or found.shape != shape or found.dtype != dtype:
        described = "none" if found is None else f"{found.dtype} {tuple(found.shape)}"
        raise ValueError(f"checkpoint: {name}: expected {dtype} {tuple(shape)}, found {described}")
    return found


def _number(values: dict[str, Any], name: str, kind: type) -> Any:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        raise ValueError(f"checkpoint: {name}: expected a number, found {type(value).__name__}")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError(f"checkpoint: {name}: expected a number below 2^63, found a larger one")
    return kind(value)


def _rows(rows: Any, epochs: int) -> list[Row]:
    if not isinstance(rows, list) or len(rows) != epochs:
        raise ValueError(f"checkpoint: history: expected {epochs} rows, found another number")
    for row in rows:
        numbers = isinstance(row, dict) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in row.values()
        )
        if not numbers or not {"epoch", "train_loss"} <= row.keys():
            raise ValueError("checkpoint: history: expected rows of numbers, found something else")
    return rows
