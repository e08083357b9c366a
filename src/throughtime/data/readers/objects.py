"""Objects in memory: frames, series, Hugging Face and PyTorch data sets, and arrays or lists. Recognised by what they can do,
not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from throughtime.data.errors import DataError
from throughtime.data.readers.arrays import from_arrays
from throughtime.data.readers.options import TABLE_OPTIONS, Options
from throughtime.data.records import Records

PART_NAMES = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}


def parts_of(source: Any) -> dict[str, Any] | None:
    """The parts of a mapping with a part "train", such as a Hugging Face DatasetDict; None: `source` is none."""
    if not isinstance(source, Mapping) or "train" not in source:
        return None
    unknown = [name for name in source if name not in PART_NAMES]
    if unknown:
        raise DataError("source", f"parts named {', '.join(PART_NAMES)}", repr(unknown[0]))
    return {PART_NAMES[name]: part for name, part in source.items()}


def read_object(source: Any, options: Options) -> Records:
    """Records of a frame (pandas, polars) or a list of them, a sequence each; a series; a Hugging Face data set; a PyTorch data
    set or a list of pairs (x, y); or arrays: X alone, (X, y) or (X, y, lengths).

    Raises:
        DataError: something else, or something malformed.
    """
    if hasattr(source, "column_names") and hasattr(source, "features"):
        options.check_taken("a Hugging Face data set", ("features", "target"))
        return _read_hugging_face(source, options)
    if _is_frame(source) or (isinstance(source, (list, tuple)) and source and all(map(_is_frame, source))):
        from throughtime.data.readers.row_reading import read_table
        from throughtime.data.readers.tables import open_frame, open_frames

        options.check_taken("a frame", TABLE_OPTIONS)
        if _is_frame(source):
            return read_table(open_frame("frame", source), _by_index(source, options))
        table, id = open_frames("frames", source)
        return read_table(table, replace(options, id=id, rows=options.rows or "steps"))
    options.check_taken("a source of arrays", ("missing", "fill"))
    if (
        hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
        and type(source).__module__.startswith("torch.utils.data")
    ):
        source = [source[i] for i in range(len(source))]
    if isinstance(source, list) and source and all(isinstance(own, tuple) and len(own) == 2 for own in source):
        source = ([own[0] for own in source], [_item(own[1]) for own in source])
    arrays = source if isinstance(source, tuple) else (source,)
    if not 1 <= len(arrays) <= 3 or not hasattr(arrays[0], "__len__"):
        raise DataError("source", "a frame, a data set, or arrays (X, y, lengths)", type(source).__name__)
    x, y, lengths = (*arrays, None, None)[:3]
    return from_arrays("source", x, y, lengths, options)


def _is_frame(source: Any) -> bool:
    return hasattr(source, "collect_schema") or hasattr(source, "columns")


def _by_index(frame: Any, options: Options) -> Options:
    """The two levels of a pandas frame's index are the sequence and the time, unless columns are named."""
    from throughtime.data.readers.tables import index_columns

    levels = index_columns(frame)
    if len(levels) != 2 or options.id is not None or options.time:
        return options
    return replace(options, id=levels[0], time=levels[1:], rows=options.rows or "steps")


def _item(label: Any) -> Any:
    """A label in a tensor of no dimensions as a number."""
    return label.item() if hasattr(label, "item") and getattr(label, "ndim", 1) == 0 else label


def _read_hugging_face(source: Any, options: Options) -> Records:
    """A sequence in each row: `features` names the column with its tokens or its text, `target` that with its labels.

    Without names: the column tokens or text; the labels are the one other column whose values have names (ClassLabel), or
    the one other column there is.
    """
    if options.features and len(options.features) != 1:
        raise DataError("source: features", "one column of tokens or texts", ", ".join(options.features))
    wanted = options.features or tuple(name for name in ("tokens", "text") if name in source.column_names)[:1]
    others = [name for name in source.column_names if name not in wanted]
    named = [name for name in others if _class_names(source.features[name])]
    target = options.target or ((named if named else others) if options.task != "lm" else ())
    for name in (*wanted, *target):
        if name not in source.column_names:
            raise DataError("source", f"the column {name!r}", ", ".join(source.column_names))
    if len(wanted) != 1 or len(target) > 1:
        role, found = ("features", source.column_names) if len(wanted) != 1 else ("target", target)
        raise DataError(f"source: {role}", "one column to be named", ", ".join(found))
    x, y = list(source[wanted[0]]), None
    if target and options.labelled:
        y = list(source[target[0]])
        names = _class_names(source.features[target[0]])
        if names:
            y = [_named(labels, names) for labels in y]
    return from_arrays("source", x, y, None, options)


def _class_names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel, or of the ClassLabels in a sequence."""
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)


def _named(labels: Any, names: list[str]) -> Any:
    """Names for the integers; a negative one, which stands for no label, stays."""
    if isinstance(labels, int):
        return names[labels] if labels >= 0 else labels
    return [_named(label, names) for label in labels]
