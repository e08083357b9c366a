"""The program as a whole: help, exit statuses, signals, missing packages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from small import SMALL

import throughtime as tt
from throughtime.cli import VERBS, main

PROGRAM = [sys.executable, "-m", "throughtime"]


def test_help_names_every_verb(command):
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    assert all(re.search(rf"^\W*{verb}\b", out, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_neither_torch_nor_numpy(verb):
    code = f"""
import sys
from throughtime.cli import main
assert main({[verb, "--help"] if verb else ["--help"]}) == 0
print(sorted(sys.modules.keys() & {{"torch", "numpy", "matplotlib", "sklearn"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(command):
    assert command("--version") == (0, f"{tt.__version__}\n", "")


def test_an_unknown_verb_names_the_nearest(refused):
    assert refused("trian").startswith('Unknown command "trian". Did you mean "train"?')


def test_a_refusal_is_one_line_and_status_2_in_a_real_process():
    done = subprocess.run([*PROGRAM, "train", "--epoch", "1"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: Unknown option: --epoch. Did you mean --epochs?\n"


def test_control_c_saves_and_ends_with_130(tmp_path):
    code = f"""
import sys
from throughtime.cli import main
from throughtime.data.builtin import BUILTIN, python_source
BUILTIN["python-source"] = lambda: python_source(**{SMALL})
sys.exit(main(["train", "--epochs", "99999", "--engine", "reference"]))
"""
    program = [sys.executable, "-c", code]
    with subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    saved = "saved; to go on: throughtime train --resume --out runs/python-source"
    assert rest.strip().splitlines()[-2:] == [saved, "interrupted"]
    assert "Traceback" not in rest
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["python-source.unfinished"]


def test_a_reader_that_leaves_ends_the_command_quietly(trained):
    """As in `throughtime predict RUN | head -1`."""
    read, write = os.pipe()
    os.close(read)
    arguments = ["predict", trained, "--text", "x = 1\n" * 10_000]
    done = subprocess.run([*PROGRAM, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1


def test_doctor_tells_versions_engine_and_threads(command):
    status, out, err = command("doctor")
    assert (status, err) == (0, "")
    for name in ("throughtime", "python", "torch", "numpy", "engine", "instruction set", "threads", "onnxruntime"):
        assert [line for line in out.splitlines() if line.startswith(name)]
    found = json.loads(command("doctor", "--json").out)
    assert found["throughtime"] == tt.__version__
    assert found["engine"]["chosen"] == found["engine"]["runs"] == "reference"
    assert "reference" in found["engine"]["available"]
    assert found["threads"]["torch"] >= 1


def test_doctor_tells_what_is_missing(command, monkeypatch):
    monkeypatch.setattr("throughtime.engines.native.load_error", "no such file")
    monkeypatch.setattr("throughtime.cli.doctor.REQUIRED", ("throughtime", "torch", "numpy"))
    monkeypatch.setattr("throughtime.cli.doctor.OPTIONAL", {"no-such-package": "onnx"})
    out = command("doctor").out
    assert "reference (chosen: reference; available: torch, reference; native is missing: no such file)" in out
    assert "no-such-package  missing: pip install 'throughtime[onnx]'" in out


def test_a_command_line_without_its_packages_tells_how_to_get_them(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "throughtime.cli.parser", raising=False)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert main(["doctor"]) == 1
    assert "cyclopts" in capsys.readouterr().err
