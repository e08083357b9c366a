"""A fair measurement: what is held out is later in time, of other groups, or of the same mixture of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from throughtime.data.errors import DataError, nearest
from throughtime.data.records import Records, steps_of

WAYS = ("time", "sequence", "class", "group")


def divide(
    records: Records, valid: float, test: float, seed: int, by: str | None = None
) -> tuple[dict[str, Records], str]:
    """The parts train, valid and test of the sequences of one source, and the way in which they were divided; a share of 0
    makes no such part.

    time: every sequence is cut, first train, then valid, last test; of series, valid and test begin with what came before, as
    context. sequence: at random from `seed`, at least one for each
    part. class: so that every part has each class in its share, as far as that goes. group: whole groups at random.

    Args: by: the way; None: group where there are groups; time for the task forecast, unless a piece would have fewer than two
        steps, and where there are fewer sequences than parts; class for classes, else sequence.

    Raises:
        ValueError: shares that are negative or leave nothing to train on, or no such way.
        DataError: fewer sequences, or groups, than parts, or sequences too short to be cut.
    """
    check_choices((valid, test), by)
    shares = {name: share for name, share in (("valid", valid), ("test", test)) if share}
    ends = np.cumsum([0.0, 1 - valid - test, *shares.values()])
    pieces = {name: records.stretch(*ends[i : i + 2]) for i, name in enumerate(("train", *shares))}
    long = all(steps_of(x) > 1 for piece in pieces.values() for x in piece.inputs)
    by = by or _way(records, long, len(shares))
    if by == "time":
        if records.task == "classify":
            raise DataError(records.source, "sequences to be held out whole, as each has one label", "a split by time")
        if not all(steps_of(x) for piece in pieces.values() for x in piece.inputs) or (
            records.task != "tag" and not long
        ):
            shortest = min(steps_of(x) for x in records.inputs)
            wanted = " and ".join(f"{share:g}" for share in shares.values())
            expected = f"enough steps to hold out the last {wanted} of them: more data, or --split with larger shares"
            raise DataError(records.source, expected, f"{shortest}")
        if records.task == "forecast":  # the state and the season reach back into what was known before
            pieces = {name: records.reaching_back(*ends[i : i + 2]) for i, name in enumerate(("train", *shares))}
        return pieces, by
    if by == "group" and records.groups is None:
        raise DataError(records.source, "a column of groups: add --group", "none")
    units = list(dict.fromkeys(records.groups or ())) if by == "group" else list(range(len(records)))
    if len(units) <= len(shares):
        what = "groups" if by == "group" else "sequences"
        expected = f"at least {len(shares) + 1} {what} to split, or sources for valid and test"
        raise DataError(records.source, expected, str(len(units)))
    order = np.random.default_rng(seed).permutation(len(units))
    if by == "class":
        chosen = _stratified(np.asarray([str(name) for name in records.targets or ()]), order, list(shares.values()))
    else:
        sizes = [max(1, round(share * len(order))) for share in shares.values()]
        chosen = np.split(order, np.cumsum([len(order) - sum(sizes), *sizes])[:-1])
    if by == "group":
        members = [{units[own] for own in part} for part in chosen]
        chosen = [[i for i, group in enumerate(records.groups or ()) if group in own] for own in members]
    return {name: records.take(np.sort(rows).tolist()) for name, rows in zip(("train", *shares), chosen)}, by


def check_choices(split: tuple[float, float] | None, by: str | None) -> None:
    """Check the shares and the way of a split, before anything is read.

    Raises: ValueError: as `divide`.
    """
    if split is not None and not (len(split) == 2 and min(split) >= 0 and sum(split) < 1):
        found = ", ".join(map(str, split))
        raise ValueError(f"split: expected two shares of 0 or more that leave some to train on, found {found}")
    if by not in (None, *WAYS):
        raise ValueError(f"split_by: expected one of {', '.join(WAYS)}, found {by!r}{nearest(str(by), WAYS)}")


def _way(records: Records, long: bool, held_out: int) -> str:
    if records.groups is not None:
        return "group"
    few = len(records) <= held_out
    if (records.task == "forecast" and (long or few)) or (few and records.task in ("lm", "tag")):
        return "time"
    return "class" if records.task == "classify" and records.targets is not None else "sequence"


def _stratified(labels: np.ndarray, order: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """The rows of the parts train, valid, test …: walking class by class, in the order `order` within each, a row goes to the
    part that lags behind its share most, so that each class and the whole are divided as evenly as whole rows allow."""
    walked = order[np.argsort(labels[order], kind="stable")]
    wanted = np.array([1 - sum(shares), *shares])
    lead = np.zeros(len(wanted))
    parts: list[list[int]] = [[] for _ in wanted]
    for row in walked.tolist():
        lead += wanted
        part = int(lead.argmax())
        lead[part] -= 1
        parts[part].append(row)
    for part, rows in enumerate(parts):  # few sequences may leave a part with none: it gets one of the commonest class
        if not rows:
            largest = max(parts, key=len)
            common = Counter(labels[largest].tolist()).most_common(1)[0][0]
            parts[part] = [largest.pop(next(i for i in reversed(range(len(largest))) if labels[largest[i]] == common))]
    return [np.array(rows) for rows in parts]


def deduplicate(parts: dict[str, Records]) -> tuple[dict[str, Records], int]:
    """The parts with every sequence once: of the same ones the first of the last part stays, so that nothing that is held out
    is learnt; and how many are gone."""
    seen: set[Any] = set()
    kept: dict[str, Records] = {}
    lost = 0
    for name, records in reversed(parts.items()):
        rows = []
        for row, x in enumerate(records.inputs):
            key = _key(x)
            if key not in seen:
                seen.add(key)
                rows.append(row)
        lost += len(records) - len(rows)
        if not rows:
            raise DataError(records.source, f"sequences in {name} that are not held out", "none without duplicates")
        kept[name] = records.take(rows)
    return dict(reversed(kept.items())), lost


def check_sensible(records: Records) -> None:
    """Refuse what is plainly wrong, before it becomes a meaningless model.

    Raises: DataError: sequences of one step all, a single class, or nearly as many classes as there are of what they name.
    """
    if all(steps_of(x) < 2 for x in records.inputs):
        found = f"one step in {'the only one' if len(records) == 1 else f'each of {len(records):,}'}"
        raise DataError(records.source, "sequences of several steps (is an id wrong, or --rows?)", found)
    if records.task not in ("tag", "classify") or records.targets is None:
        return
    names = records.targets if records.task == "classify" else [name for own in records.targets for name in own]
    counts = Counter(name for name in names if name is not None)
    total = sum(counts.values())
    if len(counts) < 2:
        found = f"only {next(iter(counts))!r}" if counts else "none"
        raise DataError(records.source, f"two classes or more in {records.field}", found)
    if total >= 10 and len(counts) > total / 2:
        raise DataError(
            records.source, f"classes that repeat in {records.field}", f"{len(counts):,} among {total:,} labels"
        )


def _key(x: Any) -> Any:
    """What is equal for equal sequences."""
    if isinstance(x, np.ndarray):
        return x.shape, x.tobytes()
    return x if isinstance(x, str) else tuple(map(tuple, x)) if isinstance(x, tuple) else tuple(x)


def tell_shared(parts: dict[str, Records]) -> str | None:
    """A sentence about sequences of the last held-out part that are in train; None: there are none."""
    if len(parts) < 2:
        return None
    name, last = list(parts.items())[-1]
    known = {_key(x) for x in parts["train"].inputs}
    count = sum(_key(x) in known for x in last.inputs)
    if not count:
        return None
    return f"{count:,} of {len(last):,} {name} sequences are also in train; --deduplicate leaves them out there"
