"""`SequenceModel(cell=a class)`: a user's cell in a model, beside its loop by hand; carried, trained, kept and read again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn

import throughtime as tt
from throughtime.cells import LiGRU
from throughtime.data import Encoding, Standardizer
from throughtime.estimators import SequenceTagger
from throughtime.learning import Checkpoints, run
from throughtime.learning.history import History
from throughtime.learning.nonfinite import NonFiniteError, read_black_box
from throughtime.models import states

F64 = torch.float64


class Pair(nn.Module):
    """A cell whose output is no part of its state, which is a matrix and a vector, and which holds a constant."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.U, self.W = nn.Linear(n, d), nn.Linear(d, d, bias=False)
        self.register_buffer("scale", torch.full((2, d), 0.5), persistent=False)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if state is None:
            state = x.new_zeros(len(x), 2, self.W.in_features), x.new_zeros(len(x), self.W.in_features)
        M, h = state
        h = torch.tanh(self.U(x) + self.W(h) + (self.scale * M).sum(1))
        return torch.relu(h + 0.1), (0.9 * M + h.unsqueeze(1), h)


def by_hand(model: tt.SequenceModel, x: Tensor, lengths: Tensor) -> Tensor:
    """The logits [B, T, k] or [B, k] of a model, row by row, by the cells alone."""
    told = []
    for row, length in zip(x, lengths.tolist(), strict=True):
        below = list(torch.nn.functional.one_hot(row[:length], model.n).to(F64).unsqueeze(1))
        cells = iter(model.rnn.cells)
        for _ in range(model.layers):
            ways = []
            for direction in range(model.directions):
                cell, state, outputs = next(cells), None, []
                for step in below[:: -1 if direction else 1]:
                    result = cell(step) if state is None else cell(step, state)
                    out, state = result if isinstance(result, tuple) else (result, result)
                    outputs.append(out)
                ways.append(outputs[:: -1 if direction else 1])
            below = [torch.cat(own, -1) for own in zip(*ways, strict=True)]
        if model.task == "classify":
            d = model.d
            told.append(model.readout(torch.cat([below[-1][:, :d], below[0][:, d:]], -1))[0])
        else:
            padded = torch.zeros(x.shape[1], model.d * model.directions, dtype=F64)
            told.append(model.readout(torch.cat([torch.cat(below), padded[length:]])))
    return torch.stack(told)


@pytest.mark.parametrize("cell", [LiGRU, Pair])
@pytest.mark.parametrize(
    "options", [{}, {"layers": 2, "bidirectional": True, "task": "classify"}], ids=["tag", "classify"]
)
def test_a_class_in_a_model_is_its_loop_by_hand(cell: Any, options: dict[str, Any]) -> None:
    model = tt.SequenceModel(5, 3, 2, cell=cell, dtype=F64, **options)
    x, lengths = torch.randint(5, (3, 6)), torch.tensor([6, 1, 4])
    z, expected = model(x, lengths), by_hand(model, x, lengths)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)
    assert model.rnn.engine == "program"
    upstream = torch.randn_like(z)
    grads = [torch.autograd.grad((v * upstream).sum(), list(model.parameters())) for v in (z, expected)]
    for (name, _), mine, theirs in zip(model.named_parameters(), *grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10, msg=name)


def test_two_halves_with_the_state_carried_on_are_the_whole() -> None:
    model = tt.SequenceModel(3, 4, 2, cell=Pair, layers=2, dtype=F64)
    x = torch.randn(2, 6, 3, dtype=F64)
    whole, final = model(x, return_state=True)
    assert [part.shape for part in states.parts(model.initial_state(2))] == [(2, 2, 8), (2, 2, 4)]
    first, state = model(x[:, :4], s0=model.initial_state(2), return_state=True)
    second, last = model(x[:, 4:], s0=state, return_state=True)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-13, atol=1e-13)
    for found, expected in zip(states.parts(last), states.parts(final), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(4, (6, 9), generator=g)
    return x, (x > 1).long()


def trained(folder: Path | None = None, resume: bool = False, **options: Any) -> tt.SequenceModel:
    torch.manual_seed(3)
    model = tt.SequenceModel(4, 3, 2, cell=Pair)
    checkpoint = None if folder is None else Checkpoints(folder, 1, resume=resume)
    tt.fit(model, data(), batch_size=2, truncate=4, checkpoint=checkpoint, **{"epochs": 2} | options)
    return model


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    class Stop(tt.callbacks.Callback):
        def step(self, training: tt.callbacks.Training) -> None:
            if training.update == 5:
                raise KeyboardInterrupt

    whole = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "c", callbacks=[Stop()])
    again = trained(tmp_path / "c", resume=True)
    for (name, found), expected in zip(again.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(found, expected), name


def test_a_run_is_read_with_its_cell_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = Encoding("tag", ("low", "high"), features=("p", "q"), input_scale=Standardizer((0.0, 0.0), (1.0, 1.0)))
    model = tt.SequenceModel(2, 3, 2, cell=Pair, layers=2).eval()
    run.save(tmp_path / "run", model, encoding, config={}, history=History(), metrics={})
    before = torch.get_rng_state()
    loaded = tt.load(tmp_path / "run", cell=Pair)
    assert torch.equal(before, torch.get_rng_state())
    x = torch.randn(2, 5, 2)
    assert torch.equal(loaded.model(x), model(x))
    monkeypatch.setattr("importlib.import_module", None)
    with pytest.raises(ValueError, match=r"cell: expected .*test_sequence_modules:Pair to be given"):
        tt.load(tmp_path / "run")
    with pytest.raises(ValueError, match=r"cell: expected .*:Pair, found throughtime.cells.gates:LiGRU"):
        tt.load(tmp_path / "run", cell=LiGRU)


class Branching(torch.nn.Module):
    """A step that looks at values, which no program can be and nothing without memory can do."""

    def __init__(self, n: int, d: int) -> None:
        super().__init__()
        self.cell = torch.nn.RNNCell(n, d)

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> torch.Tensor:
        new = self.cell(x, h)
        return new if new.sum() > 0 else 2 * new


@pytest.mark.filterwarnings("ignore:.*runs step by step:RuntimeWarning")
def test_a_model_whose_cell_looks_at_values_is_kept_and_read(tmp_path: Path) -> None:
    model = tt.SequenceModel(2, 3, 2, cell=Branching).eval()
    x = torch.randn(4, 5, 2)
    encoding = Encoding("tag", ("low", "high"), features=("p", "q"), input_scale=Standardizer((0.0, 0.0), (1.0, 1.0)))
    run.save(tmp_path / "run", model, encoding, config={}, history=History(), metrics={})
    torch.testing.assert_close(tt.load(tmp_path / "run", cell=Branching).model(x), model(x), rtol=0, atol=0)


def test_a_black_box_is_read_with_its_cell(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        trained(tmp_path / "c", optimizer="sgd", lr=1e38, clip_norm=None)
    box = read_black_box(tmp_path / "c" / "nonfinite", cell=Pair)
    assert isinstance(box.model.rnn.cells[0], Pair)


def test_the_anatomy_of_a_model_sums_to_its_gradient() -> None:
    model = tt.SequenceModel(4, 3, 2, cell=LiGRU, dtype=F64).eval()
    x, y = data()
    found = tt.anatomy(model, torch.nn.functional.one_hot(x, 4).to(F64), y)
    model.loss(x, y).backward()
    assert found.residual < 1e-10
    torch.testing.assert_close(found.W.total, model.rnn.cells[0].W.weight.grad, rtol=1e-10, atol=1e-12)


def test_an_estimator_learns_with_a_class_and_is_cloned_and_pickled() -> None:
    x, y = data()
    X, labels = list(x.numpy()), list(y.numpy())
    model = clone(SequenceTagger(8, cell=Pair, max_iter=60, random_state=0, learning_rate=0.02)).fit(X, labels)
    again = SequenceTagger(8, cell=Pair, max_iter=60, random_state=0, learning_rate=0.02).fit(X, labels)
    assert model.loss_curve_ == again.loss_curve_
    assert model.score(X, labels) == 1
    read = pickle.loads(pickle.dumps(model))
    for found, expected in zip(read.predict_proba(X), model.predict_proba(X), strict=True):
        assert (found == expected).all()


@pytest.mark.parametrize(
    ("cell", "error", "told"),
    [
        (LiGRU(3, 4), TypeError, "cell: expected a name, or a class or function that makes a cell, found LiGRU"),
        (lambda n, d: 3, TypeError, r"cell: expected a module from cell\(3, 4\), found int"),
        (lambda n, d: LiGRU(n, d + 1), ValueError, r"cell: expected d = 4 outputs of LiGRU\(3, 4\), found 5"),
    ],
)
def test_what_makes_no_cell_is_refused(cell: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        tt.SequenceModel(3, 4, 2, cell=cell)


def test_there_is_no_plain_torch_form_and_a_table_of_parameters(tmp_path: Path) -> None:
    model = tt.SequenceModel(3, 4, 2, cell=LiGRU)
    with pytest.raises(TypeError, match=r"cell: expected one that torch.nn has a layer of, found .*:LiGRU"):
        model.to_torch()
    with pytest.raises(TypeError, match=r"cell: expected one that ONNX has an operator for, found .*:LiGRU"):
        tt.export.to_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    assert "rnn.cells.0.U.weight" in model.describe()


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", Pair])
@pytest.mark.parametrize("task", ["tag", "classify"])
def test_a_stream_is_the_whole_sequence_step_by_step(cell: Any, task: str) -> None:
    model = tt.SequenceModel(5, 3, 2, cell=cell, layers=2, task=task, dtype=F64)
    x = torch.randint(5, (2, 6))
    follow = model.stream()
    for t in range(6):
        z = follow(x[:, t])
        whole = model(x[:, : t + 1])
        torch.testing.assert_close(z, whole if task == "classify" else whole[:, -1], rtol=1e-12, atol=1e-13)
        assert not z.requires_grad
    follow.reset(torch.tensor([True, False]))
    z, anew, went_on = follow(x[:, 0]), model(x[:, :1]), model(torch.cat([x, x[:, :1]], 1))
    if task == "tag":
        anew, went_on = anew[:, -1], went_on[:, -1]
    torch.testing.assert_close(z, torch.stack([anew[0], went_on[1]]), rtol=1e-12, atol=1e-13)
    further = model.stream(follow.state)
    assert torch.equal(further(x[:, 1]), follow(x[:, 1]))


def test_a_stream_that_would_have_to_know_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="stream: expected a model of one direction, found bidirectional"):
        tt.SequenceModel(5, 3, 2, bidirectional=True).stream()
    with pytest.raises(ValueError, match="stream: expected a model that reads the last state, found read='mean'"):
        tt.SequenceModel(5, 3, 2, task="classify", read="mean").stream()
