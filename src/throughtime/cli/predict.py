"""`throughtime predict`: what a trained model makes of a text or a source."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from throughtime.cli.errors import Refused, refusing

if TYPE_CHECKING:
    from throughtime.data import Sequences
    from throughtime.learning.run import Run


def predict(
    run: Path,
    source: str | None = None,
    /,
    *,
    text: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Tell the labels that a trained model predicts.

    Characters are shown in the colours of their labels, other steps one per line. A symbol that the model does not know
    is read as the unknown symbol.

    Args:
        run: the run folder.
        source: what to read; the held-out part of the source of the training where neither SOURCE nor --text is given.
        text: a text to read instead.
        json: for machines: one object per sequence and line.
    """
    from throughtime.cli.inputs import held_out
    from throughtime.learning.run import load

    if source is not None and text is not None:
        raise Refused("expected SOURCE or --text, found both")
    with refusing():
        loaded = load(run)
        sequences = loaded.encode(text) if text is not None else held_out(loaded, source)[2]
        predicted = loaded.predict(sequences)
    for i in range(len(sequences)):
        if json:
            print(json_module.dumps(_as_object(sequences, i, predicted[i]), ensure_ascii=False))
        else:
            _print(loaded, sequences, i, predicted[i])


def _as_object(sequences: Sequences, i: int, predicted: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if sequences.names is not None:
        found["name"] = sequences.names[i]
    if sequences.texts is not None:
        found["text"] = sequences.texts[i]
    return found | ({"labels": predicted} if isinstance(predicted, list) else {"label": predicted})


def _print(run: Run, sequences: Sequences, i: int, predicted: Any) -> None:
    from throughtime.cli import highlight

    name = str(i) if sequences.names is None else sequences.names[i]
    if not isinstance(predicted, list):
        print(f"{name}\t{predicted}")
    elif sequences.texts is not None and len(sequences.texts[i]) == len(predicted):
        if len(sequences) > 1:
            print(f"{name}:")
        highlight.show(sequences.texts[i], predicted, run.encoding.labels)
    else:
        vocabulary = run.encoding.vocabulary
        steps = range(len(predicted)) if vocabulary is None else vocabulary.decode(sequences.inputs[i])
        for step, label in zip(steps, predicted, strict=True):
            print(f"{step}\t{label}")
        print()
