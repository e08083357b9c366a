"""`throughtime evaluate`: how well a trained model does on a source."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def evaluate(run: Path, source: str | None = None, /, *, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Tell how well a trained model does on the test part of a source.

    Args:
        run: the run folder.
        source: what to evaluate on; the source of the training where left out.
        json: for machines.
    """
    from throughtime.cli import report
    from throughtime.cli.errors import refusing
    from throughtime.cli.inputs import held_out
    from throughtime.learning import metrics
    from throughtime.learning.run import load

    with refusing():
        loaded = load(run)
        dataset, name, part = held_out(loaded, source)
        measured = metrics.measure(loaded.model, part, loaded.encoding, loaded.truncate)
        baselines = metrics.baselines(dataset.train, part)
    if json:
        found = {"run": str(run), "source": dataset.name, "part": name, **measured, "baselines": baselines}
        print(json_module.dumps(found, indent=2, ensure_ascii=False))
        return
    print(report.headline(name, dataset.name, measured))
    print(report.results(measured, baselines))
