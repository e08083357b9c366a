"""A language model writes on: by its own probabilities, with its own state."""

from __future__ import annotations

import pytest
import torch

import throughtime as tt
from throughtime.data import Encoding, Vocabulary
from throughtime.learning.generation import generate
from throughtime.models.sequence_model import SequenceModel

VOCABULARY = Vocabulary(("<unknown>", "a", "b", "c"), "<unknown>")
ENCODING = Encoding("lm", VOCABULARY.symbols, vocabulary=VOCABULARY)


@pytest.fixture(autouse=True)
def _reference():
    with tt.engine("reference"):
        yield


def models() -> list[torch.nn.Module]:
    torch.manual_seed(3)
    found = [
        tt.ElmanNetwork(4, 6, 4, initial_state="learned"),
        SequenceModel(4, 6, 4, layers=2, embedding=3, task="lm"),
    ]
    for model in found:
        for parameter in model.parameters():  # large, so that what is written depends on the state
            torch.nn.init.normal_(parameter, std=1.5)
    return found


@pytest.mark.parametrize("model", models())
def test_the_likeliest_symbols_are_those_of_the_whole_text(model):
    """Carrying the state on is the same as reading everything anew."""
    written = generate(model, ENCODING, "abzca", 12, temperature=0)
    text = "abzca"
    for _ in range(12):
        z = model(torch.from_numpy(VOCABULARY.encode(text)).unsqueeze(0))[0, -1]
        text += VOCABULARY.symbols[int(z[1:].argmax()) + 1]
    assert written == text[5:]


def test_symbols_are_drawn_as_often_as_they_are_likely():
    net = tt.ElmanNetwork(4, 1, 4)
    with torch.no_grad():
        net.V.zero_()
        net.c.copy_(torch.tensor([9.0, 0.6, 0.3, 0.1]).log())  # the unknown symbol would be the likeliest
    written = generate(net, ENCODING, "a", 4000, seed=5)
    for symbol, p in {"a": 0.6, "b": 0.3, "c": 0.1}.items():
        assert written.count(symbol) / 4000 == pytest.approx(p, abs=4 * (p * (1 - p) / 4000) ** 0.5)
    cold = generate(net, ENCODING, "a", 4000, temperature=0.5, seed=5)
    p = 0.36 / (0.36 + 0.09 + 0.01)
    assert cold.count("a") / 4000 == pytest.approx(p, abs=4 * (p * (1 - p) / 4000) ** 0.5)


def test_the_seed_is_the_text():
    model = models()[0]
    assert generate(model, ENCODING, "a", 50, seed=1) == generate(model, ENCODING, "a", 50, seed=1)
    assert generate(model, ENCODING, "a", 50, seed=1) != generate(model, ENCODING, "a", 50, seed=2)


@pytest.mark.parametrize(
    ("text", "steps", "temperature", "expected"),
    [
        ("", 1, 1.0, "text: expected at least one symbol to go on from, found none"),
        ("a", 0, 1.0, "steps: expected at least 1, found 0"),
        ("a", 1, -0.5, "temperature: expected a number of 0 or more, found -0.5"),
        ("a", 1, float("nan"), "temperature: expected a number of 0 or more, found nan"),
    ],
)
def test_what_cannot_be_written_is_refused(text, steps, temperature, expected):
    with pytest.raises(ValueError, match=expected):
        generate(models()[0], ENCODING, text, steps, temperature=temperature)


def test_a_model_of_labels_does_not_write():
    with pytest.raises(ValueError, match="model: expected one of the task lm, found tag"):
        generate(models()[0], Encoding("tag", ("x",), vocabulary=VOCABULARY), "a", 1)
