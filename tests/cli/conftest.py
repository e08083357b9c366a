"""A small source to train on, a trained run, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from small import QUICK, SMALL

import throughtime as tt
from throughtime.cli import main
from throughtime.data.builtin import BUILTIN, python_source


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder to work in, no colours, a small python-source, the engine that is always there."""
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(BUILTIN, "python-source", lambda: python_source(**SMALL))
    with tt.engine("reference"):
        yield


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line here: `command("train", "--epochs", 3)`."""

    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def refused(command: Command) -> Callable[..., str]:
    """Run a command line that must be refused with status 2 and one line, which is returned."""

    def run(*arguments: object) -> str:
        status, out, err = command(*arguments)
        assert (status, out) == (2, ""), err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("error: ").strip()

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder; not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILTIN, "python-source", lambda: python_source(**SMALL))
        arguments = ("train", "--out", folder / "run", *QUICK[2:], "--epochs", 4, "--lr", 0.03)
        assert main([str(argument) for argument in arguments]) == 0
    return folder / "run"
