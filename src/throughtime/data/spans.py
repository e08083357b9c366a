"""Labels that mark spans, such as names in a text: what they are called, and which of them may follow which.

    IOB2     B-x begins a span of the kind x, I-x goes on with it, O is outside (Ratnaparkhi, 1998)
    IOBES    besides, E-x ends a span of several steps, and S-x is one of a single step
    IOB1     I-x begins a span, too; B-x only one that follows another of its kind (Ramshaw and Marcus, 1995)

Labels are decoded to the most probable sequence that the scheme allows, by the algorithm of Viterbi (1967): the sum of the
logarithms of the probabilities is the greatest among all sequences without a forbidden transition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

SCHEMES = ("IOB2", "IOBES", "IOB1")
LABEL = re.compile(r"O|([BIES])-(.+)", re.DOTALL)


def scheme_of(labels: Sequence[str], sequences: Iterable[Sequence[str | None]]) -> str | None:
    """The scheme that labels, and the sequences of them in the training part, follow; None: they mark no spans."""
    kinds = {label[0] for label in labels if LABEL.fullmatch(label)}
    if not {"B", "I"} <= kinds or not all(LABEL.fullmatch(label) for label in labels):
        return None
    candidates = ("IOBES",) if kinds & {"E", "S"} else ("IOB2", "IOB1")
    seen = {pair for own in sequences for pair in zip(["O", *own], [*own, "O"], strict=True) if None not in pair}
    return next((s for s in candidates if all(may_follow(one, other, s) for one, other in seen if one and other)), None)


def may_follow(before: str, after: str, scheme: str) -> bool:
    """Whether a label may come after another; a sequence begins after O, and ends before it."""
    (b, of), (a, kind) = _parts(before), _parts(after)
    if scheme == "IOB1":
        return a != "B" or of == kind
    if scheme == "IOB2":
        return a != "I" or of == kind
    inside = b in ("B", "I")  # IOBES: a span that has begun goes on until its end
    return (a in ("I", "E") and of == kind) if inside else a in ("O", "B", "S")


def transitions(labels: Sequence[str], scheme: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which label may begin a sequence, bool [k], follow which, [k, k] from row to column, and end one, [k]."""
    begins = np.array([may_follow("O", label, scheme) for label in labels])
    follows = np.array([[may_follow(before, after, scheme) for after in labels] for before in labels])
    return begins, follows, np.array([may_follow(label, "O", scheme) for label in labels])


def decode(scores: np.ndarray, allowed: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """The labels [T] of the greatest sum of scores [T, k] among the sequences that `transitions` allows.

    Logits are scores as good as the logarithms of probabilities, which differ from them by a number of each step.
    """
    begins, follows, ends = allowed
    best, came = np.where(begins, scores[0], -np.inf), []
    for row in scores[1:]:
        paths = np.where(follows, best[:, None], -np.inf)
        came.append(paths.argmax(0))
        best = paths.max(0) + row
    path = [int(np.where(ends, best, -np.inf).argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])


def _parts(label: str) -> tuple[str, str]:
    """The letter and the kind of a label."""
    found = LABEL.fullmatch(label)
    return (found[1] or "O", found[2] or "") if found else ("O", "")
