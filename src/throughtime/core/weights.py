"""The weights that a module computes with, whatever makes them: the one way to get at them.

A weight is a parameter, or it is computed from others. `torch.nn.utils.parametrize` (orthogonal, weight_norm, spectral_norm)
computes it whenever the attribute is read. `torch.nn.utils.prune` and the older weight_norm and spectral_norm do so when the
module is called, by a hook that leaves it as an attribute, so that without a call it is that of the call before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

M = TypeVar("M", bound=nn.Module)


def weights(module: nn.Module, names: Iterable[str]) -> list[Tensor]:
    """The weights of a module by name as its next call would have them, with their history: gradients reach what they are
    computed from."""
    own = module._parameters  # past the attributes, whose lookup is slow
    try:
        return [own[name] for name in names]  # type: ignore[misc]
    except KeyError:
        for hook in _hooks(module):
            hook(module, ())
        return [getattr(module, name) for name in names]


def settled(module: M) -> M:
    """The module itself where all its weights are parameters; else a copy in which those that are computed are parameters of
    the values that they have now."""
    if not any(parametrize.is_parametrized(part) or _hooks(part) for part in module.modules()):
        return module
    held = (value for part in module.modules() for value in (*vars(part).values(), *getattr(part, "_flat_weights", ())))
    computed = (value for value in held if isinstance(value, Tensor) and not value.is_leaf)
    # PyTorch copies no tensor that has a history.
    found = copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})
    for part in list(found.modules()):
        for hook in _hooks(part):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(part, hook._tensor_name)
            else:
                remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
                remove(part, hook.name)
        if parametrize.is_parametrized(part):
            part.parametrizations.eval()  # type: ignore[operator]  # a look does not go on with a power iteration
            values = {name: getattr(part, name).detach() for name in part.parametrizations}  # type: ignore[union-attr]
            # Not by remove_parametrizations, which changes the class, and that is the original's, too.
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            for name, value in values.items():
                setattr(part, name, nn.Parameter(value))
    return found


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of a module's floating-point parameters; PyTorch's default where it has none."""
    for parameter in module._parameters.values():  # its own first: to walk through all parts is slow
        if parameter is not None and parameter.is_floating_point():
            return parameter.dtype
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _hooks(module: nn.Module) -> list[prune.BasePruningMethod | WeightNorm | SpectralNorm]:
    """The hooks that compute weights."""
    kinds = prune.BasePruningMethod, WeightNorm, SpectralNorm
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, kinds)]
