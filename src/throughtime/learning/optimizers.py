"""Optimisers by name: what turns a gradient into an update of the parameters.

    gd        θ ← θ − η ∇θ, the gradient taken over the full batch (Cauchy, 1847)
    sgd       the same, over one mini-batch at a time
    momentum  v ← 0.9 v + ∇θ, θ ← θ − η v (Polyak, 1964)
    rmsprop   steps divided by a running root mean square of the gradient (Tieleman and Hinton, 2012)
    adam      momentum and rmsprop with bias correction (Kingma and Ba, 2015)
    adamw     adam with decoupled weight decay (Loshchilov and Hutter, 2019)

All come from torch.optim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from inspect import Parameter, signature

from torch import nn, optim

from throughtime.core.notation import check_choice, check_rate

OptimizerFactory = Callable[[Iterable[nn.Parameter]], optim.Optimizer]

OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], float]] = {
    "gd": (optim.SGD, 0.1),
    "sgd": (optim.SGD, 0.1),
    "momentum": (partial(optim.SGD, momentum=0.9), 0.01),
    "rmsprop": (optim.RMSprop, 1e-3),
    "adam": (partial(optim.Adam, fused=True), 1e-3),
    "adamw": (partial(optim.AdamW, fused=True), 1e-3),
}
"""Optimiser and default learning rate η by name. Fused: one pass over each parameter instead of ten."""


def make_optimizer(
    optimizer: str | OptimizerFactory, parameters: Iterable[nn.Parameter], lr: float | None
) -> optim.Optimizer:
    """An optimiser over `parameters`.

    Args:
        optimizer: a name above, or a factory such as `functools.partial(torch.optim.Adam, amsgrad=True)`.
        lr: learning rate η; the optimiser's default where None.

    Raises:
        ValueError: an unknown name, or a learning rate that is not positive.
        TypeError: another type; an optimiser that evaluates the loss itself, several times in a step, such as LBFGS.
    """
    if lr is not None:
        check_rate("lr", lr)
    if not isinstance(optimizer, str):
        if not callable(optimizer):
            raise TypeError(
                f"optimizer: expected a name or a factory, found {optimizer!r} of type {type(optimizer).__name__}"
            )
        made = optimizer(parameters) if lr is None else optimizer(parameters, lr=lr)  # type: ignore[call-arg]
        closure = signature(made.step).parameters.get("closure")
        if closure is not None and closure.default is Parameter.empty:
            raise TypeError(
                "optimizer: expected one that steps by a gradient, as those of torch.optim do but for LBFGS, "
                f"found {type(made).__name__}, whose step evaluates the loss itself"
            )
        return made
    check_choice("optimizer", optimizer, tuple(OPTIMIZERS))
    make, default = OPTIMIZERS[optimizer]
    return make(parameters, lr=default if lr is None else lr)
