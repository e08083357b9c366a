# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false, reportArgumentType=false
import io

import numpy as np
import polars as pl
import pytest

from throughtime.data import Dataset, load
from throughtime.data.readers import tables

WHOLE = {"split": (0.0, 0.0), "min_count": 1}  # no held-out part, every symbol


def steps(part):
    return [x.tolist() for x in part.inputs]


def words(data: Dataset):
    assert data.encoding.vocabulary is not None
    return [data.encoding.vocabulary.decode(x) for x in data.train.inputs]


def names(data: Dataset):
    return [[data.encoding.labels[label] if label >= 0 else None for label in y] for y in data.train.targets]


def unscaled(data: Dataset):
    assert data.encoding.input_scale is not None
    features = len(data.encoding.features)
    return [data.encoding.input_scale.invert(x[:, :features]).round(5).tolist() for x in data.train.inputs]


CONLLU = """# sent_id = first
# text = It's on
1-2\tIt's\t_\t_\t_\t_\t_\t_\t_\t_
1\tIt\tit\tPRON\tP\t_\t3\tnsubj\t_\t_
2\t's\tbe\tAUX\t_\t_\t3\tcop\t_\t_
2.1\tnot\tnot\tPART\t_\t_\t_\t_\t_\t_
3\ton\ton\tADP\tE\t_\t0\troot\t_\t_

1\tIt\tit\tPRON\tP\tNumber=Sing\t0\troot\t_\t_
"""


def test_conllu(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_bytes(b"\xef\xbb\xbf" + CONLLU.replace("\n", "\r\n").encode())
    data = load(path, **WHOLE)
    assert (data.name, data.task, data.encoding.labels) == ("a.conllu", "tag", ("ADP", "AUX", "PRON"))
    assert words(data) == [["It", "'s", "on"], ["It"]]
    assert names(data) == [["PRON", "AUX", "ADP"], ["PRON"]]
    assert data.train.names == ("first", "line 9")
    assert names(load(path, column="xpos", **WHOLE)) == [["P", None, "E"], ["P"]]
    assert load(path, column="feats", **WHOLE).encoding.labels == ("Number=Sing", "_")


def test_conll(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O\n\n# NN B\nx NN I\n\n\ny VB O\n")
    data = load(path, **WHOLE)
    assert words(data) == [["#", "x"], ["y"]]
    assert names(data) == [["B", "I"], ["O"]]
    assert data.train.names == ("line 3", "line 7")
    assert load(path, column="2", **WHOLE).encoding.labels == ("NN", "VB")
    path.write_text("a word\tX\nb\tY\n")
    assert words(load(path, **WHOLE)) == [["a word", "b"]]


def test_ts(tmp_path):
    path = tmp_path / "a.ts"
    path.write_text(
        "# c\n@missing true\n@univariate false\n@dimensions 2\n@classLabel true b a\n@data\n1,2,?:4,5,6:a\n3:7:b\n"
    )
    data = load(path, **WHOLE)
    assert (data.task, data.encoding.labels, data.n) == ("classify", ("b", "a"), 3)
    assert (data.encoding.flagged, [x[:, 2].tolist() for x in data.train.inputs]) == (
        ("dimension 1",),
        [[0, 0, 1], [0]],
    )
    assert data.train.targets == [1, 0]
    assert unscaled(data) == [[[1, 4], [2, 5], [2, 6]], [[3, 7]]]  # the last that is known
    path.write_text("@univariate true\n@classLabel false\n@data\n1,2,3\n4,5\n")
    series = load(path, **WHOLE)
    assert (series.task, series.encoding.labels) == ("forecast", ("dimension 1",))
    assert unscaled(series) == [[[1], [2]], [[4]]]


def test_folder(tmp_path):
    (tmp_path / "LICENSE").write_bytes(b"\xff")
    (tmp_path / "b.txt").write_text("xy \n\nz\n")
    (tmp_path / "a.txt").write_text("zz")
    data = load(tmp_path, **WHOLE)
    assert (data.task, data.encoding.labels, data.train.texts) == ("classify", ("a", "b"), ("zz", "xy", "z"))
    assert data.train.targets == [0, 1, 1]
    assert data.train.names == ("a 1", "b 1", "b 3")
    assert load(tmp_path, task="lm", split=(0, 0)).train.texts == ("zz", "xy \n\nz\n")


def test_text_is_cut_in_three(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abcdefghi\r\n" * 100)
    data = load(path)
    assert [part.texts[0].count("abcdefghi") for part in data.parts.values()] == [80, 10, 10]
    assert data.train.inputs[0][1:].tolist() == data.train.targets[0][:-1].tolist()
    assert data.encoding.labels == data.encoding.vocabulary.symbols


TABLE = {"id": ["a", "a", "b", "c"], "t": [1, 2, 1, 0], "x": [0.5, 1.5, -1.0, 2.0], "y": ["up", "down", "up", "up"]}
COLUMNS = {"id": "id", "time": "t", "features": ["x"], "target": "y"}


class Pandas:
    """What is used of a pandas frame."""

    columns = tuple(TABLE)

    def __getitem__(self, name):
        return pl.Series(TABLE[name])


def table_sources(folder):
    frame = pl.DataFrame(TABLE)
    frame.write_csv(folder / "a.csv")
    frame.write_csv(folder / "a.tsv", separator="\t")
    frame.write_parquet(folder / "a.parquet")
    return [folder / "a.csv", folder / "a.tsv", folder / "a.parquet", frame, frame.lazy(), Pandas()]


@pytest.mark.parametrize("source", range(6))
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_tables(tmp_path, monkeypatch, source, chunk):
    monkeypatch.setattr(tables, "CHUNK_ROWS", chunk)
    data = load(table_sources(tmp_path)[source], **COLUMNS, **WHOLE)
    assert (data.task, data.encoding.features, data.encoding.labels) == ("tag", ("x",), ("down", "up"))
    assert unscaled(data) == [[[0.5], [1.5]], [[-1]], [[2]]]
    assert names(data) == [["up", "down"], ["up"], ["up"]]
    assert data.train.names == ("a", "b", "c")


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_series_that_chunks_cut_stays_whole(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK_ROWS", chunk)
    rows = [(i // 30, i % 30, i / 4) for i in range(100)]
    (tmp_path / "a.csv").write_text("id,t,x\n" + "".join(f"{i},{t},{x}\n" for i, t, x in rows))
    data = load(tmp_path / "a.csv", id="id", time="t", split=(0, 0))
    assert data.train.lengths.tolist() == [29, 29, 29, 9]
    text = "id,t,x\n" + "".join(f"{i},{t},{x}\n" for i, t, x in [*rows[:50], rows[3], *rows[50:]])
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(
        ValueError, match=r"b.csv:52: id: expected the rows of each sequence together, found '0' again after '1'"
    ):
        load(tmp_path / "b.csv", id="id", time="t")


def test_tables_tell_the_task(tmp_path):
    def task(text, **options):
        (tmp_path / "a.csv").write_text(text)
        return load(tmp_path / "a.csv", split=(0, 0), **options)

    constant = task("i,x,y\na,1,u\na,2,u\nb,1,v\n", id="i", target="y")
    assert (constant.task, constant.train.targets, constant.encoding.labels) == ("classify", [0, 1], ("u", "v"))
    assert task("i,x,y\na,1,u\na,2,v\nb,1,v\n", id="i", target="y").task == "tag"
    series = task("day,x,y\n2024-01-01,1,0.5\n2024-01-02,2,1.5\n2024-03-01,3,2\n", time="day", target="y")
    assert (series.task, series.encoding.features, series.encoding.labels) == ("forecast", ("x", "y"), ("y",))
    assert unscaled(series) == [[[1, 0.5], [2, 1.5]]]
    assert series.encoding.target_scale.invert(series.train.y).tolist() == [[1.5], [2.0]]
    whole = task("y\n1\n2\n3\n", target="y", task="forecast")
    assert (whole.n, whole.k) == (1, 1)
    numbered = task("x,y\n0.5,10\n1,9\n", target="y", task="tag")
    assert numbered.encoding.labels == ("9", "10")
    spoken = task("w,y\nthe,D\n1990,N\n", target="y", min_count=1)
    assert (spoken.task, spoken.train.symbolic) == ("tag", True)


def test_symbols_stay_symbols_where_the_first_is_a_number(tmp_path):
    (tmp_path / "train.csv").write_text("w,y\nthe,D\n1990,N\n")
    (tmp_path / "test.csv").write_text("w,y\n1990,N\n")
    data = load(tmp_path / "train.csv", test=tmp_path / "test.csv", target="y", min_count=1)
    assert data.test.x.tolist() == [data.encoding.vocabulary.encode(["1990"])[0]]
    again = load(tmp_path / "test.csv", target="y", encoding=data.encoding)
    assert again.train.x.tolist() == data.test.x.tolist()


def test_a_quotation_mark_is_a_word_where_tabs_separate(tmp_path):
    (tmp_path / "a.tsv").write_text('word\ttag\nsay\tV\n"\tP\nyes\tN\n')
    assert words(load(tmp_path / "a.tsv", target="tag", **WHOLE)) == [["say", '"', "yes"]]
    (tmp_path / "a.csv").write_text('word,tag\nsay,V\n"""",P\n"a, b",N\n')
    assert words(load(tmp_path / "a.csv", target="tag", **WHOLE)) == [["say", '"', "a, b"]]


@pytest.mark.parametrize(
    "times",
    ["1 2 10", "-1.5 0 1e3", "2024-02-01 2024-02-29 2024-03-01", "2024-01-01T09:30 2024-01-01T10:00 2024-01-02T09:00"],
)
def test_times(tmp_path, times):
    first, second, third = times.split()
    (tmp_path / "a.csv").write_text(f"t,x\n{first},1\n{second},2\n{third},4\n")
    assert unscaled(load(tmp_path / "a.csv", time="t", **WHOLE)) == [[[1], [2]]]
    (tmp_path / "a.csv").write_text(f"t,x\n{first},1\n{third},2\n{second},3\n")
    with pytest.raises(ValueError, match=f":4: t: expected a time after {third}, found {second}"):
        load(tmp_path / "a.csv", time="t", **WHOLE)


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arrays", "task", "lengths"),
    [
        ({"x": np.ones((4, 3, 2)), "y": [0, 1, 1, 0]}, "classify", [3, 3, 3, 3]),
        ({"x": np.ones((4, 3, 2)), "y": np.arange(12).reshape(4, 3) % 2, "lengths": [1, 2, 3, 3]}, "tag", [1, 2, 3, 3]),
        ({"x": np.ones((4, 2)), "y": [0, 1, 0, 1], "lengths": [1, 3]}, "tag", [1, 3]),
        ({"x": np.ones((4, 2)), "y": ["a", "b"], "lengths": [1, 3]}, "classify", [1, 3]),
        ({"x": np.arange(6).reshape(2, 3), "y": [1, 0]}, "classify", [3, 3]),
        ({"x": np.arange(6).reshape(2, 3), "lengths": [3, 2]}, "lm", [2, 1]),
        ({"x": np.ones((2, 3, 2), np.float32)}, "forecast", [2, 2]),
    ],
)
def test_npz(tmp_path, arrays, task, lengths):
    (tmp_path / "a.npz").write_bytes(archive(**arrays))
    data = load(tmp_path / "a.npz", **WHOLE)
    assert (data.task, data.train.lengths.tolist()) == (task, lengths)


def test_lists():
    data = load(([np.ones((2, 3)), np.zeros((1, 3))], [["a", "b"], ["b"]]), **WHOLE)
    assert (data.task, data.n, names(data)) == ("tag", 3, [["a", "b"], ["b"]])
    data = load((["ab", "c"], [True, False]), **WHOLE)
    assert (data.task, data.train.texts, data.encoding.labels) == ("classify", ("ab", "c"), ("False", "True"))
    data = load(([["the", "cat"], ["a"]], [[1, -100], [0]]), **WHOLE)
    assert (words(data), names(data)) == ([["the", "cat"], ["a"]], [["1", None], ["0"]])
    data = load(([[1, 2], [3]], [[0, 1], [0]]), **WHOLE)
    assert words(data) == [["1", "2"], ["3"]]
    assert load([[0.5, 1.5], [2.5, 3.5]], **WHOLE).task == "forecast"
    assert load(["ab", "cd"], **WHOLE).task == "lm"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (([[1, 2]], [[0]]), r"y\[0\]: expected 2 labels, one for each step, found 1"),
        (([[1, 2]], [[0], [1]]), "y: expected 1, one for each sequence, found 2"),
        (([[1, 2], [0.5]], [0, 1]), r"x\[1\]: expected symbols, as in x\[0\], found features"),
        (([np.ones((1, 2)), np.ones((1, 3))], [0, 1]), r"x\[1\]: expected 2 features, as in x\[0\], found 3"),
        (([[1, 2], []], [0, 1]), r"x\[1\]: expected at least one step, found none"),
        (([], []), "x: expected at least one sequence, found none"),
        (([[[1, 2], [3]]], [0]), r"x\[0\]: expected rows of one length, found rows of different lengths"),
        (([[1, None]], [0]), r"x\[0\]: expected numbers \[T\] or \[T, n\], or strings, found object in 1 dimensions"),
        (([[1, 2]], [0.5]), r"y\[0\]: expected a label: a string or an integer, found 0.5"),
        (7, r"source: expected a frame, a data set, or arrays \(X, y, lengths\), found int"),
        (
            {"train": ["ab"], "trial": ["ab"]},
            "source: expected parts named train, valid, validation, .*, found 'trial'",
        ),
    ],
)
def test_bad_objects(source, message):
    with pytest.raises(ValueError, match=message):
        load(source, **WHOLE)


class Feature:
    def __init__(self, names=None, feature=None):
        self.names, self.feature = names, feature


class HuggingFace:
    """What is used of a Hugging Face data set."""

    def __init__(self, features, **columns):
        self.features, self.columns_by_name, self.column_names = features, columns, list(columns)

    def __getitem__(self, name):
        return self.columns_by_name[name]


def test_hugging_face():
    features = {"id": Feature(), "tokens": Feature(), "ner_tags": Feature(feature=Feature(["O", "B"]))}
    ner = HuggingFace(features, id=["0", "1"], tokens=[["a", "b"], ["c"]], ner_tags=[[0, 1], [-100]])
    data = load({"train": ner, "validation": ner}, min_count=1)
    assert (list(data.parts), data.task) == (["train", "valid"], "tag")
    assert names(data) == [["O", "B"], [None]]
    reviews = HuggingFace({"text": Feature(), "label": Feature(["neg", "pos"])}, text=["ab", "cd"], label=[1, 0])
    data = load(reviews, **WHOLE)
    assert (data.task, data.encoding.labels, data.train.targets) == ("classify", ("neg", "pos"), [1, 0])
    assert load(reviews, task="lm", **WHOLE).task == "lm"
    assert load(ner, features=["tokens"], target="id", **WHOLE).task == "classify"
    with pytest.raises(ValueError, match="source: target: expected one column to be named, found a, b"):
        load(HuggingFace({"text": Feature(), "a": Feature(), "b": Feature()}, text=["x"], a=[1], b=[2]))
    with pytest.raises(ValueError, match="source: expected the column 'tag', found id, tokens, ner_tags"):
        load(ner, target="tag")


def test_the_split_is_by_sequence_and_from_the_seed():
    x = [[float(i)] * 3 for i in range(50)]
    one, same, other = (load((x, [i % 2 for i in range(50)]), split=(0.1, 0.2), seed=seed) for seed in (0, 0, 1))
    assert [len(part) for part in one.parts.values()] == [35, 5, 10]
    assert sorted(name for part in one.parts.values() for name in part.names) == sorted(map(str, range(50)))
    assert one.test.names == same.test.names != other.test.names


def test_forecasts_are_split_in_time():
    data = load([np.arange(100.0), np.arange(40.0)], split=(0.1, 0.1))
    assert (data.valid.context, data.test.context) == ((80, 32), (90, 36))  # each begins with what came before
    asked = [[int((~np.isnan(y)).sum()) for y in part.targets] for part in (data.valid, data.test)]
    assert asked == [[10, 4], [10, 4]]
    assert data.train.lengths.sum() < 112


def test_scaling_and_vocabulary_come_from_the_training_part_alone():
    data = load({"train": ([[0.0, 2.0], [2.0, 0.0]], [0, 1]), "test": ([[100.0]], [0])})
    assert data.encoding.input_scale.mean == (1.0,)
    assert data.test.x.tolist() == [[99.0]]
    data = load({"train": (["aab", "cd"], [0, 1]), "test": (["abc"], [2])})
    assert data.encoding.vocabulary.symbols == ("<unknown>", "a")
    assert data.test.x.tolist() == [1, 0, 0]
    assert data.encoding.labels == ("0", "1", "2")


def test_an_encoding_reads_new_data_as_it_read_the_old(tmp_path):
    (tmp_path / "a.conllu").write_text(CONLLU)
    data = load(tmp_path / "a.conllu", **WHOLE)
    again = load(tmp_path / "a.conllu", encoding=data.encoding)
    assert again.encoding is data.encoding
    assert list(again.parts) == ["train"]
    assert np.array_equal(again.train.x, data.train.x)
    assert np.array_equal(again.train.y, data.train.y)
    unlabelled = load(tmp_path / "a.conllu", encoding=data.encoding, labelled=False)
    assert unlabelled.train.y is None
    with pytest.raises(ValueError, match="task: expected tag, which the encoding is for, found lm"):
        load("pydoc-topics", task="lm", encoding=data.encoding)
    with pytest.raises(
        ValueError, match="pydoc-topics: expected|task: expected lm, which pydoc-topics is for, found tag"
    ):
        load("pydoc-topics", encoding=data.encoding)


def test_inputs_alone(tmp_path):
    sources = table_sources(tmp_path)
    encoding = load(sources[0], **COLUMNS, **WHOLE).encoding
    for source in sources:
        data = load(source, **COLUMNS, encoding=encoding, labelled=False)
        assert (data.task, data.train.y, data.train.lengths.tolist()) == ("tag", None, [2, 1, 1])
    (tmp_path / "new.csv").write_text("id,x\na,1\n")
    new = load(tmp_path / "new.csv", id="id", features=["x"], target="y", encoding=encoding, labelled=False)
    assert new.train.y is None
    series = [[1.0, 2.0, 3.0]]
    whole = load(series, encoding=load(series, **WHOLE).encoding, labelled=False)
    assert whole.train.lengths.tolist() == [3]
    assert load("digits", encoding=load("digits").encoding, labelled=False).test.y is None
    with pytest.raises(
        ValueError, match="encoding: expected that of a model, as inputs alone tell no labels, found None"
    ):
        load(series, labelled=False)


def test_rows_that_interleave_in_the_order_of_time_are_put_together(tmp_path):
    rows = [(f"s{i}", t, i + t / 10) for t in range(4) for i in range(3)]
    (tmp_path / "a.csv").write_text("id,t,x\n" + "".join(f"{i},{t},{x}\n" for i, t, x in rows))
    data = load(tmp_path / "a.csv", id="id", time="t", split=(0, 0), predict="level")
    assert data.notes == ("the rows of each id are put together, in the order in which they stand",)
    assert data.train.names == ("s0", "s1", "s2")
    assert [series[:, 0].tolist() for series in data.train.series or ()] == [
        [i + t / 10 for t in range(4)] for i in range(3)
    ]
