"""Text from a language model, a symbol at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from throughtime.core.notation import check_seed
from throughtime.data.encoding import Encoding
from throughtime.data.readers.words import split_words


def generate(model: Any, encoding: Encoding, text: str, steps: int, *, temperature: float = 1.0, seed: int = 0) -> str:
    """`steps` symbols that go on from `text`, each drawn from softmax(z / temperature) of the model's logits z.

    Args:
        model: of the task "lm"; its state is carried on, so that a step costs the same however long the text.
        encoding: that of the model, of characters or words. Its unknown symbol is never drawn.
        temperature: below 1 favours the likelier symbols, 0 takes the likeliest always.
        seed: of the draws.

    Raises: ValueError: no text to go on from, no step, a temperature below 0 or not finite, a seed below 0, a model of
        another task.
    """
    if encoding.task != "lm" or encoding.vocabulary is None:
        raise ValueError(f"model: expected one of the task lm, found {encoding.task}")
    vocabulary = encoding.vocabulary
    known = text if vocabulary.of_characters else split_words(text)
    if not known:
        raise ValueError("text: expected at least one symbol to go on from, found none")
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, found {steps}")
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: expected a number of 0 or more, found {temperature}")
    unknown = None if vocabulary.unknown is None else vocabulary.symbols.index(vocabulary.unknown)
    random = torch.Generator().manual_seed(check_seed(seed))
    drawn: list[int] = []
    x = torch.from_numpy(vocabulary.encode(known))
    state = model.initial_state(1)
    with torch.no_grad():
        for _ in range(steps):
            z, state = model(x.unsqueeze(0), s0=state, return_state=True)
            x = _draw(z[0, -1].double(), unknown, temperature, random)
            drawn.append(int(x))
    between = "" if vocabulary.of_characters else " "
    return "".join(between + symbol for symbol in vocabulary.decode(drawn))


def _draw(z: Tensor, unknown: int | None, temperature: float, random: torch.Generator) -> Tensor:
    """One symbol [1] by its logits z [k]."""
    if unknown is not None and len(z) > 1:
        z[unknown] = -math.inf
    if temperature == 0:
        return z.argmax().unsqueeze(0)
    return torch.multinomial((z / temperature).softmax(0), 1, generator=random)
