"""From records to numbers: an encoding is made from the training part and applied to every part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from throughtime.data.dataset import Dataset
from throughtime.data.differences import best_lag, differenced, lag_of
from throughtime.data.encoding import LONGEST_WORD, Encoding, Standardizer
from throughtime.data.errors import DataError
from throughtime.data.records import Records
from throughtime.data.sequences import IGNORED, Sequences
from throughtime.data.spans import scheme_of
from throughtime.data.vocabulary import Vocabulary

MIN_COUNT = 2  # a symbol that occurs once teaches little about itself, but something about unknown ones


def prepare(
    name: str,
    train: Records,
    valid: Records | None = None,
    test: Records | None = None,
    *,
    min_count: int = MIN_COUNT,
    characters: bool = False,
    predict: str | None = None,
    season: int | None = None,
    encoding: Encoding | None = None,
) -> Dataset:
    """A data set of up to three parts.

    Where no `encoding` is given, one is made. Vocabulary and scaling come from the training part alone: symbols rarer than
    `min_count` there become the unknown symbol, features get mean 0 and deviation 1, a missing value becomes the mean. The
    classes are those of all parts: one that only the others have can be named and scored, though not learned. With
    `characters`, words come with those that spell them; `predict` and `season` are of forecasts, see `differences`: what is
    predicted, None for what a closed form does best.

    Raises:
        ValueError: characters that do not fit, or a `predict` that there is not.
        DataError: parts that do not belong together, or a sequence that is too short.
    """
    if encoding is None:
        lag = _lag(train, valid, predict, season) if train.task == "forecast" else 0
        others = [part for part in (valid, test) if part is not None]
        encoding = fit_encoding(train, others, min_count, characters, lag)
    parts = [None if part is None else encode(part, encoding) for part in (train, valid, test)]
    assert parts[0] is not None
    return Dataset(name, encoding, parts[0], parts[1], parts[2])


def fit_encoding(
    train: Records, others: Sequence[Records], min_count: int, characters: bool = False, lag: int = 0
) -> Encoding:
    """The encoding of `train`; of `others`, the names of classes alone are used. With `characters`, words come with those
    that spell them.

    Raises: ValueError: `characters` where the inputs are not words with labels.
    """
    vocabulary = input_scale = target_scale = alphabet = None
    longest = 0
    further: tuple[Vocabulary, ...] = ()
    flagged: tuple[str, ...] = ()
    if train.features is None:
        columns = _columns(train)
        vocabulary, *rest = (Vocabulary.from_sequences(column, min_count) for column in columns)
        further = tuple(rest)
        if characters:
            alphabet, longest = _alphabet(train, columns[0], min_count)
        elif all(symbol == vocabulary.unknown for symbol in vocabulary.symbols):
            different = len({symbol for symbols in columns[0] for symbol in symbols})
            found = f"none among {different:,} different ones, each of them rarer"
            raise DataError(train.source, f"symbols that occur {min_count} times or more", found)
    elif characters:
        raise ValueError("characters: expected words, which they spell, found features")
    else:
        values = np.concatenate([differenced(x, lag) for x in train.inputs])
        input_scale = None if train.scaled else Standardizer.fit(values)
        gaps = np.flatnonzero(np.any(np.isnan(values), axis=0))
        flagged = tuple(train.features[column] for column in gaps.tolist())
    if train.task == "lm":
        assert vocabulary is not None
        labels = vocabulary.symbols
    elif train.task == "forecast":
        assert train.targets is not None
        labels = train.outputs or ()
        target_scale = Standardizer.fit(np.concatenate([differenced(y, lag) for y in train.targets]))
    else:
        labels = train.outputs or _classes([train, *others])
    return Encoding(
        train.task,
        labels,
        vocabulary,
        train.features,
        input_scale,
        target_scale,
        further,
        alphabet,
        longest,
        train.fill,
        flagged,
        scheme_of(labels, train.targets or ()) if train.task == "tag" else None,
        lag,
    )


def _lag(train: Records, valid: Records | None, predict: str | None, season: int | None) -> int:
    """What a model of these series is to predict."""
    among = set(train.outputs or ()) <= set(train.features or ())
    if predict is not None:
        lag = lag_of(predict, season)
        if lag and not among:
            raise ValueError(
                f"predict: expected level, as the inputs lack {', '.join(train.outputs or ())}, found {predict}"
            )
        return lag
    if not among or valid is None or train.targets is None or valid.targets is None:
        return 0
    return best_lag(train.targets, valid.targets, valid.context or [0] * len(valid), season)


def _alphabet(train: Records, words: Sequence[Any], min_count: int) -> tuple[Vocabulary, int]:
    """The characters of all words, and how many of a word are read."""
    if train.task == "lm" or isinstance(words[0], str):
        found = "a language model" if train.task == "lm" else "sequences of characters"
        raise ValueError(f"characters: expected words with labels, found {found}")
    alphabet = Vocabulary.from_sequences((word for own in words for word in own), min_count)
    return alphabet, min(LONGEST_WORD, max(len(word) for own in words for word in own))


def _columns(records: Records) -> list[Sequence[Any]]:
    """The symbols of all sequences, column by column."""
    several = isinstance(records.inputs[0], tuple)
    return [list(column) for column in zip(*records.inputs)] if several else [records.inputs]


def encode(records: Records, encoding: Encoding) -> Sequences:
    """The numbers of `records`: float32 features, int64 symbols and labels.

    Raises:
        DataError: another task or other features than the encoding's, a label that it has not, or, for the tasks lm and
            forecast, whose targets are the next step, a sequence of one step.
    """
    _check_alike(records, encoding.task, encoding.features)
    columns = [] if encoding.vocabulary is None else _columns(records)
    if len(columns) != len(encoding.vocabularies):
        raise DataError(records.source, f"{len(encoding.vocabularies)} columns of symbols", str(len(columns)))
    if encoding.vocabulary is not None:
        x = [encoding.vocabulary.encode(symbols) for symbols in columns[0]]
    else:
        x = [encoding.encode_features(differenced(values, encoding.lag)) for values in records.inputs]
    y = None
    if records.targets is not None and encoding.task == "lm":
        x, y = _one_ahead(records, x, x)
    elif records.targets is not None and encoding.task == "forecast":
        x, y = _one_ahead(records, x, _asked(records, encoding))
    elif records.targets is not None:
        y = _labels(records, encoding)
    texts = records.inputs if isinstance(records.inputs[0], str) else None
    sequences = Sequences.from_arrays(x, y, names=records.names, texts=texts)
    if records.rows is not None:
        sequences = replace(sequences, rows=tuple(records.rows))
    if len(encoding.sizes) > 1:
        codes = [
            [vocabulary.encode(own) for own in column] for vocabulary, column in zip(encoding.further, columns[1:])
        ]
        spelt = encoding.spell(word for words in columns[0] for word in words)
        sequences = replace(sequences, x=np.column_stack([sequences.x, *map(np.concatenate, codes), spelt]))
    if encoding.task == "forecast":
        series = records.targets
        if series is None and encoding.columns is not None:
            series = [values[:, encoding.columns] for values in records.inputs]
        context = None if records.context is None else tuple(records.context)
        return replace(sequences, series=None if series is None else tuple(series), context=context)
    return sequences if texts or not columns else replace(sequences, words=tuple(columns[0]))


def _asked(records: Records, encoding: Encoding) -> list[np.ndarray]:
    """What is to be predicted of each series, scaled: NaN in its context."""
    found = []
    for values, context in zip(records.targets or (), records.context or [0] * len(records)):
        found.append(_scaled(differenced(values, encoding.lag), encoding.target_scale))
        found[-1][: max(context - encoding.lag, 0)] = np.nan
    return found


def _check_alike(records: Records, task: str, features: tuple[str, ...] | None) -> None:
    if records.task != task:
        raise DataError(records.source, f"data for the task {task}", f"data for the task {records.task}")
    if records.features != features:
        raise DataError(records.source, _inputs(features), _inputs(records.features))


def _inputs(features: tuple[str, ...] | None) -> str:
    return "symbols" if features is None else f"the features {', '.join(features)}"


def _classes(parts: Iterable[Records]) -> tuple[str, ...]:
    """The names that occur, sorted; as numbers where all of them are."""
    names: set[str | None] = set()
    for part in parts:
        for target in part.targets or ():
            names.update([target] if part.task == "classify" else target)
    known = [name for name in names if name is not None]
    numeric = all(name.removeprefix("-").isdecimal() for name in known)
    return tuple(sorted(known, key=lambda name: (int(name) if numeric else 0, name)))


def _scaled(values: np.ndarray, scale: Standardizer | None) -> np.ndarray:
    return (values if scale is None else scale.apply(values)).astype(np.float32)


def _one_ahead(
    records: Records, x: list[np.ndarray], series: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs, and as the target of each step the series at the next one."""
    for place, steps, whole in zip(records.places, x, records.inputs):
        if len(steps) < 2:
            needed = 2 + len(whole) - len(steps)  # a difference takes its lag
            raise DataError(place, f"at least {needed} steps, as the targets are the next ones", str(len(whole)))
    return [steps[:-1] for steps in x], [steps[1:] for steps in series]


def _labels(records: Records, encoding: Encoding) -> list[np.ndarray] | list[int]:
    assert records.targets is not None
    index = {None: IGNORED} | {name: label for label, name in enumerate(encoding.labels)}
    labels = []
    for row, target in enumerate(records.targets):
        try:
            one = encoding.task == "classify"
            labels.append(
                index[target] if one else np.fromiter((index[name] for name in target), np.int64, len(target))
            )
        except KeyError as unseen:
            step = "" if one else f", step {[*target].index(unseen.args[0]) + 1}"
            place = f"{records.places[row]}: {records.field}{step}"
            raise DataError(
                place, f"one of the {encoding.k} labels of the training data", repr(unseen.args[0])
            ) from None
    return labels
