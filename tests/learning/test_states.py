"""States of several parts, as a model of one's own may have them: carried from window to window, in checkpoints, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.data.sequences import Sequences
from throughtime.learning.checkpoints import Checkpoints
from throughtime.models import states


class Own(nn.Module):
    """An LSTM whose state is a pair, with the interface that `fit` asks for."""

    def __init__(self, pair: bool = True) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.rnn, self.readout, self.pair = tt.nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2), pair
        self.seen: list[Any] = []

    def initial_state(self, B: int) -> Any:
        zero = torch.zeros(1, B, 3)
        return (zero, zero) if self.pair else torch.zeros(1, B, 6)

    def forward(self, x: Tensor, lengths: Any = None, s0: Any = None, return_state: bool = False) -> Any:
        self.seen.append(s0)
        start = s0 if self.pair or s0 is None else tuple(part.contiguous() for part in s0.chunk(2, -1))
        y, final = self.rnn(x, start, lengths)
        z = self.readout(y)
        return (z, final if self.pair else torch.cat(final, -1)) if return_state else z

    def loss(self, x: Tensor, y: Tensor, lengths: Any = None, s0: Any = None, return_state: bool = False) -> Any:
        z, final = self(x, lengths, s0, return_state=True)
        loss = nn.functional.cross_entropy(z.flatten(0, 1), y.flatten(), reduction="sum") / len(x)
        return (loss, states.each(Tensor.detach, final)) if return_state else loss


def data() -> Sequences:
    torch.manual_seed(3)
    rows = [torch.randn(T, 2).numpy() for T in (12, 7, 9)]
    return Sequences.from_arrays(rows, [(row[:, 0] > 0).astype("int64") for row in rows])


def test_a_pair_is_carried_as_one_state_would_be() -> None:
    weights = []
    for pair in (True, False):
        model = Own(pair)
        tt.fit(model, data(), epochs=2, batch_size=2, truncate=4, seed=1)
        weights.append([p.detach() for p in model.parameters()])
        assert any(s0 is not None and states.parts(s0)[-1].abs().max() > 0 for s0 in model.seen)
    for a, b in zip(*weights, strict=True):
        assert torch.equal(a, b)


def test_a_training_with_pairs_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole, cut = Own(), Own()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 2, "truncate": 4, "seed": 1}
    tt.fit(whole, data(), **options)
    loss, calls = cut.loss, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(*args, **kwargs)

    cut.loss = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        tt.fit(cut, data(), **options, checkpoint=Checkpoints(tmp_path / "c", every=1))
    again = Own()
    tt.fit(again, data(), **options, checkpoint=Checkpoints(tmp_path / "c", every=1, resume=True))
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_names_of_parts() -> None:
    a, b = torch.zeros(1), torch.ones(1)
    for state in (a, (a, b)):
        found = states.take("s0", states.named("s0", state) | {"s": b})
        assert type(found) is type(state)
        assert all(x is y for x, y in zip(states.parts(found), states.parts(state), strict=True))
    assert states.named("s0", None) == {}
    assert states.take("s0", {"x": a}) is None
