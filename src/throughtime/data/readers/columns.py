"""What a column of a table is like, by its name and its first cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from throughtime.data.readers.tables import Cells, texts
from throughtime.data.readers.times import is_time

IDS = frozenset(
    "id ids sequence sequence_id sequence_number seq_id sentence sentence_id sentence_idx sentence_number subject subject_id "
    "person user user_id patient patient_id record record_id recording recording_id series series_id series_number unique_id "
    "case case_id sample_id sensor sensor_id device device_id machine engine unit unit_number instance instance_id session "
    "session_id trial trial_id episode document document_id doc_id symbol ticker stock group track trajectory window "
    "measurement_number".split()
)
TIMES = frozenset(
    "t time date datetime timestamp time_stamp ds day month year hour minute second step steps tick date_time time_step "
    "timestep period cycle cycles frame seconds index time_s time_ms date_local date_utc token_id position".split()
)
LABELS: tuple[str, ...] = tuple(
    (
        "label labels class class_label classes target tag tags ner_tag ner_tags ner named_entity_tag activity category "
        "sentiment y pos pos_tag intent emotion topic species type gesture state outcome polarity rating event spam is_spam"
    ).split()
)
"""In the order of preference."""
TEXTS: tuple[str, ...] = tuple(
    (
        "text sentence review content comment message tweet headline title body question utterance document sequence seq input"
    ).split()
)
WORDS = "word words token tokens form lemma input text".split()
FEW, SHARE = 50, 1 / 3
"""A column has labels where there are at most so many, and at most this share of the rows."""


@dataclass(frozen=True)
class Column:
    """A column of the first rows.

    Attributes:
        kind: "numbers", "times", "lists" or "words".
        distinct: how many different cells.
        categorical: whether they may be labels.
        length: of its cells on average, in characters.
        words: in its cells on average.
    """

    name: str
    kind: str
    distinct: int
    categorical: bool
    length: float = 0.0
    words: float = 0.0

    @property
    def plain(self) -> str:
        """The name in small letters, its words joined by "_"."""
        spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name).replace("#", "number")
        return re.sub(r"[^a-z0-9]+", "_", spelled.lower()).strip("_")


def describe(series: pl.Series, cells: Cells, declared: Sequence[str]) -> Column:
    """What the first cells of a column are like; those of a column in `declared` are known to be labels."""
    if series.dtype.is_nested():
        return Column(series.name, "lists", len(series), False)
    known = texts(series).drop_nulls()
    distinct = known.n_unique()
    if series.name in declared:
        return Column(series.name, "words", distinct, True)
    if cells.holds_numbers(series):
        whole = cells.holds_numbers(series, whole=True)
        few = whole and 1 <= distinct <= max(2, min(FEW, SHARE * len(known)))
        return Column(series.name, "numbers", distinct, few)
    few = distinct <= max(2, min(FEW, SHARE * len(known)))
    length, spaces = (float(own.mean() or 0) for own in (known.str.len_chars(), known.str.count_matches(r"\s+")))  # type: ignore[arg-type]
    return Column(series.name, "times" if is_time(series) else "words", distinct, few, length, spaces + 1)
