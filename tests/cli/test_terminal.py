"""What names and texts out of data may do to a terminal, a table and a picture: nothing."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from small import QUICK

from throughtime.cli import highlight, pictures, report
from throughtime.cli.terminal import Visible
from throughtime.learning import History
from throughtime.untrusted.showing import short, visible

HOSTILE = {
    "escape": "\x1b[2Jred\x1b[31m",
    "one-byte escape": "\x9b2J",
    "bell and backspace": "a\x07\x08b",
    "back to the beginning": "error\rfine ",
    "right to left": "abc\u202ecba",
    "line separator": "a\u2028b",
    "not UTF-8": os.fsdecode(b"\xffa"),
    "mathematics": "$\\frac{a}$ and $x",
    "a dollar": "50$",
    "no glyph": "\N{CJK UNIFIED IDEOGRAPH-4E2D}\N{ZERO WIDTH JOINER}",
    "ten thousand characters": "long " * 2000,
}
STEERING = [
    *range(0x09),
    0x0B,
    0x0C,
    *range(0x0E, 0x20),
    0x7F,
    *range(0x80, 0xA0),
    0x2028,
    0x2029,
    0x202E,
    0x2066,
    0xDCFF,
]


@pytest.mark.parametrize("point", STEERING)
def test_what_would_steer_a_terminal_is_written_as_json_does(point):
    assert visible(f"a{chr(point)}b") == f"a\\u{point:04x}b"
    assert json.loads(visible(json.dumps(chr(point), ensure_ascii=False))) == chr(point)


def test_text_stays_as_it_is():
    for text in ("one\ttwo\nthree\r\nfour", "σ(U x) é \N{GRINNING FACE}", "שלום", ""):
        assert visible(text) == text
    assert visible("a\rb") == "a\\u000db"


def test_names_are_cut_to_one_line():
    assert short("noun") == "noun"
    assert short("a\nb\tc") == "a\\u000ab\\u0009c"
    assert short("x" * 40) == "x" * 40
    assert short("x" * 41) == "x" * 39 + "…"
    assert len(short("\x1b" * 10**7)) == 40
    widest = report.table([("class", "F1"), *((name, "1.0") for name in HOSTILE.values())]).splitlines()
    assert len(widest) == 1 + len(HOSTILE)
    assert max(map(len, widest)) == 40 + 2 + 3


def test_pictures_show_the_numbers():
    rows = [{"epoch": e, "train_loss": 2.0 / e, "valid_loss": 3.0 / e, "valid_accuracy": 0.2 * e} for e in (1, 2, 3)]
    figure = pictures.learning_curve(History(rows), "title", {"most frequent label": 0.25})
    drawn = {tuple(line.get_ydata()) for axes in figure.axes for line in axes.lines}
    assert {tuple(row[name] for row in rows) for name in ("train_loss", "valid_loss", "valid_accuracy")} <= drawn
    assert any(set(numbers) == {0.25} for numbers in drawn)
    axes = pictures.confusion_matrix([[3, 1, 0], [0, 0, 0], [0, 1, 399]], ["a", "b", "c"], "title").axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0, 0.0025, 0.9975]]
    told = {text.get_position(): text.get_text() for text in axes.texts}
    assert told == {(0, 0): "75", (1, 0): "25", (1, 2): "<1", (2, 2): "100"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_picture_takes_every_name_literally(name):
    history = History([{"epoch": 1, "train_loss": 1.0, "valid_loss": 1.0, "valid_accuracy": 0.5}])
    figures = [
        pictures.learning_curve(history, short(name), {"most frequent label": 0.5}),
        pictures.confusion_matrix([[1, 1], [0, 2]], [name, "other"], short(name)),
    ]
    for figure in figures:
        assert pictures.as_png(lambda figure=figure: figure).startswith(b"\x89PNG")
        assert not any(
            text.get_parse_math() for text in figure.findobj() if short(name, 20) in getattr(text, "get_text", str)()
        )
    labels = [label.get_text() for label in figures[1].axes[0].get_xticklabels()]
    assert labels == [short(name, 20), "other"]


@pytest.mark.parametrize("colours", [True, False])
def test_labelled_text_shows_escapes_in_both_ways(colours, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if colours:
        monkeypatch.setenv("FORCE_COLOR", "1")
    odd = "y\x1b"
    with redirect_stdout(Visible(sys.stdout)):
        highlight.show("a\x1bb\r\nc", ["x", odd, "x", "x", "x", odd], ["x", odd])
    out = capsys.readouterr().out
    assert ("\x1b[" in out) == colours
    assert "\x1bb" not in out
    assert "a\\u001bb" in (out if not colours else re.sub(r"\x1b\[\d*m", "", out))
    if not colours:
        assert out.splitlines() == ["a\\u001bb", "xyyyyyyx", "c", "y", "x x  y y\\u001b"]


def write_hostile(folder: Path) -> None:
    """Three classes, named by the files of a folder, whose names and contents are not kind."""
    folder.mkdir()
    for name in ("cost $a$ in $", "\x1b[31mred", "plain"):
        (folder / f"{name}.txt").write_text("a\x1b[2Jb\nab$c$\nba\x9bb\n" * 4)


def test_a_whole_training_on_hostile_names_reaches_the_terminal_escaped(command):
    name = "data $x^{$ \x1b[0m"
    write_hostile(Path(name))
    status, out, err = command("train", name, *QUICK, "--out", "run")
    assert status == 0, err
    for file in ("learning-curve.png", "confusion-matrix.png"):
        assert Path("run", file).read_bytes().startswith(b"\x89PNG")
    told = out + err
    told += command("evaluate", "run").out + command("predict", "run", name).out
    found = [json.loads(line) for line in command("predict", "run", name, "--json").out.splitlines()]
    assert {"\x1b[31mred"} < set(found[0]["probabilities"])
    told += command("train", f"{name}x", "--out", "other").err + command("evaluate", "run", "\x1b[1m").err
    assert "\x1b" not in told
    assert "\x9b" not in told
    assert "\\u001b[31mred" in told


@pytest.mark.parametrize("error", [ValueError("no such font\nat all"), MemoryError()])
def test_a_picture_that_fails_costs_a_warning(command, monkeypatch, error):
    def fail(*_, **__):
        assert Path("run/model.safetensors").is_file()  # the run is saved before anything is drawn
        assert not Path("run.unfinished").exists()
        raise error

    monkeypatch.setattr("throughtime.cli.pictures.learning_curve", fail)
    status, out, err = command("train", *QUICK, "--out", "run")
    assert status == 0
    assert f"warning: run/learning-curve.png: expected a picture, found {type(error).__name__}: " in err
    assert "\nrun folder: run\n" in out
    assert Path("run/confusion-matrix.png").is_file()
    assert not Path("run/learning-curve.png").exists()


def test_a_file_name_that_is_not_utf8_is_told(command):
    name = os.fsdecode(b"\xff.csv")
    assert "\\udcff.csv" in command("train", name).err
    Path(name).write_text("value\n1\n2\n")
    told = f"error: source: expected a path whose name is UTF-8, found '{Path.cwd()}/\\udcff.csv'\n"
    assert command("train", name).err == told
