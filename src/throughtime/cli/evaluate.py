"""`throughtime evaluate`: how well a trained model does on a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.options import NOWHERE, DataOptions, Horizon, Json, OwnCell, Quiet, Season
from throughtime.cli.terminal import print_json, quieten

if TYPE_CHECKING:
    from throughtime.data import Dataset
    from throughtime.learning.run import Run


def evaluate(
    run: Path,
    /,
    options: DataOptions = NOWHERE,
    *,
    horizon: Horizon | None = None,
    season: Season = None,
    cell: OwnCell = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell how well a trained model does on a source: by default the test part of what it was trained on.

    Args:
        run: the run folder.
        horizon: steps ahead that forecasts are measured for; those of the training where left out.
        season: steps after which the series repeat themselves; those of the training where left out.
        cell: package.module:Class, where the model is of such a cell.
        json: for machines.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    from throughtime.cli import report
    from throughtime.cli.errors import refusing
    from throughtime.cli.inputs import held_out, open_run

    with refusing():
        loaded = open_run(run, cell)
        dataset, part = held_out(loaded, options)
        measured, baselines = _measure(loaded, dataset, part, horizon, season)
    if json:
        found = {"run": str(run), "source": dataset.name, "part": part, **measured, "baselines": baselines}
        print_json(found)
        return
    print(report.headline(part, dataset.name, measured))
    print(report.results(measured, baselines))
    if sentence := report.warning(measured, baselines):
        print(sentence)


def _measure(
    run: Run, dataset: Dataset, part: str, horizon: int | None, season: int | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """The results on a part, and those of predictions that know little."""
    from throughtime.learning import forecasts, metrics

    sequences = dataset.parts[part]
    if run.encoding.task != "forecast":
        measured = metrics.measure_labels(run.model, sequences, run.encoding, run.truncate)
        return measured, metrics.baselines(dataset.train, sequences)
    measured = forecasts.backtest(
        run.model,
        sequences,
        run.encoding,
        run.metrics.get("naive_errors", {}),
        horizon=horizon or run.config.get("horizon", 1),
        season=season or run.config.get("season"),
    )
    return measured, {}
