"""What `fit` and `evaluate` take as sequences, of PyTorch's kinds."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

import throughtime as tt

X, Y = torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.int64)


def network() -> tt.ElmanNetwork:
    torch.manual_seed(1)
    return tt.ElmanNetwork(3, 6, 4, dtype=torch.float64)


def ragged() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    x, y = torch.randn(7, 9, 3, dtype=torch.float64), torch.randint(4, (7, 9))
    return x, y, torch.randint(1, 10, (7,))


class Items(torch.utils.data.Dataset):
    """Sequences of different lengths, found by number alone."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int):
        return self.items[i]


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __iter__(self):
        return iter(self.items)


def padded(items: list) -> tuple:
    x, y = ([item[part] for item in items] for part in (0, 1))
    rows = [nn.utils.rnn.pad_sequence(part, batch_first=True) for part in (x, y)]
    return *rows, torch.tensor([len(own) for own in x])


def test_data_sets_and_loaders_are_the_sequences_in_them() -> None:
    x, y, lengths = ragged()
    items = [(own[:T], labels[:T]) for own, labels, T in zip(x, y, lengths, strict=True)]
    loader = functools.partial(torch.utils.data.DataLoader, Items(items), batch_size=3, collate_fn=padded)

    def learnt(data, **options) -> list[float]:
        return tt.fit(network(), data, data, epochs=2, **options)["valid_loss"]

    expected = learnt((x, y, lengths))
    assert learnt(Items(items)) == learnt(Stream(items)) == expected
    assert learnt(loader()) == learnt((x, y, lengths), batch_size=3) != expected
    assert learnt(torch.utils.data.DataLoader(Stream(items), batch_size=None)) == expected
    assert tt.evaluate(network(), loader()) == tt.evaluate(network(), (x, y, lengths))
    whole = torch.utils.data.TensorDataset(x, y)
    assert learnt(whole) == learnt(torch.utils.data.DataLoader(whole, batch_size=7)) == learnt((x, y))


def test_a_shuffled_loader_gives_the_same_weights_and_leaves_the_global_generator() -> None:
    x, y, _ = ragged()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=2, shuffle=True)
    state = torch.get_rng_state()
    first = tt.fit(network(), loader, epochs=2)["train_loss"]
    torch.manual_seed(5)
    assert tt.fit(network(), loader, epochs=2)["train_loss"] == first
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Items([(X[0],)]), r"^train: item 0: expected \(x, y\), found 1 parts"),
        (Items([3]), r"^train: item 0: expected \(x, y\), found int"),
        (Items([(X[0], Y[0]), (X[0], Y[0, :2])]), r"^train: y\[1\]: expected"),
        (Items([]), "^train: x: expected at least one sequence"),
        (
            torch.utils.data.DataLoader(Items([3, 4])),
            r"^train: batch 0: expected \(x, y\) or \(x, y, lengths\), found Tensor",
        ),
        ((torch.tensor(1.0), torch.tensor(1)), "^train: x: expected an array or a list"),
    ],
)
def test_data_sets_of_something_else_are_refused(data, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        tt.fit(network(), data)


@pytest.mark.parametrize("k", [1, 3])
def test_values_of_whole_sequences_for_a_model_that_regresses(k):
    """As the model's own loss takes them, also where k is the number of steps."""
    model = tt.SequenceModel(2, 4, k, task="regress")
    x, y, lengths = torch.randn(4, 3, 2), torch.randn(4, k), torch.tensor([3, 1, 2, 3])
    with torch.no_grad():
        expected = float(model.loss(x, y, lengths))
    for data in ((x, y, lengths), ([own[:n] for own, n in zip(x, lengths)], y)):
        assert tt.evaluate(model, data).loss == pytest.approx(expected, rel=1e-6)
        tt.fit(model, data, data, epochs=1, lr=1e-9, progress=False)
