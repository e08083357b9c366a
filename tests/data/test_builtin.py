# pyright: reportArgumentType=false, reportOptionalIterable=false
import sys

import numpy as np
import pytest

from throughtime.data import KINDS, Sequences, label_text, load, majority_accuracy, symbol_accuracy
from throughtime.data.builtin.python_source import TEST, TRAIN, VALID, python_source
from throughtime.data.preparation import prepare

LETTER = dict(zip("csnkod ", range(7), strict=True))  # comment string name keyword op digit space


def check(text, kinds):
    assert "".join("csnkod "[kind] for kind in label_text(text)) == kinds


def test_kinds_of_tokens():
    check("def f(x):  # hé\n\treturn x+1.5\n", "kkk nonoo  cccc  kkkkkk noddd ")


def test_strings_over_lines_and_a_text_without_a_last_newline():
    check("x = '''a\n\n# b'''\\\n;'σ'", "n o ssssssssssss  osss")
    check("match = None", "nnnnn o kkkk")
    check("", "")


def test_fstrings():
    if sys.version_info < (3, 12):
        check("f'a{b + 1}' c", "sssssssssss n")
    else:
        check("f'a{b + 1}' c", "sssonsosdos n")
        check("f'{{{b:>{2}}}}'+1", "ssssonosodoosssod")


@pytest.mark.parametrize("text", ["x = (", "'''abc", "x = $", "'abc", "if x:\n  y\n z"])
def test_what_is_not_python_is_refused_with_its_line(text):
    with pytest.raises(ValueError, match=r"text, line \d+: expected Python source, found"):
        label_text("# first\n" + text)


@pytest.fixture(scope="module")
def source():
    parts = python_source(["bisect.py", "heapq.py", "no_such_module.py"], ["copy.py"], ["queue.py", "sched.py"])
    return prepare("python-source", **parts)


def test_python_source(source):
    assert source.encoding.labels == KINDS
    assert source.train.names == ("bisect.py", "heapq.py")
    assert (source.task, source.k, source.n) == ("tag", 7, len(source.encoding.vocabulary))
    for part in source.parts.values():
        assert part.lengths.tolist() == [len(text) for text in part.texts]
        for text, x, y in zip(part.texts, part.inputs, part.targets, strict=True):
            assert source.encoding.vocabulary.encode(text).tolist() == x.tolist()
            assert label_text(text).tolist() == y.tolist()
    text, y = source.train.texts[0], source.train.targets[0]
    assert {text[i : i + 3] for i in np.flatnonzero(y == LETTER["k"]) if text[i - 1] == "\n"} >= {"def", "try"}


def test_python_source_lists_have_nothing_in_common():
    names = [*TRAIN, *VALID, *TEST]
    assert len(set(names)) == len(names)


def test_python_source_without_any_file():
    with pytest.raises(ValueError, match=r": valid: expected at least one sequence, found none"):
        python_source(["bisect.py"], ["no_such_module.py"], ["queue.py"])


def test_digits():
    data = load("digits")
    assert (data.task, data.n, data.k) == ("classify", 8, 10)
    assert [len(part) for part in data.parts.values()] == [1297, 250, 250]
    assert set(data.train.lengths.tolist()) == {8}
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    images = {x.tobytes() for part in data.parts.values() for x in part.inputs}
    assert len(images) == 1797


def test_pydoc_topics():
    data = load("pydoc-topics")
    assert data.task == "lm"
    assert data.n == data.k == len(data.encoding.vocabulary)
    names = [name for part in data.parts.values() for name in part.names]
    assert len(set(names)) == len(names) > 50
    for part in data.parts.values():
        assert part.lengths.sum() > 10_000
        assert part.inputs[-1][1:].tolist() == part.targets[-1][:-1].tolist()


def test_an_unknown_source_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"python-source, digits, pydoc-topics, found 'python-sauce'.*mean python-source"
    ):
        load("python-sauce")


def test_baselines():
    train = Sequences.from_arrays([[0, 0, 0, 1, 1, 3]], [[2, 2, 1, 0, 0, -100]])
    test = Sequences.from_arrays([[0, 1, 1, 4, 3, 0]], [[2, 0, 1, 0, 0, -100]])
    assert majority_accuracy(train, test) == 3 / 5
    assert symbol_accuracy(train, test) == 4 / 5
    frequent = Sequences.from_arrays([[0, 0, 1]], [[1, 1, 0]])
    assert symbol_accuracy(frequent, Sequences.from_arrays([[7, 1]], [[1, 0]])) == 1
    by_sequence = Sequences.from_arrays([[1.0], [2.0]], [1, 1])
    assert majority_accuracy(by_sequence, by_sequence) == 1
    with pytest.raises(ValueError, match="train: expected symbols with a label for each step"):
        symbol_accuracy(by_sequence, by_sequence)
    with pytest.raises(ValueError, match="test: expected labels, found none"):
        majority_accuracy(train, Sequences.from_arrays([[1]]))


def test_baselines_on_source(source):
    assert 0.2 < majority_accuracy(source.train, source.test) < symbol_accuracy(source.train, source.test) < 0.7
