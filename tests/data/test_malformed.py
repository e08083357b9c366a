"""Each file that is wrong is refused with one line: where, what was expected, what was found."""

import io
import re
import zipfile

import numpy as np
import polars as pl
import pytest

from throughtime.data import DataError, load

WORD = "1\tIt\tit\tPRON\t_\t_\t0\troot\t_\t_\n"
TS = "@problemName p\n@missing false\n@classLabel true a b\n@data\n"
LONG = "id,t,x,y\na,1,0.5,up\na,2,0.5,down\nb,1,0.5,up\nb,2,0.5,up\n"
TABLE = {"id": "id", "time": "t", "features": ["x"], "target": "y"}


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def parquet(**columns):
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def npz_with_header(header, data=b"\0" * 16, compression=zipfile.ZIP_STORED):
    """An archive whose member x.npy has a header of our own choice."""
    buffer, text = io.BytesIO(), header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)
    return buffer.getvalue()


# file name, content, options of load, the message after the path of the file
MALFORMED = [
    ("empty.conllu", "", {}, ": expected at least one sequence, found none"),
    ("fields.conllu", f"# text = It\n{WORD}2\tis\tbe\n", {}, ":3: expected 10 fields separated by tabs, found 3"),
    ("order.conllu", WORD + WORD, {}, ":2: id: expected 2, found '1'"),
    ("form.conllu", WORD.replace("It", ""), {}, ":1: form: expected a word, found an empty field"),
    ("latin1.conllu", WORD.encode() + b"2\tcaf\xe9", {}, ":2: byte 6: expected UTF-8 text, found the byte 0xe9"),
    ("column.conllu", WORD, {"column": "pos"}, ": column: expected one of lemma, upos, xpos, feats, .*, found 'pos'"),
    ("blank.conllu", WORD, {"column": "xpos"}, ": xpos: expected labels, found '_' in every line"),
    ("empty.conll", "\n\n", {}, ": expected at least one sequence, found none"),
    ("columns.conll", "It PRP B-NP\nis VBZ\n", {}, ":2: expected 3 columns, as in the lines before, found 2"),
    ("one.conll", "It\n", {}, ":1: expected at least 2 columns, found 1"),
    ("far.conll", "It PRP\n", {"column": "3"}, ":1: expected at least 3 columns, found 2"),
    ("gap.conll", "It\tPRP\tO\nis\t\tO\n", {}, ":2: column 2: expected a value, found an empty field"),
    ("name.conll", "It PRP\n", {"column": "upos"}, r": column: expected a number from 1 up, found 'upos'"),
    ("empty.csv", "", TABLE, ":1: expected a header with the names of the columns, found none"),
    ("header.csv", "id,t,x,y\n", TABLE, ": expected at least one row, found none"),
    ("twice.csv", "id,t,x,x\n", TABLE, ":1: header: expected each name once, found 'x' 2 times"),
    ("nameless.csv", "id,t,x,\n1,2,3,4\n", TABLE, ":1: header: expected a name for each column, found ''"),
    ("label.csv", "id,t,x\na,1,0\n", TABLE, ": header: expected the column 'y', found id, t, x"),
    (
        "apart.csv",
        LONG + "a,1,0,up\n",
        TABLE,
        ":6: id: expected the rows of each sequence together, found 'a' again after 'b'",
    ),
    ("unsorted.csv", LONG + "b,1.5,0,up\n", TABLE, ":6: t: expected a time after 2, found 1.5"),
    ("again.csv", LONG + "b,2,0,up\n", TABLE, ":6: t: expected a time after 2, found 2"),
    ("timeless.csv", LONG + "b,later,0,up\n", TABLE, ":6: t: expected a number, or a date such as .*, found 'later'"),
    ("mixed.csv", LONG + "b,3,high,up\n", TABLE, ":6: x: expected a finite number, found 'high'"),
    ("inf.csv", LONG + "b,3,-inf,up\n", TABLE, ":6: x: expected a finite number, found '-inf'"),
    ("id.csv", LONG + ",3,1,up\n", TABLE, ":6: id: expected a value, found an empty cell"),
    ("symbol.csv", "w,y\nthe,D\n,N\n", {"target": "y"}, ":3: w: expected a value, found an empty cell"),
    ("long.csv", LONG + "\nb,3,1,up,up\n", TABLE, ":7: expected 4 fields, found 5"),
    ("quote.csv", LONG + 'b,3,1,"up\n', TABLE, ":6: expected fields separated by ',', found unexpected end of data"),
    ("latin1.csv", LONG.encode() + b"b,3,1,\xff\n", TABLE, ":6: byte 7: expected UTF-8 text, found the byte 0xff"),
    (
        "changes.csv",
        LONG,
        {**TABLE, "task": "classify"},
        ":3: y: expected 'up', as in the sequence's first row, found 'down'",
    ),
    (
        "whole.csv",
        "x,y\n0.5,1\n0.5,2\n",
        {"target": "y"},
        ": y: expected a stated task, as whole numbers may be labels or a series: add --task .*, found none",
    ),
    (
        "no-id.csv",
        "x,y\n1,a\n",
        {"target": "y", "task": "classify"},
        ": expected an id column for .* classify, found none",
    ),
    ("quoted.csv", 'id,x\n"a\nb",1\na,-\n', {"id": "id"}, ":4: x: expected a finite number, found '-'"),
    ("text.parquet", "id,x", {}, ": expected a Parquet file, found "),
    ("list.parquet", parquet(x=[[1.0], [2.0]]), {"rows": "steps"}, r": x: expected numbers, found List\(Float64\)"),
    ("truth.parquet", parquet(x=[1.0], t=[True]), {"time": "t"}, ": t: expected numbers or dates, found Boolean"),
    ("empty.ts", "", {}, ": expected a line '@data', found none"),
    ("series.ts", TS, {}, ": expected at least one sequence, found none"),
    ("header.ts", "1,2,3:a\n", {}, ":1: expected a line of the header, .*, found '1,2,3:a'"),
    ("flag.ts", "@missing perhaps\n", {}, ":1: @missing: expected true or false, found 'perhaps'"),
    ("count.ts", "@dimensions many\n", {}, ":1: @dimensions: expected a number of 1 or more, found 'many'"),
    (
        "names.ts",
        "@classLabel true\n",
        {},
        ":1: @classLabel: expected the names of the classes after 'true', found none",
    ),
    ("stamps.ts", "@timeStamps true\n", {}, r":1: @timeStamps: expected false \(.*\), found true"),
    (
        "target.ts",
        "@targetLabel true\n",
        {},
        r":1: @targetLabel: expected @classLabel, .*SequenceRegressor\), found numbers to predict",
    ),
    ("class.ts", TS + "1,2:c\n", {}, ":5: class: expected one of a, b, found 'c'"),
    ("dimensions.ts", TS + "1,2:3,4:a\n1,2:a\n", {}, ":6: expected 2 dimensions, found 1"),
    ("lengths.ts", TS + "1,2:3:a\n", {}, ":5: dimension 2: expected 2 values, found 1"),
    ("length.ts", "@seriesLength 3\n" + TS + "1,2:a\n", {}, ":6: dimension 1: expected 3 values, found 2"),
    ("missing.ts", TS + "1,?:a\n", {}, r":5: dimension 1, value 2: expected a number, found '\?'"),
    ("value.ts", TS + "1,two:a\n", {}, ":5: dimension 1, value 2: expected a number, found 'two'"),
    ("gap.ts", TS + "1,,2:a\n", {}, ":5: dimension 1, value 2: expected a number, found ''"),
    (
        "no-class.ts",
        "@classLabel false\n@data\n1,2\n",
        {"task": "classify"},
        ": @classLabel: expected true .*, found false",
    ),
    ("empty.txt", "", {}, ": expected text, found an empty file"),
    ("latin1.txt", b"a\n\nb\xfc\n", {}, ":3: byte 2: expected UTF-8 text, found the byte 0xfc"),
    ("text.npz", "x", {}, r": expected a NumPy archive \(.npz\), found File is not a zip file"),
    ("keys.npz", npz(weights=np.ones((2, 3))), {}, ": expected the arrays x and, .*, found weights"),
    (
        "foreign.npz",
        npz(x=np.ones((4, 3, 1)), y=[0, 1, 0, 1], weights=np.ones(4)),
        {},
        ": expected the arrays x and, .*, found weights, x, y",
    ),
    (
        "pickle.npz",
        npz(x=np.array([[1], [2, 3]], object)),
        {},
        ": x.npy: expected numbers or strings: save sequences .*, found the dtype object",
    ),
    (
        "huge.npz",
        npz_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000), }"),
        {},
        r": x.npy: expected 8000000000128 bytes, as the shape \[1000000000, 1000\] needs, found 144",
    ),
    ("header.npz", npz_with_header("{'descr': '<f8'}"), {}, ": x.npy: expected a NumPy array, found Header does not"),
    ("magic.npz", npz_with_header("")[:30], {}, r": expected a NumPy archive \(.npz\), found File is not a zip file"),
    (
        "inf.npz",
        npz(x=np.full((2, 3, 1), np.inf)),
        {},
        r": x\[0\], step 0, column 0: expected a finite number, found inf",
    ),
    (
        "steps.npz",
        npz(x=np.ones((5, 3)), lengths=[2, 2]),
        {},
        ": x: lengths: expected the sum 5, the steps of x, found 4",
    ),
    (
        "lengths-overflow.npz",
        npz(x=np.ones((10, 3)), lengths=[2**63 - 1, 2**63 - 1, 2, 10]),
        {},
        ": x: lengths: expected the sum 10, the steps of x, found 18446744073709551626",
    ),
    (
        "lengths-unsigned.npz",
        npz(x=np.ones((10, 3)), lengths=np.array([2**64 - 1, 11], np.uint64)),
        {},
        ": x: lengths: expected the sum 10, the steps of x, found 18446744073709551626",
    ),
    (
        "pads.npz",
        npz(x=np.ones((2, 3, 1)), lengths=[2, 4]),
        {},
        ": x: lengths: expected 2 .* of at most 3, found 2 of at most 4",
    ),
    ("labels.npz", npz(x=np.ones((2, 3, 1)), y=[1, 2, 3]), {}, ": y: expected 2, one for each sequence, found 3"),
    (
        "values.npz",
        npz(x=np.ones((2, 3, 1)), y=[0.5, 1.5]),
        {},
        r": y\[0\]: expected a label: a string or an integer, found",
    ),
    ("few.npz", npz(x=np.ones((2, 3, 1)), y=[0, 1]), {}, ": expected at least 3 sequences to split, or .*, found 2"),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), MALFORMED, ids=[case[0] for case in MALFORMED])
def test_one_line_tells_what_is_wrong(tmp_path, name, content, options, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        load(path, **options)
    assert re.match(re.escape(str(path)) + message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_texts(tmp_path):
    (tmp_path / "LICENSE").write_text("text")
    with pytest.raises(
        DataError, match=r": expected at least 2 files whose names end in .txt or, of tables, .*, found 0"
    ):
        load(tmp_path)


def test_a_folder_with_an_empty_class(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text(" \n\n")
    with pytest.raises(DataError, match=r"b.txt: expected at least one line of text, found none"):
        load(tmp_path)


def test_a_compressed_archive_cannot_claim_what_deflate_cannot_hold(tmp_path):
    path = tmp_path / "bomb.npz"
    content = npz_with_header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", compression=zipfile.ZIP_DEFLATED
    )
    # The archive's directory claims a packed size of nothing.
    entry = content.index(b"PK\x01\x02")
    path.write_bytes(content[: entry + 20] + (0).to_bytes(4, "little") + content[entry + 24 :])
    with pytest.raises(
        DataError, match=r"x.npy: expected at most 0 bytes, as it is packed, found 144 in the archive's directory"
    ):
        load(path)


def test_an_array_may_not_claim_a_header_longer_than_its_file(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"\x93NUMPY\x02\x00" + (1 << 29).to_bytes(4, "little") + b"{" * 99)
    with pytest.raises(DataError, match="a.npz: expected a NumPy array, found a header of 536,870,912 bytes"):
        load(tmp_path / "a.npz")


def test_texts_keep_their_labels_where_others_have_none(tmp_path):
    """Rows that are left out are left out of both."""
    lines = [f"good text {i}\tyes\n" if i % 2 else f"bad one {i}\tno\n" for i in range(12)]
    (tmp_path / "whole.tsv").write_text("text\tlabel\n" + "".join(lines))
    (tmp_path / "part.tsv").write_text("text\tlabel\nnothing known\t\n" + "".join(lines))
    options = {"target": "label", "task": "classify", "split": (0, 0)}
    whole, part = (load(tmp_path / f"{name}.tsv", **options).train for name in ("whole", "part"))
    assert part.lengths.tolist() == whole.lengths.tolist()
    assert part.x.tolist() == whole.x.tolist()
    assert part.y.tolist() == whole.y.tolist()


def test_a_sequence_without_a_label_gets_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("id,time,value,label\n0,1.5,a\n1,1,2.5,a\n2,0,0.5,b\n2,1,1.0,b\n")
    with pytest.raises(DataError, match="a.csv") as error:
        load(tmp_path / "a.csv", id="id", time="time", target="label", split=(0, 0))
    assert "\n" not in str(error.value)


def test_an_archive_may_not_take_much_more_memory_than_disk(tmp_path, monkeypatch):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros((40, 1000, 1)))
    assert path.stat().st_size < 3200
    assert load(path, task="forecast").train.x.shape[1] == 1  # small enough to be no matter
    monkeypatch.setattr("throughtime.data.readers.npz.UNPACKED_AT_LEAST", 1 << 17)
    with pytest.raises(
        DataError, match=r"zeros.npz: expected at most 100 times its [\d,]+ bytes, unpacked, found 320,128"
    ):
        load(path, task="forecast")


@pytest.mark.parametrize("part", ["valid", "test"])
def test_shares_beside_parts_that_are_given(tmp_path, part):
    (tmp_path / "a.csv").write_text("id,x,y\na,1,up\na,2,up\nb,2,down\n")
    with pytest.raises(ValueError, match="^split: expected None where valid or test are given, found shares$"):
        load(tmp_path / "a.csv", id="id", target="y", split=(0.2, 0.2), **{part: tmp_path / "a.csv"})


def test_held_out_data_with_a_label_that_training_lacks(tmp_path):
    for name, label in (("train", "up"), ("new", "sideways")):
        (tmp_path / f"{name}.csv").write_text(f"id,x,y\na,1,up\na,2,{label}\nb,2,down\n")
    trained = load(tmp_path / "train.csv", id="id", target="y", task="tag", split=(0, 0))
    with pytest.raises(DataError, match=r"new.csv: id a: y, step 2: expected one of the 2 labels .*, found 'sideways'"):
        load(tmp_path / "new.csv", id="id", target="y", encoding=trained.encoding)


def test_held_out_data_with_other_features(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1.5,2\n3,4\n5,6\n")
    (tmp_path / "test.csv").write_text("a,c\n1.5,2\n3,4\n5,6\n")
    with pytest.raises(DataError, match=r"test.csv: header: expected the column 'b', found a, c"):
        load(tmp_path / "train.csv", test=tmp_path / "test.csv")


def test_a_series_of_one_step_has_no_next(tmp_path):
    (tmp_path / "train.csv").write_text("id,x\na,1.5\na,2\nb,3\n")
    with pytest.raises(DataError, match=r"id b: expected at least 2 steps, as the targets are the next ones, found 1"):
        load(tmp_path / "train.csv", id="id", split=(0, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "cvs"}, r"format: expected one of parquet, .*, found 'cvs'; did you mean csv\?"),
        ({"task": "tags"}, r"task: expected one of tag, .*, found 'tags'; did you mean tag\?"),
        ({"task": "lm"}, "task: expected tag, which the format conllu can be read for, found lm"),
        ({"id": "id"}, "id: expected none, as the format conllu takes none, found 'id'"),
        ({"format": "folder"}, "expected a folder, found a file"),
        ({"split": (0.5, 0.5)}, "split: expected two shares of 0 or more that leave some to train on, found 0.5, 0.5"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    (tmp_path / "a.conllu").write_text(WORD)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.conllu", **options)


def test_a_file_that_is_not_there_or_tells_no_format(tmp_path):
    with pytest.raises(
        ValueError, match=r"source: expected a file, a folder or one of python-source, .*, found '.*none.csv'"
    ):
        load(tmp_path / "none.csv")
    (tmp_path / "data.xyz").write_text("x")
    with pytest.raises(
        ValueError, match=r"format: expected one of parquet, .*, found none, and 'data.xyz' does not tell"
    ):
        load(tmp_path / "data.xyz")
    with pytest.raises(
        ValueError, match="digits: expected none|column: expected none, as digits takes none, found 'upos'"
    ):
        load("digits", column="upos")
    with pytest.raises(ValueError, match="task: expected classify, which digits is for, found tag"):
        load("digits", task="tag")
