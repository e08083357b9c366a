"""Files from strangers: whatever is in them, they are read or refused with one line, and nothing is written.

THROUGHTIME_FUZZ=10000 tries so many inputs for each reader; a few where it is not set.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime import data
from throughtime.anatomy.window import before_the_fault
from throughtime.cli.errors import Refused
from throughtime.cli.unfinished import checked
from throughtime.data import Encoding, Vocabulary
from throughtime.learning import Checkpoints, History, NonFiniteError, run
from throughtime.learning.nonfinite import read_black_box
from throughtime.untrusted.toml_files import read_toml

EXAMPLES = int(os.environ.get("THROUGHTIME_FUZZ", "40"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=20_000,  # ms: no hang, also where other programs run
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    database=None,
)
SMALL_RUN: dict[str, bytes] = {}
SMALL_CHECKPOINT: dict[str, bytes] = {}
SMALL_BLACK_BOX: dict[str, bytes] = {}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def originals() -> None:
    """A run folder, a checkpoint and a black box as they should be, as bytes by name."""
    if SMALL_RUN:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        net = tt.ElmanNetwork(3, 2, 2)
        history = History([{"epoch": 1, "train_loss": 1.0, "seconds": 0.1}])
        encoding = Encoding("tag", ("a", "b"), Vocabulary(("<unknown>", "x", "y"), "<unknown>"))
        run.save(folder / "run", net, encoding, config={"source": "s"}, history=history, metrics={"a": 1})
        SMALL_RUN.update(contents(folder / "run"))
        tt.fit(net, DATA, epochs=1, batch_size=1, truncate=2, checkpoint=Checkpoints(folder / "c", 1))
        last = sorted((folder / "c").iterdir())[-1]
        SMALL_CHECKPOINT.update(contents(last))
        wild = tt.ElmanNetwork(3, 2, 2, "identity")
        with torch.no_grad():
            wild.W.fill_(1e30)
        with pytest.raises(NonFiniteError):
            tt.fit(wild, WILD, epochs=1, truncate=20, checkpoint=Checkpoints(folder / "b", 1))
        SMALL_BLACK_BOX.update(contents(folder / "b" / "nonfinite"))


DATA = ([np.array([0, 1, 2]), np.array([1, 1])], [np.array([0, 1, 0]), np.array([1, 1])])
WILD = ([np.arange(40) % 3], [np.arange(40) % 2])


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """Some bytes changed, cut, put in or doubled; or altogether others."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted(draw(st.tuples(*[st.integers(0, max(len(content), 1))] * 2)))
        piece = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from(
                    [b"", b"\x00", b"\xff" * 8, b"NaN", b"1e999", b"-1", b"99999999999999999999", b"null", b"[]", b"{}",
                     b'"', b"[" * 2000, b"\n", b"\t", b",", b"\xef\xbb\xbf", b"\x00" * 50, b"9" * 5000, b"../../x"]
                ),
            )
        )  # fmt: skip
        kind = draw(st.sampled_from(["replace", "insert", "cut", "all"]))
        if kind == "all":
            content = bytearray(draw(st.binary(max_size=200)))
        else:
            content[at : at if kind == "insert" else min(end, at + 20) if kind == "replace" else end] = piece
    return bytes(content)


def check(read: Callable[[Path], object], files: dict[str, bytes], allowed: tuple[type[Exception], ...] = ()) -> str:
    """Reads a folder of `files`: nothing but a ValueError of one line, no new file, no memory out of proportion.

    Returns the message, "" where the files were accepted.
    """
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        folder = outside / "in" / "folder"
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        before, message = contents(outside), ""
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(folder)
        except (ValueError, *allowed) as error:
            message = str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert "\n" not in message, message
        assert peak < 64_000_000 + 100 * sum(map(len, files.values()))
        assert contents(outside) == before
        return message


def test_what_is_damaged_below_is_accepted_as_it_was() -> None:
    originals()
    assert check(run.load, SMALL_RUN) == ""
    assert check(lambda folder: before_the_fault(read_black_box(folder)), SMALL_BLACK_BOX) == ""
    assert check(resume, SMALL_CHECKPOINT) == ""
    assert check(lambda folder: read_toml(folder / "run.toml"), {"run.toml": TOML}) == ""


@pytest.fixture(scope="module", autouse=True)
def _limited():
    """Memory that a header asks for without having it is refused by the system, 16 GB above what is in use."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if os.path.exists("/proc") else 0
    )
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def unsealed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name != "SHA256SUMS"}


def one_damaged(draw, files: dict[str, bytes]) -> dict[str, bytes]:
    name = draw.draw(st.sampled_from(sorted(files)))
    return files | {name: draw.draw(damaged(files[name]))}


@fuzzed
@given(st.data())
def test_run_folders(draw) -> None:
    """Without checksums, which would tell at once; and with them."""
    originals()
    check(run.load, one_damaged(draw, unsealed(SMALL_RUN) if draw.draw(st.booleans()) else SMALL_RUN))


@fuzzed
@given(st.data())
def test_black_boxes(draw) -> None:
    originals()
    files = one_damaged(draw, unsealed(SMALL_BLACK_BOX))
    check(lambda folder: before_the_fault(read_black_box(folder)), files, (ArithmeticError, TypeError))


def test_configurations_nested_without_end() -> None:
    originals()
    for name, content in {"config.toml": b"states = " + b"[" * 5000, "metrics.json": b"[" * 100_000}.items():
        assert f"{name}: expected " in check(run.load, unsealed(SMALL_RUN) | {name: content})


def resume(folder: Path) -> None:
    """Loads the checkpoint into a training that is over at once or soon."""
    work = folder.parent / "work"
    shutil.copytree(folder, work / "00000001")
    try:
        torch.manual_seed(0)
        checkpoint = Checkpoints(work, "1h", resume=True)
        tt.fit(tt.ElmanNetwork(3, 2, 2), DATA, epochs=1, batch_size=1, truncate=2, checkpoint=checkpoint)
    finally:
        shutil.rmtree(work)


@fuzzed
@given(st.data())
def test_checkpoints(draw) -> None:
    """Damaged ones; and forged ones, whose checksum is right."""
    originals()
    check(resume, one_damaged(draw, SMALL_CHECKPOINT))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@fuzzed
@given(st.data())
def test_forged_checkpoints(draw) -> None:
    from throughtime.learning.checkpoints import _checksum

    originals()
    described = json.loads(SMALL_CHECKPOINT["state.json"])
    content = json.loads(described["content"])
    tensors = SMALL_CHECKPOINT["state.safetensors"]
    if draw.draw(st.booleans()):
        tensors = draw.draw(damaged(tensors))
    place = content["state"] if draw.draw(st.booleans()) else content
    for _ in range(draw.draw(st.integers(0, 2))):
        place[draw.draw(st.sampled_from(sorted(place)))] = draw.draw(VALUES)
    described["content"] = json.dumps(content)
    described["sha256"] = _checksum(tensors, described["content"])
    check(resume, {"state.json": json.dumps(described).encode(), "state.safetensors": tensors}, (ArithmeticError,))


@fuzzed
@given(
    st.dictionaries(st.sampled_from(["source", "states", "lr", "split", "features", "truncate", "out", "x"]), VALUES)
)
def test_options_of_a_checkpoint(config) -> None:
    check(lambda folder: checked(config, folder), {})


TOML = b'states = 4\nlr = 0.1\n[environment]\ntorch = "2"\nthreads = 1\n'


@fuzzed
@given(damaged(TOML))
@example(b"states = " + b"[" * 5000)
def test_toml(content: bytes) -> None:
    check(lambda folder: read_toml(folder / "run.toml"), {"run.toml": content}, (Refused,))


@fuzzed
@given(VALUES | st.fixed_dictionaries({"task": VALUES, "labels": VALUES, "vocabulary": VALUES, "version": VALUES}))
def test_vocabularies(value) -> None:
    check(lambda folder: Encoding.from_json(value), {}, (TypeError,))
    check(lambda folder: Vocabulary.from_json(value), {}, (TypeError,))


SOURCES = {
    "a.conllu": b"# sent_id = 1\n1\tone\tone\tNOUN\t_\t_\t0\troot\t_\t_\n2\ttwo\ttwo\tVERB\t_\t_\t1\tdep\t_\t_\n\n" * 2,
    "a.conll": b"one O\ntwo B-X\n\none I-X\n",
    "a.csv": b"id,time,value,label\n1,0,1.5,a\n1,1,2.5,a\n2,0,0.5,b\n2,1,1.0,b\n",
    "a.tsv": b"value\n1.5\n2.5\n0.5\n1.0\n",
    "a.ts": b"@problemName x\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n1,2,3:a\n2,3,1:b\n",
    "a.txt": b"the quick brown fox\njumps over the lazy dog\n",
}


def archive() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        np.savez(Path(name) / "a.npz", x=np.zeros((4, 5, 2)), y=np.array([0, 1, 0, 1]))
        return (Path(name) / "a.npz").read_bytes()


@pytest.mark.parametrize("name", [*SOURCES, "a.npz", "a.parquet"])
def test_data_files(name: str) -> None:
    if name == "a.parquet":
        polars = pytest.importorskip("polars")
        with tempfile.TemporaryDirectory() as folder:
            polars.DataFrame({"value": [1.0, 2.0, 0.5]}).write_parquet(Path(folder) / name)
            original = (Path(folder) / name).read_bytes()
    else:
        original = SOURCES[name] if name in SOURCES else archive()

    options = {"id": "id", "time": "time", "target": "label"} if name == "a.csv" else {}

    def read(folder: Path) -> object:
        return data.load(folder / name, split=(0, 0), **options)

    assert check(read, {name: original}) == ""

    @fuzzed
    @given(damaged(original))
    def fuzz(content: bytes) -> None:
        check(read, {name: content})

    fuzz()
