"""How the states of a sequence become one vector, which a task with one target for each sequence reads.

    last         the final states of the last layer
    mean         (1/T_i) Σ_t s_t
    attention    Σ_t α_t s_t,   α = softmax over the steps of q·s_t, with a learned q (after Bahdanau et al., 2015)

Layout: states s [B, T, D] of the last layer, of all its directions, zero where there is padding; its final states [B, D].
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from throughtime.core.notation import real_steps

Reader = Callable[[Tensor, Tensor, Tensor | None, nn.Linear | None], Tensor]


def _last(states: Tensor, final: Tensor, lengths: Tensor | None, query: nn.Linear | None) -> Tensor:
    return final


def _mean(states: Tensor, final: Tensor, lengths: Tensor | None, query: nn.Linear | None) -> Tensor:
    if lengths is None:
        return states.mean(1)
    return states.sum(1) / lengths.to(states).unsqueeze(1)


def _attention(states: Tensor, final: Tensor, lengths: Tensor | None, query: nn.Linear | None) -> Tensor:
    assert query is not None
    real = real_steps(states.shape[1], lengths, states.device)
    shares = query(states).squeeze(-1).masked_fill(~real, -float("inf")).softmax(1)
    return (shares.unsqueeze(1) @ states).squeeze(1)


READERS: dict[str, Reader] = {"last": _last, "mean": _mean, "attention": _attention}
"""(states, final states, lengths, query) -> [B, D], by name."""


def make_query(read: str, width: int, **like: object) -> nn.Linear | None:
    """q of "attention", a torch.nn.Linear from D = `width` to 1 without a bias; None for the others, which learn nothing."""
    return nn.Linear(width, 1, bias=False, **like) if read == "attention" else None  # type: ignore[arg-type]
