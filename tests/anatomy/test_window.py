"""A stretch of a data set's sequence: the state carried up to it, and the names of its steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.anatomy import anatomy
from throughtime.anatomy.window import window
from throughtime.data import Sequences
from throughtime.data.encoding import Encoding
from throughtime.data.vocabulary import Vocabulary

TEXT = "the cat sat on the mat"
VOCABULARY = Vocabulary.from_sequences([TEXT])


def tagged():
    codes = VOCABULARY.encode(TEXT)
    labels = np.array([int(c in "aeiou") for c in TEXT])
    sequences = Sequences.from_arrays([codes, codes[:5]], [labels, labels[:5]], names=["one", "two"])
    return sequences, Encoding("tag", ("other", "vowel"), VOCABULARY), tt.ElmanNetwork(len(VOCABULARY), 6, 2)


def test_a_stretch_starts_from_the_state_before_it():
    sequences, encoding, net = tagged()
    found = window(net, sequences, encoding, start=5, steps=7)
    x, y = torch.as_tensor(sequences.inputs[0])[None], torch.as_tensor(sequences.targets[0])[None]
    with torch.no_grad():
        _, s0 = net(x[:, :4], return_state=True)
    expected = anatomy(net, x[:, 4:11], y[:, 4:11], s0=s0)
    assert torch.equal(found.anatomy.shares.nan_to_num(), expected.shares.nan_to_num())
    assert found.symbols == list(TEXT[4:11])
    assert found.targets == ["vowel" if c in "aeiou" else "other" for c in TEXT[4:11]]
    assert found.name == "one, steps 5 to 11"


def test_a_whole_sequence():
    sequences, encoding, net = tagged()
    assert window(net, sequences, encoding, instance=1).anatomy.T == 5


def test_a_class_for_the_whole_sequence_and_values_to_forecast():
    model = tt.SequenceModel(3, 4, 2, task="classify", bidirectional=True)
    rows = [np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)]
    classified = Sequences.from_arrays(rows, [1], per_step=False)
    found = window(model, classified, Encoding("classify", ("no", "yes"), features=("a", "b", "c")))
    assert (found.symbols, found.targets) == (None, ["yes"] * 9)
    model = tt.SequenceModel(3, 4, 2, task="forecast")
    forecast = Sequences.from_arrays(rows, [np.ones((9, 2), np.float32)])
    found = window(model, forecast, Encoding("forecast", ("u", "v"), features=("a", "b", "c")), start=4)
    assert (found.anatomy.T, found.targets) == (6, None)


def test_what_is_not_there():
    sequences, encoding, net = tagged()
    with pytest.raises(ValueError, match="instance: expected 0 to 1, found 2"):
        window(net, sequences, encoding, instance=2)
    with pytest.raises(ValueError, match="start: expected a step from 1 to 5, found 6"):
        window(net, sequences, encoding, instance=1, start=6)
    bare = Sequences.from_arrays(sequences.inputs)
    with pytest.raises(ValueError, match="expected targets"):
        window(net, bare, encoding)
