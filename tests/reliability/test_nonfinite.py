"""A loss or gradient that is not finite: noticed, told, kept in a black box, and survived."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import throughtime as tt
from throughtime.anatomy.window import before_the_fault
from throughtime.core.notation import NONLINEARITIES
from throughtime.learning import Checkpoints, NonFiniteError
from throughtime.learning.nonfinite import read_black_box


def network(**options) -> tt.ElmanNetwork:
    torch.manual_seed(1)
    return tt.ElmanNetwork(3, 6, 4, "relu", dtype=torch.float64, **options)


def data(bad_row: int | None = 4, bad_step: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Nine sequences; one step is so large (but finite) that the sums it takes part in are not."""
    torch.manual_seed(2)
    x, y = torch.randn(9, 8, 3, dtype=torch.float64), torch.randint(4, (9, 8))
    if bad_row is not None:
        x[bad_row, bad_step] = 1.7e308
    return x, y


def overflowing(net: tt.ElmanNetwork) -> tt.ElmanNetwork:
    with torch.no_grad():
        net.U.fill_(2.0)
    return net


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_no_engine_hides_what_is_not_finite(nonlinearity: str, bad: float, engine: str) -> None:
    """Loss and gradients are finite where the reference's are (σ(∞) is), for every parameter that goes bad; NaN never is."""
    x, y = data(None)
    for name in "UWbVc":
        found = []
        for name_of_engine in ("reference", engine):
            torch.manual_seed(1)
            net = tt.ElmanNetwork(3, 17, 4, nonlinearity, dtype=torch.float64)
            with torch.no_grad():
                getattr(net, name).view(-1)[0] = bad
            with tt.engine(name_of_engine):
                loss = net.loss(x, y)
                loss.backward()
            found.append([loss.isfinite().item(), *(p.grad.isfinite().all().item() for p in net.parameters())])
        assert found[0] == found[1], name
        assert math.isinf(bad) or not all(found[0])


def test_the_report_says_where_it_began(tmp_path: Path, engine: str) -> None:
    net, told = overflowing(network()), []
    before = {name: value.clone() for name, value in net.state_dict().items()}
    checkpoint = Checkpoints(tmp_path, "1h")
    with pytest.raises(NonFiniteError) as caught:
        tt.fit(net, data(), batch_size=9, lr=1e-3, checkpoint=checkpoint, watch=lambda m, row: told.append(row))
    report = caught.value.report
    assert (report.epoch, report.update, report.updates) == (1, 1, 1)
    assert not math.isfinite(report.loss) or not math.isfinite(report.gradient_norm)
    assert report.state is not None
    assert report.state.t == 5
    assert "W" in report.parameters
    assert not told
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    kept = json.loads((tmp_path / "nonfinite/report.json").read_text())
    assert kept["state"] == {"row": report.state.row, "t": 5}
    assert "the state left the finite range first at step t=5 of row" in str(caught.value)
    batch = load_file(tmp_path / "nonfinite/batch.safetensors")
    assert batch["x"][report.state.row, 5].max() == 1.7e308
    weights = load_file(tmp_path / "nonfinite/model.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in weights.items())
    assert json.loads((tmp_path / "nonfinite/model.json").read_text())["class"] == "ElmanNetwork"


@pytest.mark.parametrize("name", ["batch.safetensors", "model.safetensors", "model.json", "report.json"])
def test_a_bit_of_a_black_box_that_flips_is_noticed(name: str, tmp_path: Path) -> None:
    file = black_box(tmp_path, overflowing(network()), data()) / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: expected the file as it was written, found one that does not"):
        read_black_box(file.parent)


def test_delta_may_overflow_where_no_state_does() -> None:
    """σ' = 1 and W = 1e200: δ grows backward beyond all bounds, while the states are zero."""
    net = tt.ElmanNetwork(3, 6, 4, "identity", dtype=torch.float64)
    with torch.no_grad():
        net.W.fill_(1e200)
        net.U.zero_()
        net.b.zero_()
    x, y = data(None)
    with pytest.raises(
        NonFiniteError, match=r"δ left the finite range first at step t=\d of row \d, going backward"
    ) as caught:
        tt.fit(net, (x, y), batch_size=9)
    assert caught.value.report.state is None
    assert caught.value.report.delta is not None
    assert caught.value.report.delta.t == 5  # δ_7 ~ 1, δ_6 ~ 1e200, δ_5 ~ 1e400


def test_the_norms_before_are_told() -> None:
    net = overflowing(network())
    with pytest.raises(NonFiniteError, match="gradient norms before it: ") as caught:
        tt.fit(net, data(8), batch_size=1, lr=1e-6, seed=3)
    assert 1 <= len(caught.value.report.norms) <= 10
    assert len(caught.value.report.norms) == min(caught.value.report.update - 1, 10)


@pytest.mark.parametrize("truncate", [None, 2])
def test_skip_leaves_out_that_batch_alone(truncate: int | None, tmp_path: Path, engine: str) -> None:
    net = overflowing(network())
    history = tt.fit(
        net,
        data(),
        batch_size=3,
        truncate=truncate,
        epochs=2,
        lr=1e-6,
        on_nonfinite="skip",
        checkpoint=Checkpoints(tmp_path),
    )
    assert history["skipped"] == [1, 1]
    assert all(math.isfinite(value) for row in history.rows for value in row.values())
    assert all(p.isfinite().all() for p in net.parameters())
    assert (tmp_path / "nonfinite/report.json").is_file()


def test_skip_stops_where_nothing_is_left() -> None:
    net = network()
    with torch.no_grad():
        net.c[0] = math.nan
    with pytest.raises(
        NonFiniteError, match=r"^epoch 1, update 3 of 3: expected a finite loss and gradient, found loss nan"
    ):
        tt.fit(net, data(None), batch_size=3, on_nonfinite="skip")


def test_a_stopped_training_can_go_on_without_the_batch(tmp_path: Path) -> None:
    """Resumed with "skip", it ends as if it had skipped from the beginning."""
    nets = [overflowing(network()), overflowing(network()), overflowing(network())]
    expected = tt.fit(nets[0], data(), batch_size=3, truncate=3, epochs=2, lr=1e-6, on_nonfinite="skip")
    options = {"batch_size": 3, "truncate": 3, "epochs": 2, "lr": 1e-6}
    with pytest.raises(NonFiniteError):
        tt.fit(nets[1], data(), checkpoint=Checkpoints(tmp_path), **options)
    resumed = Checkpoints(tmp_path, resume=True)
    history = tt.fit(nets[2], data(), checkpoint=resumed, on_nonfinite="skip", **options)
    assert history["train_loss"] == expected["train_loss"]
    assert all(torch.equal(a, b) for a, b in zip(nets[2].parameters(), nets[0].parameters(), strict=True))


def black_box(tmp_path: Path, net: tt.ElmanNetwork, batch: tuple[torch.Tensor, torch.Tensor]) -> Path:
    with pytest.raises(NonFiniteError):
        tt.fit(net, batch, batch_size=9, checkpoint=Checkpoints(tmp_path))
    return tmp_path / "nonfinite"


def test_the_steps_before_the_state_left_the_range_are_taken_apart(tmp_path: Path) -> None:
    net = overflowing(network())
    box = read_black_box(black_box(tmp_path, net, data()))
    assert box.report.state is not None
    found = before_the_fault(box, steps=3)
    assert found.name == f"row {box.report.state.row}, steps 3 to 5"  # x_6 is the one that is too large
    row = slice(box.report.state.row, box.report.state.row + 1)
    with torch.no_grad():
        _, s0 = net(box.x[row, :2], return_state=True)
    expected = tt.bptt(net, box.x[row, 2:5], box.y[row, 2:5], s0=s0)[1].W
    torch.testing.assert_close(found.anatomy.total, expected, rtol=1e-10, atol=1e-12)
    assert before_the_fault(box, instance=2).name == "row 2, steps 1 to 8"
    with pytest.raises(ValueError, match="^instance: expected 0 to 8, found 9$"):
        before_the_fault(box, instance=9)


class Tied(tt.ElmanNetwork):
    """V is U turned: one parameter for both, as language models tie them."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.V = self.U_turned = torch.nn.Parameter(self.V.detach())


@pytest.mark.parametrize("truncate", [None, 4])
@pytest.mark.parametrize("kind", [tt.ElmanNetwork, tt.SequenceModel])
def test_a_black_box_of_symbols_holds_the_batch_and_what_it_started_from(kind, truncate, tmp_path: Path) -> None:
    """Of a row among several, in a later window: its symbols, labels, lengths, carried states and weights."""
    torch.manual_seed(1)
    net = kind(5, 6, 4, nonlinearity="identity")
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name == "W" or "weight_hh" in name:
                value.copy_(torch.eye(6) * 1e6)
    x, y = torch.randint(5, (3, 30)), torch.randint(4, (3, 30))
    lengths = torch.tensor([30, 7, 21])
    met: list[tuple[torch.Tensor, dict]] = []
    loss = net.loss

    def noted(x, y, lengths, **options):
        met.append((x.clone(), {name: value for name, value in options.items() if name == "s0"}))
        return loss(x, y, lengths, **options)

    net.loss = noted
    with pytest.raises(NonFiniteError):
        tt.fit(
            net, (x, y, lengths), batch_size=3, truncate=truncate, epochs=2, lr=1e-30, checkpoint=Checkpoints(tmp_path)
        )
    box = read_black_box(tmp_path / "nonfinite")
    last, options = met[-1]
    assert box.x.dtype == torch.int64
    assert torch.equal(box.x, last)
    assert len(box.x) == len(box.lengths) == len(box.y) >= 2
    assert (box.s0 is None) == (truncate is None)
    if truncate is not None:
        assert torch.equal(box.s0, options["s0"])
        assert len(met) > 1
        assert box.s0.abs().max() > 1
    for (name, value), (found_name, found) in zip(net.named_parameters(), box.model.named_parameters(), strict=True):
        assert name == found_name
        assert torch.equal(value, found)


@pytest.mark.parametrize("name", ["U", "W", "V"])
def test_a_model_that_held_nan_before_is_kept_and_read_back(name: str, tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        getattr(net, name)[1, 0] = math.nan
    box = read_black_box(black_box(tmp_path, net, data(None)))
    assert getattr(box.model, name)[1, 0].isnan()
    assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(box.model.parameters(), net.parameters(), strict=True))


def test_tied_weights_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Tied(3, 6, 4, "relu", dtype=torch.float64)
    folder = black_box(tmp_path, overflowing(net), data())
    kept = load_file(folder / "model.safetensors")
    assert torch.equal(kept["V"], net.V.detach())


def test_the_steps_whose_delta_was_finite_are_taken_apart(tmp_path: Path) -> None:
    net = tt.ElmanNetwork(3, 6, 4, "identity")
    with torch.no_grad():
        net.W.fill_(1e30)
        net.U.zero_()
        net.b.zero_()
    x, y = data(None)
    box = read_black_box(black_box(tmp_path, net, (x.float(), y)))
    assert box.report.delta is not None
    found = before_the_fault(box)
    assert found.name == f"row {box.report.delta.row}, steps {box.report.delta.t + 2} to 8"
    sizes = found.anatomy.delta(found.anatomy.T).norm(dim=1)
    assert (sizes[:-1] > 1e30 * sizes[1:]).all()  # it explodes on its way back


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("report.json", "{", "report.json: expected what a training reported"),
        ("report.json", "[]", "report.json: expected what a training reported"),
        ("batch.safetensors", "", "batch.safetensors: expected a safetensors file"),
        ("model.json", "{}", "model.json: expected an object of version"),
    ],
)
def test_a_damaged_black_box_is_refused(file: str, content: str, told: str, tmp_path: Path) -> None:
    folder = black_box(tmp_path, overflowing(network()), data())
    (folder / "SHA256SUMS").unlink()
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=told):
        read_black_box(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": {"row": 9, "t": 0}}, "no step 0 in row 9"),
        ({"state": {"row": 0, "t": 8}}, "no step 8 in row 0"),
        ({"norms": 3}, "expected what a training reported"),
        ({"epoch": [], "loss": "x"}, "expected what a training reported"),
    ],
)
def test_a_report_that_cannot_be_is_refused(change: dict, told: str, tmp_path: Path) -> None:
    folder = black_box(tmp_path, overflowing(network()), data())
    (folder / "SHA256SUMS").unlink()
    values = json.loads((folder / "report.json").read_text()) | change
    (folder / "report.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=told):
        read_black_box(folder)
