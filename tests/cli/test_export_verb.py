"""`throughtime export`: a file that onnxruntime agrees with, or one line and no file."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from throughtime.export.onnx_operators import ACTIVATIONS
from throughtime.learning.run import load

onnxruntime = pytest.importorskip("onnxruntime")

TEXT = "def f(x): return x  # hi"


def test_the_file_labels_as_the_run_does(command, trained, tmp_path):
    status, out, err = command("export", trained, "--out", tmp_path / "model.onnx")
    assert (status, err) == (0, "")
    assert out.startswith(
        f"{tmp_path / 'model.onnx'}: onnxruntime agrees at 1 × 1, 3 × 17, 5 × 4 (sequences × steps); "
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    names = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    code = {symbol: i for i, symbol in enumerate(names["vocabulary"]["symbols"])}
    (z,) = session.run(["z"], {"x": np.array([[code[character] for character in TEXT]])})
    assert [names["labels"][i] for i in z[0].argmax(-1)] == load(trained).predict(TEXT)[0]


def test_what_cannot_be_exported_is_refused(refused, command, trained, tmp_path, monkeypatch):
    assert refused("export", "none") == "none: expected a run folder, found no such folder"
    assert refused("export", trained, "--out", "none/model.onnx").endswith("No such file or directory")
    monkeypatch.setitem(ACTIVATIONS, "tanh", {"activations": ["Softsign"]})
    status, out, err = command("export", trained, "--out", "model.onnx")
    assert (status, out) == (1, "")
    assert err.startswith(
        "error: ONNX: z at B=1, T=1: expected what the model gives, to 1e-05, found a difference of 0."
    )
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, out, err = command("export", trained, "--out", "model.onnx")
    assert (status, out) == (1, "")
    assert err == "error: expected the package onnx, which is not installed: pip install 'throughtime[onnx]'\n"
    assert list(tmp_path.iterdir()) == []
