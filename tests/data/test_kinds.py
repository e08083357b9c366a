"""Files as people have them: each is read for its task without a word, or refused in a line that says what to add."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tracemalloc
from contextlib import nullcontext

import numpy as np
import polars as pl
import pytest

from throughtime.data import DataError, load
from throughtime.data.readers.options import Options
from throughtime.data.readers.parquet import open_parquet
from throughtime.data.readers.source import Source
from throughtime.data.readers.times import Clock


def rows(count, line):
    return "".join(line(i) + "\n" for i in range(count))


def dna(i):
    return "".join("acgt"[(i * 7 + j * j) % 4] for j in range(20))


WORDS = ["good nice thing", "bad poor thing", "good good thing", "bad bad thing"]
LONG = rows(60, lambda i: f"{i // 5},{i % 5},{i % 7}.5,{i % 3}.25,{'sit' if i // 5 % 2 else 'walk'}")
NUMBERS = rows(40, lambda i: ",".join(f"{(i * j) % 9}.5" for j in range(12)) + f",{i % 2}.0")
SERIES = rows(60, lambda i: f"2024-{i // 28 + 1:02d}-{i % 28 + 1:02d},{i}.5,{i % 3}")

# name, content, options, task, sequences, what the recogniser says of it
READ = [
    ("long.csv", "id,t,x,y,label\n" + LONG, {}, "classify", 12, "sequences by id, time in t, label in label"),
    ("crlf.csv", ("id,t,x,y,label\n" + LONG).replace("\n", "\r\n"), {}, "classify", 12, "sequences by id"),
    ("bom.csv", "\ufeffid,t,x,y,label\n" + LONG, {}, "classify", 12, "sequences by id"),
    ("semicolon.txt", ("id,t,x,y,label\n" + LONG).replace(",", ";"), {}, "classify", 12, "separated by semicolons"),
    (
        "decimal.csv",
        ("id,t,x,y,label\n" + LONG).replace(",", ";").replace(".", ","),
        {},
        "classify",
        12,
        "decimal commas",
    ),
    ("spaces.csv", "id, t , x,y,label\n" + LONG, {}, "classify", 12, "time in t"),
    ("dates.csv", "Date,price,volume\n" + SERIES, {}, "forecast", 1, "time in Date"),
    (
        "several.csv",
        "symbol,date,price\n" + rows(60, lambda i: f"{'AB'[i // 30]},Jan {i % 30 + 1} 2000,{i}.5"),
        {},
        "forecast",
        2,
        "sequences by symbol, time in date",
    ),
    (
        "parts.csv",
        "No,year,month,day,hour,pm,wind\n"
        + rows(60, lambda i: f"{i},2010,1,{i // 24 + 1},{i % 24},{i % 5},{'ab'[i % 2]}"),
        {},
        "forecast",
        1,
        "time in year, month, day, hour",
    ),
    (
        "kaggle.csv",
        "Sentence #,Word,POS,Tag\n"
        + rows(60, lambda i: f"{'' if i % 3 else f'Sentence: {i}'},{'abc'[i % 3]},N,{'OB'[i % 2]}"),
        {},
        "tag",
        20,
        "sequences by Sentence #, label in Tag, inputs Word",
    ),
    (
        "wide.csv",
        rows(1, lambda i: ",".join(f"t{j}" for j in range(12)) + ",label") + NUMBERS,
        {},
        "classify",
        40,
        "a sequence in each row",
    ),
    (
        "plain.csv",
        NUMBERS,
        {"header": False, "rows": "sequences", "target": "13"},
        "classify",
        40,
        "separated by commas",
    ),
    (
        "reviews.csv",
        "text,label\n" + rows(40, lambda i: f'"{WORDS[i % 4]}, ""{i}""",{i % 2}'),
        {},
        "classify",
        40,
        "label in label, inputs text",
    ),
    (
        "sms",
        rows(40, lambda i: f"{'ham' if i % 2 else 'spam'}\t{WORDS[i % 4]} {i}"),
        {},
        "classify",
        40,
        "label in 1, inputs 2",
    ),
    (
        "promoters.data",
        rows(40, lambda i: f"{'+-'[i % 2]},S{i},\t\t{dna(i)}"),
        {},
        "classify",
        40,
        "label in 1, inputs 3",
    ),
    (
        "protein.csv",
        "seq,sst3\n" + rows(20, lambda i: f"{dna(i).upper()},{dna(i).replace('g', 'c')}"),
        {},
        "tag",
        20,
        "label in sst3",
    ),
    (
        "german.conll",
        "#\thttp://x\t[d]\t\n1\tAnna\tB-PER\tO\n2\tsees\tO\tO\n\n" * 20,
        {},
        "tag",
        20,
        "words in 2, label in column 3",
    ),
    ("header.txt", "word\ttag\n" + "Anna\tB-PER\nsees\tO\n\n" * 20, {}, "tag", 20, "column CoNLL"),
    ("conll2003", "-DOCSTART- -X- O\n\n" + "EU NNP B-ORG\nrejects VBZ O\n\n" * 20, {}, "tag", 20, "label in the last"),
    ("tagged.txt", "The_DT dog_NN barks_VB\nA_DT cat_NN sees_VB\n" * 10, {}, "tag", 20, "WORD_LABEL"),
    (
        "pairs.json",
        json.dumps([["Uber buys", {"entities": [[0, 4, "ORG"]]}], ["it buys", {"entities": []}]] * 10),
        {},
        "tag",
        20,
        "spans",
    ),
    (
        "news.json",
        rows(40, lambda i: json.dumps({"link": f"http://x/{i}", "headline": WORDS[i % 4], "is_fun": i % 2})),
        {},
        "classify",
        40,
        "label in is_fun, inputs headline",
    ),
    (
        "list.json",
        json.dumps({"data": [{"text": WORDS[i % 4], "label": ["np"[i % 2]]} for i in range(40)]}),
        {},
        "classify",
        40,
        "JSON",
    ),
    (
        "classes.fa",
        rows(40, lambda i: f">p{i}|{i % 2}\n{dna(i)}"),
        {},
        "classify",
        40,
        "the class at the end of each name",
    ),
    (
        "eeg.arff",
        "@relation e\n@attribute a numeric\n@attribute b numeric\n@attribute eye {0,1}\n@data\n"
        + rows(200, lambda i: f"{i % 7},{i % 5},{i // 25 % 2}"),
        {},
        "tag",
        1,
        "a step in each row, label in eye",
    ),
]


def loaded(tmp_path, name, content, **options):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(tmp_path / name, **options)


@pytest.mark.parametrize(("name", "content", "options", "task", "count", "told"), READ, ids=[case[0] for case in READ])
def test_files_are_read_for_what_they_are(tmp_path, name, content, options, task, count, told):
    data = loaded(tmp_path, name, content, **options)
    whole = loaded(tmp_path, name, content, **options, split=(0, 0))
    assert (data.task, len(whole.train)) == (task, count)
    assert told in data.told
    packed = loaded(tmp_path, f"{name}.gz", gzip.compress(content.encode()), **options)
    assert np.array_equal(packed.train.x, data.train.x)
    chosen = {("text_encoding" if key == "encoding" else key): value for key, value in data.reading.items()}
    again = loaded(tmp_path, name, content, **chosen, task=data.task, split=(0.1, 0.1))
    assert np.array_equal(again.test.x, data.test.x)  # what was found reads the same again
    read = loaded(tmp_path, name, content, **{**chosen, "split_by": None}, encoding=data.encoding)
    assert read.encoding is data.encoding


REFUSED = [
    (
        "numbers.csv",
        NUMBERS,
        r":1: expected names of columns: add --no-header and .* --rows sequences --target 13 .*, found values in 13",
    ),
    (
        "shuffled.csv",
        "id,t,x,label\n1,1,0.5,a\n2,0,0.5,b\n1,0,1.5,a\n2,1,1.5,b\n",
        ":4: id: expected .* together, .*; add --sort",
    ),
    ("back.csv", "t,x\n2,0.5\n1,0.5\n3,1.5\n", ":3: t: expected a time after 2, found 1; add --sort"),
    (
        "single.csv",
        "id,x,label\n0,0.5,a\n0,1.5,a\n1,0.5,a\n1,1.5,a\n",
        ": expected two classes or more in label, found only 'a'",
    ),
    ("steps.csv", "id,x,label\n" + rows(20, lambda i: f"{i},0.5,{'ab'[i % 2]}"), ": expected "),
    (
        "names.csv",
        "text,label\n" + rows(20, lambda i: f"{WORDS[i % 4]},l{i}"),
        ": expected classes that repeat in label, found 20 among 20",
    ),
    (
        "rare.csv",
        "text,label\n" + rows(20, lambda i: f"a{i} b{i} c{i},{i % 2}"),
        ": expected symbols that occur 2 times or more, found none",
    ),
    (
        "strings.csv",
        "seq,s8,s3\n" + rows(20, lambda i: f"{dna(i)},{dna(i + 1)},{dna(i + 2)}"),
        ": expected one column to predict: add --target",
    ),
    (
        "iris.csv",
        "a,b,species\n" + rows(60, lambda i: f"{i % 7}.5,{i % 5}.5,{'xyz'[i // 20]}"),
        ": expected .*: add --rows steps, or --rows",
    ),
    (
        "latin.csv",
        b"text,label\n" + b"sch\xf6n,1\n" * 20,
        r":2: byte 4: expected UTF-8 text, found the byte 0xf6; is it latin-1\? enc",
    ),
    (
        "sheet.xlsx",
        b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml" + b"\0" * 99,
        ": expected text, .*, found an Excel or Word file",
    ),
    ("data.pkl", b"\x80\x04\x95" + b"\0" * 200, ": expected text, a table or arrays, found a pickle"),
    ("wide.txt", "ab\n".encode("utf-16-le") * 90, ": expected text, .*, found UTF-16; encoding utf-16-le reads it"),
    ("broken.csv.gz", gzip.compress(b"id,t\n" * 99)[:20], ": expected a gzip file, found "),
    (
        "quotes.csv",
        'id,time,value,label\n1,0,1.5,a\n1,1,2.5,a\n2,0,1.0,"b, ""c\n2,1,1.0,b\n',
        ":4: expected fields separated by ','",
    ),
    ("object.json", '{"a": {"b": 1}}\n[1]\n', ":2: expected an object|: object"),
    ("deep.json", "[" * 100_000, ": expected JSON, found values nested too deeply|:1: expected a JSON object"),
]


@pytest.mark.parametrize("content", [b"one two\nthree\n" * 9, b"\x1f\x8b nothing that is packed"])
def test_a_small_file_takes_little_memory_however_it_is_packed(tmp_path, content):
    packed = content if content.startswith(b"\x1f\x8b") else gzip.compress(content)
    (tmp_path / "a.txt.gz").write_bytes(packed)
    tracemalloc.start()
    with nullcontext() if packed is not content else pytest.raises(DataError, match="expected a gzip file"):
        load(tmp_path / "a.txt.gz", split=(0, 0), task="lm")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_told_is_refused_in_one_line(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message) as error:
        loaded(tmp_path, name, content)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_are_put_in_order_where_that_is_asked_for(tmp_path):
    text = "id,t,x,y,label\n" + LONG
    head, *lines = text.splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    mixed = "\n".join([head, *(lines[i] for i in order)]) + "\n"
    data = loaded(tmp_path, "mixed.csv", mixed, sort=True, split=(0, 0))
    straight = loaded(tmp_path, "straight.csv", text, split=(0, 0))
    found = {name: x.tolist() for name, x in zip(data.train.names, data.train.inputs)}
    assert found == {name: x.tolist() for name, x in zip(straight.train.names, straight.train.inputs)}
    with pytest.raises(DataError, match="again.csv:.*: t: expected a time after 0, found 0; is an id missing"):
        loaded(tmp_path, "again.csv", mixed + lines[0] + "\n", sort=True)


def test_missing_numbers_are_never_learnt_as_numbers(tmp_path):
    text = "id,t,x,label\n" + rows(
        60, lambda i: f"{i // 5},{i % 5},{('NA', '', '?', -200, 1.5)[i % 5]},{'ab'[i // 5 % 2]}"
    )
    data = loaded(tmp_path, "a.csv", text, missing=-200, fill="mean", split=(0, 0))
    assert data.encoding.input_scale.mean == (1.5,)
    assert data.encoding.flagged == ("x",)
    assert data.train.x[:5].tolist() == [[0, 1], [0, 1], [0, 1], [0, 1], [0, 0]]


def test_gaps_in_time_are_told(tmp_path):
    times = [*range(30), *range(40, 70)]
    text = "t,x\n" + "".join(f"2024-01-{1 + t // 24:02d}T{t % 24:02d}:00,{t}.5\n" for t in times)
    assert loaded(tmp_path, "a.csv", text).notes == (
        "gaps in time: one step is longer than the usual 1 hour: 11 hours; they are read as neighbours",
    )


@pytest.mark.parametrize(
    ("cells", "steps"),
    [
        (["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"], [3600, 3600]),
        (["1990-01", "1990-02", "1990-03"], [31 * 86400, 28 * 86400]),
        (["Jan 1 2000", "Feb 1 2000"], [31 * 86400]),
        (["01/02/2004 00:00", "13/02/2004 00:00"], [12 * 86400]),
        (["10/03/2004 18.00.00", "10/03/2004 19.00.00"], [3600]),
        (["31.12.1999", "1.1.2000"], [86400]),
        (["18:00", "18:30"], [1800]),
        (["2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z"], [1]),
        (["3/1/2001 1:05 PM", "3/1/2001 2:05 PM"], [3600]),
    ],
)
def test_times_as_they_are_written(cells, steps):
    clock = Clock()
    assert (np.diff(clock.read(pl.DataFrame({"t": cells}))) / 1e6).tolist() == steps
    assert clock.dates


def test_a_pipe_and_a_device_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: expected a file or a folder, found a pipe"):
        load(tmp_path / "pipe")
    with pytest.raises(DataError, match="/dev/zero: expected a file or a folder, found a device"):
        load("/dev/zero")


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(("id,t,x,y,label\n" + LONG).encode())))
    data = load("-")
    assert (data.name, data.task) == ("standard input", "classify")


@pytest.mark.parametrize("damage", [slice(0, 60), slice(30, 40), slice(200, 260)])
def test_a_damaged_parquet_file_ends_no_more_than_the_process_that_decodes_it(tmp_path, damage):
    buffer = io.BytesIO()
    pl.DataFrame({"t": range(60), "x": [i % 7 + 0.5 for i in range(60)], "w": ["a", "b"] * 30}).write_parquet(buffer)
    content = bytearray(buffer.getvalue())
    assert loaded(tmp_path, "whole.parquet", bytes(content), task="forecast").task == "forecast"
    content[damage] = b"\xff" * (damage.stop - damage.start)
    (tmp_path / "a.parquet").write_bytes(bytes(content))
    with pytest.raises(DataError, match="expected"):
        list(open_parquet(Source.open(tmp_path / "a.parquet")).rows(["t", "x", "w"]))


def test_a_decoding_process_that_dies_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("throughtime.data.readers.parquet.DECODE", "import os; os.abort()")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="expected a Parquet file, found one that cannot be decoded"):
        load(tmp_path / "a.parquet")


def test_rows_of_nothing_and_names_in_quotation_marks(tmp_path):
    text = 'id,"a ""b""",y\n1,0.5,u\n""\n"","",""\n1,1.5,u\n2,0.5,v\n2,x,v\n'
    with pytest.raises(DataError, match=r'a.csv:7: a "b": expected a finite number, found \'x\''):
        loaded(tmp_path, "a.csv", text, id="id", target="y", task="classify")


def test_what_is_held_out_is_mixed_grouped_or_later(tmp_path):
    text = "id,person,x,label\n" + rows(200, lambda i: f"{i // 2},{i // 20},{i % 7}.5,{'ab'[i // 2 % 10 == 0]}")
    by_class = loaded(tmp_path, "a.csv", text, id="id", target="label", features="x", split=(0.1, 0.2))
    assert by_class.reading["split_by"] == "class"
    for part, count in (("train", 7), ("valid", 1), ("test", 2)):
        assert int((by_class.parts[part].y == 1).sum()) == count
    grouped = loaded(tmp_path, "a.csv", text, id="id", target="label", features="x", group="person")
    people = [{int(name) // 10 for name in part.names or ()} for part in grouped.parts.values()]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert grouped.reading["split_by"] == "group"
    recording = "x,label\n" + rows(200, lambda i: f"{i}.5,{'ab'[i // 20 % 2]}")
    later = loaded(tmp_path, "b.csv", recording)
    assert (later.task, later.reading["split_by"], [len(part.x) for part in later.parts.values()]) == (
        "tag",
        "time",
        [160, 20, 20],
    )


def test_sequences_that_are_learnt_and_held_out_are_told_and_left_out(tmp_path):
    text = "text,label\n" + rows(60, lambda i: f"{WORDS[i % 4]} {'x' * (i % 20 + 1)},{i % 2}")
    data = loaded(tmp_path, "a.csv", text)
    assert any("test sequences are also in train; --deduplicate" in note for note in data.notes)
    once = loaded(tmp_path, "a.csv", text, deduplicate=True, min_count=1)
    assert sum(map(len, once.parts.values())) == 20
    assert once.notes == ("40 sequences that occur elsewhere are left out",)


def test_a_list_in_alphabetical_order_is_shuffled(tmp_path):
    names = sorted({f"{a}{b}{c}" for a in "abdef" for b in "aeiou" for c in "lmn"})
    data = loaded(tmp_path, "names.txt", "\n".join(names) + "\n")
    assert data.notes == ("the lines are in alphabetical order, and were shuffled",)
    assert data.reading["shuffle"] is True
    assert {name[0] for name in data.test.texts[0].split()} & set("ab")
    assert loaded(tmp_path, "names.txt", "\n".join(names), shuffle=False).test.texts[0].split()[-1] == names[-1]


def test_objects_in_memory_are_read_alike():
    frame = pl.DataFrame(
        {"id": [i // 5 for i in range(60)], "x": [float(i % 7) for i in range(60)], "label": list("aaaaabbbbb" * 6)}
    )
    whole = load(frame, split=(0, 0))
    pieces = [frame.filter(pl.col("id") == i).drop("id") for i in range(12)]
    parts = load(pieces, target="label", split=(0, 0))
    assert (whole.task, parts.task) == ("classify", "classify")
    assert np.array_equal(whole.train.x, parts.train.x)
    series = [float(i % 7) for i in range(60)]
    one = load(np.array(series), split=(0, 0)).train.x
    for other in (series, pl.Series("x", series), np.array(series)[:, None]):
        assert np.array_equal(load(other, split=(0, 0)).train.x, one)


def test_a_folder_is_a_folder_whatever_it_is_called(tmp_path):
    for label in ("up", "down"):
        (tmp_path / "old.txt" / label).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "old.txt" / label / f"{i}.txt").write_text(f"{label} and {i} more words than one\n")
    found = load(tmp_path / "old.txt", split=(0, 0))
    assert (found.task, sorted(found.encoding.labels), len(found.train)) == ("classify", ["down", "up"], 12)


def test_options_are_the_ones_that_are_taken():
    assert Options(time=("a",)).stated == {"time": ("a",)}
