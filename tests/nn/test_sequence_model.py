"""`SequenceModel` beside the same model made of torch.nn's parts, task by task."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from problems import assert_close
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime.models.sequence_model import OF_ROWS, OF_VALUES, TASKS, SequenceModel

T, B, N, D, K = 7, 4, 6, 5, 3
ONE_DIRECTION = ("lm", "forecast")


class Judge(torch.nn.Module):
    """The parts of torch.nn, with the parameters of a `SequenceModel`."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        m = model.rnn.input_size
        self.embedding = None if model.embedding is None else torch.nn.Embedding(N, m)
        self.rnn = torch.nn.RNN(
            m, D, model.layers, batch_first=True, bidirectional=model.bidirectional, dtype=torch.float64
        )
        self.readout = torch.nn.Linear(D * model.directions, K)
        self.double().load_state_dict(model.state_dict())

    def forward(self, x: Tensor, lengths: Tensor, task: str) -> Tensor:
        if self.embedding is not None:
            x = self.embedding(x)
        elif not x.is_floating_point():
            x = F.one_hot(x, N).double()
        output, h_n = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        if task in OF_ROWS:
            return self.readout(torch.cat(list(h_n[-2:] if self.rnn.bidirectional else h_n[-1:]), -1))
        return self.readout(pad_packed_sequence(output, batch_first=True, total_length=T)[0])


def judged_loss(z: Tensor, y: Tensor, lengths: Tensor, task: str, reduction: str) -> Tensor:
    """The loss, one row and one step at a time."""
    values = []
    for i in range(B):
        for found, wanted in [(z[i], y[i])] if task in OF_ROWS else zip(z[i, : lengths[i]], y[i, : lengths[i]]):
            if task in OF_VALUES:
                known = ~wanted.isnan()
                values += [((found - wanted)[known] ** 2).mean()] if known.any() else []
            elif wanted != -100:
                values.append(F.cross_entropy(found, wanted))
    return torch.stack(values).sum() / (B if reduction == "sequence" else len(values))


def draw(task: str, symbols: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and lengths, some targets ignored, the padding still clean."""
    lengths = torch.tensor([3, 7, 1, 5])
    x = torch.randint(N, (B, T)) if symbols else torch.randn(B, T, N, dtype=torch.float64)
    shape = (B,) if task in OF_ROWS else (B, T)
    if task in OF_VALUES:
        y = torch.randn(*shape, K, dtype=torch.float64)
        y.view(-1, K)[1, 2] = torch.nan
        y.view(-1, K)[T if task == "forecast" else 2] = torch.nan
    else:
        y = torch.randint(K, shape)
        y[(1,) if task == "classify" else (1, 2)] = -100
    return x, y, lengths


def poisoned(x: Tensor, y: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """x and y with padding that no one may read."""
    padding = torch.arange(T) >= lengths.unsqueeze(1)
    x, y = x.clone(), y.clone()
    x[padding] = torch.nan if x.is_floating_point() else N + 7
    if y.shape[:2] == (B, T):
        y[padding] = 1e30 if y.is_floating_point() else 12345
    return x, y


@pytest.mark.parametrize("part", ["rnn", "readout"])
@pytest.mark.parametrize("task", ["tag", "lm"])
def test_a_hook_sees_what_passes_and_changes_nothing(task: str, part: str) -> None:
    model = SequenceModel(N, D, K, embedding=4, task=task, dtype=torch.float64)
    x, y, lengths = draw(task, True)
    s0 = torch.randn(1, B, D, dtype=torch.float64)
    expected, state = model.loss(x, y, lengths, s0=s0, return_state=True)
    grads = torch.autograd.grad(expected, list(model.parameters()))
    assert not state.requires_grad
    seen = []
    getattr(model, part).register_forward_hook(lambda module, inputs, output: seen.append(module))
    value, again = model.loss(x, y, lengths, s0=s0, return_state=True)
    assert seen == [getattr(model, part)]
    assert_close(value, expected, 1e-12, "loss")
    assert_close(again, state, 1e-12, "final states")
    for name, found, wanted in zip(
        dict(model.named_parameters()), torch.autograd.grad(value, list(model.parameters())), grads, strict=True
    ):
        assert_close(found, wanted, 1e-10, f"gradient of {name}")


@pytest.mark.parametrize("inputs", ["floats", "symbols", "embedding"])
@pytest.mark.parametrize("task", TASKS)
def test_equals_the_model_of_torch_nn(task: str, inputs: str, engine: str) -> None:
    options = itertools.product([1, 2], [False, True], ["sequence", "token"], [False, True])
    for layers, bidirectional, reduction, ragged in options:
        if bidirectional and task in ONE_DIRECTION:
            continue
        what = f"{layers} layers, bidirectional {bidirectional}, {reduction}, ragged {ragged}:"
        size = 4 if inputs == "embedding" else None
        model = SequenceModel(
            N, D, K, embedding=size, layers=layers, bidirectional=bidirectional, task=task, dtype=torch.float64
        )
        judge = Judge(model)
        x, y, lengths = draw(task, inputs != "floats")
        if not ragged:
            lengths = torch.full((B,), T)
        z = judge(x, lengths, task)
        expected = judged_loss(z, y, lengths, task, reduction)
        x, y = poisoned(x, y, lengths)
        given = lengths if ragged else None
        assert_close(model(x, given), z, 1e-12, f"{what} output")
        value = model.loss(x, y, given, reduction)
        assert_close(value, expected, 1e-12, f"{what} loss")
        grads = [torch.autograd.grad(v, list(m.parameters())) for v, m in ((value, model), (expected, judge))]
        for name, found, wanted in zip(dict(model.named_parameters()), *grads, strict=True):
            assert_close(found, wanted, 1e-10, f"{what} gradient of {name}")


@pytest.mark.parametrize("task", ["tag", "lm", "forecast"])
def test_states_carried_over_windows_give_the_whole(task: str, engine: str) -> None:
    model = SequenceModel(N, D, K, layers=2, task=task, dtype=torch.float64)
    x, y, _ = draw(task, symbols=True)
    whole, final = model(x, return_state=True)
    state, pieces, total = model.initial_state(B), [], 0.0
    assert state.shape == (2, B, D)
    for window in (slice(0, 3), slice(3, 4), slice(4, T)):
        _, from_loss = model.loss(x[:, window], y[:, window], s0=state, return_state=True)
        total += model.loss(x[:, window], y[:, window], s0=state)
        z, state = model(x[:, window], s0=state, return_state=True)
        pieces.append(z)
        assert torch.equal(from_loss, state)
        assert not from_loss.requires_grad
    assert_close(torch.cat(pieces, 1), whole, 1e-13, "outputs")
    assert_close(state, final, 1e-13, "state")
    assert_close(torch.as_tensor(total), model.loss(x, y), 1e-13, "loss")


def test_the_lengths_of_the_layer_are_a_packing_saved(engine: str) -> None:
    for batch_first in (True, False):
        rnn = tt.nn.RNN(N, D, 2, bidirectional=True, batch_first=batch_first, dtype=torch.float64)
        x, _, lengths = draw("tag", symbols=False)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        expected, h_n = rnn(packed)
        x = poisoned(x, torch.zeros(B), lengths)[0]
        output, final = rnn(x if batch_first else x.transpose(0, 1), None, lengths)
        expected = pad_packed_sequence(expected, batch_first=batch_first)[0]
        assert torch.equal(rnn(x if batch_first else x.transpose(0, 1), lengths=lengths.int())[0], output)
        assert_close(output, expected, 1e-14, "output")
        assert_close(final, h_n, 1e-14, "h_n")


@pytest.mark.parametrize("task", ["tag", "classify", "lm", "forecast"])
def test_learns_by_fit(task: str) -> None:
    model = SequenceModel(N, D, K, embedding=4, task=task, bidirectional=task not in ONE_DIRECTION)
    x = torch.randint(N, (24, T))
    y: Any = x[:, 0] % K if task == "classify" else x % K
    if task == "forecast":
        y = F.one_hot(y, K).float()
    lengths = torch.randint(1, T + 1, (24,))
    truncate = 3 if task in ONE_DIRECTION else None
    history = tt.fit(model, (x, y, lengths), lr=0.03, epochs=8, batch_size=8, truncate=truncate)
    first, last = history.rows[0]["train_loss"], history.rows[-1]["train_loss"]
    assert last < 0.6 * first


def test_dropout_acts_between_layers_while_training() -> None:
    model = SequenceModel(N, D, K, layers=2, dropout=0.5)
    x = torch.randint(N, (B, T))
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_compiles_whole() -> None:
    torch.compiler.reset()
    model = SequenceModel(N, D, K, embedding=3, layers=2, dtype=torch.float64)
    x = torch.randint(N, (B, T))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), model(x), 1e-13, "logits")


def test_counts_and_describes_its_parameters() -> None:
    model = SequenceModel(30, 4, 5, embedding=8, layers=2, bidirectional=True)
    assert model.num_parameters == 30 * 8 + 2 * (4 * 8 + 4 * 4 + 8) + 2 * (4 * 8 + 4 * 4 + 8) + 5 * 8 + 5
    table = model.describe().splitlines()
    assert table[1].split() == ["embedding.weight", "n", "×", "m", "30", "×", "8", "240"]
    assert "rnn.weight_ih_l1_reverse  d × 2d  4 × 8           32" in table
    assert table[-1] == f"sum = {model.num_parameters:,}"
    assert [line.split()[0] for line in table[1:-1]] == [name for name, _ in model.named_parameters()]


CONSTRUCTOR_ERRORS = [
    ({"n": 0}, "^n: "),
    ({"d": 2.0}, "^d: "),
    ({"k": -1}, "^k: "),
    ({"embedding": 0}, "^embedding: "),
    ({"layers": 0}, "^layers: "),
    ({"dropout": 2.0}, "dropout"),
    ({"nonlinearity": "sine"}, "^nonlinearity: "),
    ({"task": "sing"}, "^task: .*'sing'"),
    ({"task": "lm", "bidirectional": True}, "^bidirectional: .*'lm'"),
    ({"task": "forecast", "bidirectional": True}, "^bidirectional: .*'forecast'"),
]


@pytest.mark.parametrize(("options", "message"), CONSTRUCTOR_ERRORS, ids=lambda v: str(v))
def test_a_wrong_constructor_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SequenceModel(**{"n": N, "d": D, "k": K, **options})


def test_a_wrong_call() -> None:
    symbols = torch.zeros(B, T, dtype=torch.int64)
    floats = torch.zeros(B, T, N)
    embedded, plain = SequenceModel(N, D, K, embedding=4), SequenceModel(N, D, K)
    both = SequenceModel(N, D, K, bidirectional=True)
    classify, forecast = SequenceModel(N, D, K, task="classify"), SequenceModel(N, D, K, task="forecast")
    regress = SequenceModel(N, D, K, task="regress")
    wrong = symbols.clone()
    wrong[1, 2] = N
    infinite = floats.clone()
    infinite[1, 2, 3] = torch.inf
    calls: list[tuple[Any, type[Exception], str]] = [
        (lambda: embedded(floats), TypeError, "^x: expected integer symbols for the embedding"),
        (lambda: embedded(wrong), ValueError, "^x: symbol in row 1, step 2: expected 0 to 5, found 6"),
        (lambda: plain(wrong), ValueError, "^x: symbol in row 1, step 2: expected 0 to 5, found 6"),
        (lambda: plain(infinite), ValueError, "^x in row 1, step 2, input 3: expected a finite number"),
        (lambda: plain(floats[0]), ValueError, "^x: expected shape"),
        (lambda: plain(floats.double()), TypeError, "^x: expected torch.float32"),
        (lambda: plain([1]), TypeError, "^x: expected a tensor"),
        (lambda: embedded([1]), TypeError, "^x: expected a tensor"),
        (lambda: plain(symbols, torch.tensor([1, 2, 3, 8])), ValueError, "^lengths: .*found 8 in row 3"),
        (lambda: plain(symbols, None, torch.zeros(B, D)), ValueError, r"^s0: expected shape \[layers=1, B=4, d=5\]"),
        (lambda: both(symbols, None, torch.zeros(2, B, D)), ValueError, "^s0: expected a model of one direction"),
        (lambda: both(symbols, return_state=True), ValueError, "^return_state: expected a model of one direction"),
        (lambda: plain.loss(symbols, symbols[0]), ValueError, "^y: expected shape"),
        (lambda: plain.loss(symbols, symbols + K), ValueError, "^y: label in row 0, step 0: expected 0 to 2"),
        (lambda: plain.loss(symbols, symbols, None, "mean"), ValueError, "^reduction: "),
        (lambda: classify.loss(symbols, symbols), ValueError, r"^y: expected shape \[B=4\]"),
        (lambda: classify.loss(symbols, symbols[:, 0].float()), TypeError, "^y: expected integer labels"),
        (lambda: regress.loss(floats, floats[..., :K]), ValueError, r"^y: expected shape \[B=4, k=3\]"),
        (lambda: forecast.loss(floats, symbols), ValueError, r"^y: expected shape \[B=4, T=7, k=3\]"),
        (lambda: forecast.loss(floats, floats[..., :K].double()), TypeError, "^y: expected torch.float32"),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            call()
    rnn = tt.nn.RNN(N, D)
    with pytest.raises(ValueError, match="lengths: expected None with unbatched"):
        rnn(floats[0], None, torch.tensor([3]))
    with pytest.raises(ValueError, match="lengths: expected None with a PackedSequence"):
        rnn(torch.nn.utils.rnn.pack_sequence([floats[0]]), None, torch.tensor([3]))
    with pytest.raises(ValueError, match=r"lengths: expected shape \[B=7\]"):
        rnn(floats, None, torch.ones(B, dtype=torch.int64))
