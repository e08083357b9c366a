"""JSON, or an object on each line: tokens and tags, texts and labels, texts and spans (spaCy, Prodigy, Doccano), tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from throughtime.data.errors import DataError
from throughtime.data.readers.options import Options
from throughtime.data.readers.row_reading import read_table
from throughtime.data.readers.source import Source
from throughtime.data.readers.tables import open_frame
from throughtime.data.readers.words import split_words, tag_spans
from throughtime.data.records import Records

SPANS = ("entities", "spans", "label", "labels", "annotations")
TEXT = "text"
ENDS = (
    ("start", "end", "label"),
    ("start_offset", "end_offset", "label"),
    ("begin", "end", "type"),
    ("start", "end", "tag"),
)


def read_json(source: Source, options: Options) -> Records:
    """A sequence in each object, as `readers.sequence_rows` takes them; or a step, where every value is a single one.

    A text with spans [begin, end, name], in characters, is a sequence of words with B-, I- and O labels.

    Raises: DataError: not JSON, or not a list of objects; tells the line.
    """
    objects, places = read_objects(source)
    spans = next((key for key in SPANS if _has_spans(objects, key)), None)
    told = "JSON objects"
    if spans is not None:
        told = f"JSON texts with spans in {spans!r}, as words with B-, I- and O labels"
        objects = [_tagged(place, own, spans) for own, place in zip(objects, places)]
    elif not options.labelled and options.features == ("tokens",) and all(_is_text(own) for own in objects):
        objects = [{"tokens": split_words(own[TEXT])} for own in objects]  # learnt from texts with spans
    names = dict.fromkeys(name for own in objects[:1000] for name in own)
    columns = {name: [_plain(own.get(name)) for own in objects] for name in names}
    columns = {name: values for name, values in columns.items() if not any(isinstance(v, Mapping) for v in values)}
    try:
        frame = pl.DataFrame({name: pl.Series(name, _alike(values), strict=False) for name, values in columns.items()})
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(
            source.name, "objects with values of one kind for each name", str(error).splitlines()[0]
        ) from None
    table = open_frame(source.name, frame, told)
    return read_table(table, options)


def read_objects(source: Source) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The objects, and where each is."""
    text = source.text().strip()
    places: list[str] = []
    try:
        values = json.loads(text)
        values = (
            next((v for v in values.values() if isinstance(v, list)), [values]) if isinstance(values, dict) else values
        )
        places = [f"{source}: object {i}" for i in range(1, len(values) + 1)] if isinstance(values, list) else []
    except RecursionError:
        raise DataError(source.name, "JSON", "values nested too deeply") from None
    except ValueError:
        values = []
        for number, line in source.lines():
            if line.strip():
                try:
                    values.append(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{source}:{number}", "a JSON object", str(error)) from None
                places.append(f"{source}:{number}")
    if not isinstance(values, list) or not values:
        raise DataError(source.name, "a list of objects, or an object on each line", "none")
    pairs = [_of_pair(value) for value in values]
    for value, place in zip(pairs, places):
        if not isinstance(value, dict):
            raise DataError(place, "an object", type(value).__name__)
    return pairs, places


def _of_pair(value: Any) -> Any:
    """spaCy's [text, {"entities": [...]}] as an object."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {TEXT: value[0]} | value[1]
    return value


def _has_spans(objects: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether all objects have a text and a list of spans."""
    lists = [own.get(key) for own in objects if isinstance(own.get(TEXT), str)]
    if len(lists) < len(objects) or not all(isinstance(own, list) for own in lists):
        return False
    spans = [span for own in lists if own for span in own]
    return bool(spans) and all(_span(span) is not None for span in spans)


def _is_text(own: Mapping[str, Any]) -> bool:
    return isinstance(own.get(TEXT), str) and "tokens" not in own


def _span(value: Any) -> tuple[int, int, str] | None:
    if isinstance(value, list) and len(value) == 3:
        begin, end, name = value
    elif isinstance(value, dict):
        begin, end, name = next(
            ((value[a], value[b], value[c]) for a, b, c in ENDS if {a, b, c} <= set(value)), (None,) * 3
        )
    else:
        return None
    return (begin, end, name) if isinstance(begin, int) and isinstance(end, int) and isinstance(name, str) else None


def _tagged(place: str, own: Mapping[str, Any], key: str) -> dict[str, Any]:
    spans = [span for value in own[key] if (span := _span(value)) is not None]
    for begin, end, name in spans:
        if not 0 <= begin < end <= len(own[TEXT]):
            raise DataError(
                f"{place}: {key}", f"a span within {len(own[TEXT])} characters", f"{begin} to {end} ({name})"
            )
    words, tags = tag_spans(own[TEXT], spans)
    return {"tokens": words, "tags": tags}


def _plain(value: Any) -> Any:
    """A list of one label as that label; other values as they are."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else value


def _alike(values: list[Any]) -> list[Any]:
    """Values of one kind: where some are lists, all; where some single ones are strings, all."""
    if any(isinstance(value, list) for value in values):
        return [value if isinstance(value, list) or value is None else [value] for value in values]
    if any(isinstance(value, str) for value in values):
        return [value if value is None or isinstance(value, str) else str(value) for value in values]
    return [int(value) if isinstance(value, bool) else value for value in values]
