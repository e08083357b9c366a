"""The run folder: what is saved comes back, and nothing that is wrong is believed."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import throughtime as tt
from throughtime.core.notation import NONLINEARITIES
from throughtime.data import Encoding, Sequences, Standardizer, Vocabulary
from throughtime.learning import History, run

ENCODING = Encoding("tag", ("vowel", "other"), vocabulary=Vocabulary(("<unknown>", "a", "b", "c"), "<unknown>"))
CONFIG = {"source": "letters", "truncate": 4, "lr": 0.1}


@pytest.fixture(autouse=True)
def _reference():
    with tt.engine("reference"):
        yield


def write(path: Path, model: torch.nn.Module, encoding: Encoding = ENCODING, config=CONFIG, **options) -> None:
    history = History([{"epoch": 1, "train_loss": 0.5, "seconds": 0.1}])
    run.save(path, model, encoding, config=config, history=history, metrics={"accuracy": 0.5}, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run to spoil."""
    write(tmp_path / "run", tt.ElmanNetwork(4, 3, 2))
    return tmp_path / "run"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("initial_state", ["zero", "learned"])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_what_is_saved_comes_back(tmp_path, nonlinearity, initial_state, dtype):
    net = tt.ElmanNetwork(4, 3, 2, nonlinearity, initial_state=initial_state, dtype=dtype)
    write(tmp_path / "run", net)
    found = run.load(tmp_path / "run")
    assert found.model.extra_repr() == net.extra_repr()
    for (name, value), (found_name, found_value) in zip(
        net.named_parameters(), found.model.named_parameters(), strict=True
    ):
        assert (found_name, found_value.dtype, found_value.requires_grad) == (name, dtype, True)
        assert torch.equal(value, found_value)
    assert not found.model.training
    assert (found.encoding, found.config, found.metrics) == (ENCODING, CONFIG, {"accuracy": 0.5})
    x = torch.randint(4, (2, 5))
    assert torch.equal(found.model(x), net(x))
    found.model.loss(x, x % 2).backward()


def test_the_weights_are_there_for_others_to_read(folder):
    weights = load_file(folder / "model.safetensors")
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        "U": (3, 4), "W": (3, 3), "b": (3,), "V": (2, 3), "c": (2,)
    }  # fmt: skip


def test_predictions_by_name_whatever_the_window(folder):
    found = run.load(folder)
    text = "abcabcaabcaz"
    z = found.model(torch.tensor([[1, 2, 3, 1, 2, 3, 1, 1, 2, 3, 1, 0]]))[0]
    assert found.truncate == 4
    torch.testing.assert_close(found.logits(text)[0], z, rtol=1e-5, atol=1e-6)
    names = [ENCODING.labels[label] for label in z.argmax(-1).tolist()]
    assert found.predict(text) == [names]
    assert found.predict([text, "ab"]) == [names, names[:2]]
    assert found.predict([list(text)]) == [names]
    assert found.predict(Sequences.from_arrays([np.array([1, 2])])) == [names[:2]]


def test_features_are_scaled_as_in_the_training(tmp_path):
    scale = Standardizer((1.0, 10.0), (2.0, 5.0))
    encoding = Encoding("tag", ("low", "high"), features=("p", "q"), input_scale=scale)
    net = tt.ElmanNetwork(2, 3, 2)
    write(tmp_path / "run", net, encoding)
    found = run.load(tmp_path / "run")
    raw = np.array([[1.0, 10.0], [3.0, 20.0]])
    expected = net(torch.tensor([[[0.0, 0.0], [1.0, 2.0]]]))[0]
    torch.testing.assert_close(found.logits([raw])[0], expected.detach())
    with pytest.raises(ValueError, match="expected 2 features, found 3"):
        found.predict([np.zeros((4, 3))])
    with pytest.raises(TypeError, match="expected arrays of 2 features, found a string"):
        found.predict("abc")


def test_a_failure_leaves_what_was_there(folder, monkeypatch):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(History, "to_csv", fail)
        with pytest.raises(OSError, match="no space left"):
            write(folder, tt.ElmanNetwork(4, 3, 2), overwrite=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    rename = run.os.rename

    def fail_second(source, target):
        if Path(target) == folder and not str(source).endswith(".old"):
            raise OSError("no renaming")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(run.os, "rename", fail_second)
        with pytest.raises(OSError, match="no renaming"):
            write(folder, tt.ElmanNetwork(4, 3, 2), overwrite=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_saving_refuses_other_models_and_taken_names(tmp_path, folder):
    with pytest.raises(TypeError, match="model: expected one of ElmanNetwork.*, found Linear"):
        write(tmp_path / "other", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="expected a free name, found a run"):
        write(folder, tt.ElmanNetwork(4, 3, 2))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="found something else"):
        write(tmp_path / "file", tt.ElmanNetwork(4, 3, 2), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "file"}


def replace_json(name: str, **changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(data | changes))

    return spoil


def replace_argument(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / "model.json").read_text())
        data["arguments"] |= changes
        (folder / "model.json").write_text(json.dumps(data))

    return spoil


def replace_file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def replace_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return spoil


SPOILT = {
    "no folder": (shutil.rmtree, "expected a run folder, found no such folder"),
    "a file": (lambda f: (shutil.rmtree(f), f.touch()), "expected a run folder, found a file"),
    "another folder": (lambda f: (shutil.rmtree(f), f.mkdir()), "found not a run"),
    "incomplete": (lambda f: (f / "model.json").unlink(), "found an incomplete run: model.json missing"),
    "not JSON": (replace_file("model.json", b"{"), r"model\.json: expected JSON, found: "),
    "JSON too deep": (replace_file("model.json", b"[" * 100_000), r"model\.json: expected JSON, found: "),
    "JSON not UTF-8": (replace_file("metrics.json", b"\xff"), r"metrics\.json: expected JSON, found: "),
    "a JSON list": (replace_file("metrics.json", b"[]"), r"metrics\.json: expected an object, found list"),
    "not TOML": (replace_file("config.toml", b"a = "), r"config\.toml: expected TOML, found: "),
    "another version": (replace_json("model.json", version=2), "expected an object of version 1, found 2"),
    "another class": (replace_json("model.json", **{"class": "Popen"}), "class: expected one of ElmanNetwork.*'Popen'"),
    "a class that is a list": (replace_json("model.json", **{"class": ["ElmanNetwork"]}), "class: expected one of"),
    "no arguments": (replace_json("model.json", arguments=None), "arguments: expected an object, found NoneType"),
    "an unknown argument": (replace_argument(device="cuda"), r"model\.json: .*unexpected keyword argument 'device'"),
    "a size of a string": (replace_argument(d="3"), r"model\.json: d: expected a whole number, found '3'"),
    "a size that memory lacks": (replace_argument(d=10**12), r"model\.json: d: expected a size that .*, found 1000000"),
    "a size that disagrees": (replace_argument(d=4), r"model\.safetensors: \w: expected shape \(.*4.*\), found"),
    "an activation": (replace_argument(nonlinearity="exec"), "nonlinearity: expected one of 'tanh'.*found 'exec'"),
    "a vocabulary of others": (replace_json("vocabulary.json", labels=["a"]), "to agree on n and k, found"),
    "an empty vocabulary": (replace_json("vocabulary.json", vocabulary={}), r"vocabulary\.json: "),
    "labels of numbers": (replace_json("vocabulary.json", labels=7), r"vocabulary\.json: "),
    "a vocabulary that is a list": (replace_file("vocabulary.json", b"[1]"), r"vocabulary\.json: "),
    "a pickle": (replace_file("model.safetensors", b"\x80\x04N."), "expected a safetensors file, found 4 bytes"),
    "a large pickle": (replace_file("model.safetensors", b"\x80\x04N." * 99), "expected a safetensors file, found 396"),
    "a huge header": (
        replace_file("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
        "expected a safetensors file, found 10 bytes",
    ),
    "no tensors": (replace_file("model.safetensors", struct.pack("<Q", 2) + b"{}"), "expected shape .*, found None"),
    "weights cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-4]),
        "expected a safetensors file, found: ",
    ),
    "a weight too few": (replace_weights(lambda w: w.pop("b")), r"b: expected shape \(3,\), found None"),
    "a weight too many": (
        replace_weights(lambda w: w.update(s=torch.ones(1))),
        r"s: expected shape None, found \(1,\)",
    ),
    "another shape": (replace_weights(lambda w: w.update(b=torch.ones(4))), r"b: expected shape \(3,\), found \(4,\)"),
    "whole numbers": (replace_weights(lambda w: w.update(b=torch.ones(3).int())), "b: expected float32 or float64"),
    "two dtypes": (replace_weights(lambda w: w.update(b=torch.ones(3).double())), "expected one dtype"),
    "NaN": (replace_weights(lambda w: w["b"].fill_(float("nan"))), "b: expected finite numbers, found NaN"),
}


@pytest.mark.parametrize(("spoil", "expected"), SPOILT.values(), ids=SPOILT.keys())
def test_a_spoilt_run_is_refused(folder, spoil, expected):
    """Also where no checksum tells, as in the folders of earlier versions."""
    (folder / "SHA256SUMS").unlink()
    run.load(folder)
    spoil(folder)
    with pytest.raises(ValueError, match=expected) as error:
        run.load(folder)
    assert str(error.value).startswith(str(folder))
    assert "\n" not in str(error.value)


def test_the_checksums_are_those_that_other_tools_check(folder):
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == list(run.FILES)
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", run.FILES)
def test_a_bit_that_flips_is_noticed(folder, name):
    """In the first, a middle and the last byte of every file, at every place of the byte."""
    whole = (folder / name).read_bytes()
    for at in {0, len(whole) // 2, len(whole) - 1}:
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            (folder / name).write_bytes(flipped)
            with pytest.raises(
                ValueError, match=f"{name}: expected the file as it was written, found one that does not"
            ):
                run.load(folder)
    (folder / name).write_bytes(whole)
    run.load(folder)


def test_checksums_that_are_damaged_are_noticed(folder):
    whole = (folder / "SHA256SUMS").read_bytes()
    for at in range(0, len(whole), 3):
        (folder / "SHA256SUMS").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(
            ValueError, match=r"SHA256SUMS: expected the checksum of|expected the file as it was written"
        ):
            run.load(folder)
    (folder / "SHA256SUMS").write_bytes(b"")
    with pytest.raises(ValueError, match=r"SHA256SUMS: expected the checksum of config.toml, found none"):
        run.load(folder)


def test_symbols_that_are_no_characters_come_back(tmp_path):
    """Halves of characters, which UTF-8 cannot write, and what JSON need not escape but a terminal heeds."""
    symbols = ("<unknown>", "\ud800", "\x9b", "\u2028")
    encoding = Encoding("tag", ("\udfff", "b"), vocabulary=Vocabulary(symbols, "<unknown>"))
    write(tmp_path / "run", tt.ElmanNetwork(4, 3, 2), encoding)
    assert run.load(tmp_path / "run").encoding == encoding
