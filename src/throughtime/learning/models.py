"""What a training asks of a model: a loss that takes what it is given, and draws that can be repeated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from throughtime.models.model import ElmanNetwork
from throughtime.models.sequence_model import SequenceModel
from throughtime.models.word_encoder import WordEncoder
from throughtime.nn import GRU, LSTM, RNN

OWN_PARTS = (ElmanNetwork, SequenceModel, WordEncoder, RNN, LSTM, GRU, nn.Embedding, nn.Linear)
"""The kinds of parts that draw from the generator of their training, or not at all."""


def loss_options(
    model: Any, reduction: str, carries: bool, weighted: bool, generator: torch.Generator | None = None
) -> dict[str, Any]:
    """What the loss of a model is called with, beyond (x, y, lengths).

    Args:
        carries: whether states are carried from window to window.
        weighted: whether the sequences have weights.
        generator: given where the loss takes one.
    """
    options: dict[str, Any] = {} if reduction == "sequence" else {"reduction": reduction}
    if carries:
        options |= {"s0": None, "return_state": True}
    if weighted:
        options["sample_weight"] = None
    if generator is not None and "generator" in _parameters(model.loss):
        options["generator"] = generator
    return options


def has_forward(model: nn.Module) -> bool:
    """Whether a model can be called, and not only its loss."""
    return "forward" in vars(model) or type(model).forward is not nn.Module.forward


def check_model(model: Any, reduction: str, carries: bool, weighted: bool, labels_to_judge: bool) -> None:
    """Check that a model has what a training will call.

    Args:
        reduction, carries, weighted: as in `loss_options`.
        labels_to_judge: whether there are validation sequences with labels.

    Raises: TypeError: it has not; the message says what is missing.
    """
    loss = getattr(model, "loss", None)
    if not isinstance(model, nn.Module) or not callable(loss):
        raise TypeError(f"model: expected a module with .loss(x, y, lengths), found {type(model).__name__}")
    options = loss_options(model, reduction, carries, weighted)
    _check_call(".loss", loss, ("x", "y", "lengths"), options)
    if carries and not callable(getattr(model, "initial_state", None)):
        raise TypeError(f"model: expected .initial_state(B) for truncate, found none in {type(model).__name__}")
    if labels_to_judge and has_forward(model):
        own = ("reduction", "sample_weight")
        of_states = {name: value for name, value in options.items() if name not in own}
        _check_call("forward", model.forward, ("x", "lengths"), of_states)


def _check_call(name: str, function: Callable[..., Any], given: tuple[str, ...], options: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # none that Python knows
        return
    try:
        signature.bind(*given, **options)
    except TypeError as error:
        call = ", ".join([*given, *(f"{option}=" for option in options)])
        raise TypeError(f"model: expected {name} to take ({call}), found {signature}: {error}") from None


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except ValueError:
        return {}


def generator_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Generator:
    """What a training draws from: a generator of its own where all parts are known to draw from that or not at all; else
    PyTorch's global one, which is all that parts of other libraries know."""
    own = all(
        type(part) in OWN_PARTS and not part._forward_hooks and not part._forward_pre_hooks for part in model.modules()
    )
    own = own and not any("forward" in vars(part) for part in model.modules())
    return torch.Generator() if own and type(optimizer).__module__.startswith("torch.") else torch.default_generator


@contextmanager
def seeded(generator: torch.Generator, seed: int) -> Iterator[None]:
    """Seed the generator; the global one is put back afterwards."""
    if generator is not torch.default_generator:
        generator.manual_seed(seed)
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
