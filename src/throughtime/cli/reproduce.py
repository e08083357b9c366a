"""`throughtime reproduce`: what a paper reports, measured anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from throughtime.cli.errors import CommandError, Refused, one_line, refusing
from throughtime.cli.options import Json, Quiet, Whole
from throughtime.cli.terminal import print_json, quieten, say
from throughtime.reproductions import EXPERIMENTS, find
from throughtime.untrusted.showing import did_you_mean, short


def reproduce(
    name: str | None = None,
    /,
    *,
    seeds: Whole | None = None,
    full: Annotated[bool, Parameter(negative=())] = False,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Repeat a classic experiment, and tell the paper's figures beside those measured here.

    Data, training, figures and picture come from the experiment's description; nothing needs a network. Without a name, the
    experiments are listed.

    Args:
        name: of the experiment.
        seeds: how many trainings, with the seeds 0, 1, …; a number that suits a few minutes where left out.
        full: at the paper's size, or nearer to it: longer.
        out: the folder to write: report.md, report.json, picture.png and picture.svg; reproductions/NAME where left out.
        overwrite: replace a report that is there.
        json: what was found, for machines, beside writing the folder.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    if name is None:
        if json:
            print_json(EXPERIMENTS)
            return
        width = max(map(len, EXPERIMENTS))
        for known, title in EXPERIMENTS.items():
            print(f"{known:<{width}}  {title}")
        return
    if name not in EXPERIMENTS:
        meant = did_you_mean(name, EXPERIMENTS)
        hint = "" if meant is None else f". Did you mean {meant!r}?"
        raise Refused(f"expected one of {', '.join(EXPERIMENTS)}, found {short(name)!r}{hint}")
    if seeds is not None and seeds < 1:
        raise Refused(f"--seeds: expected at least 1, found {seeds}")
    from throughtime.cli.doctor import environment
    from throughtime.cli.report import table
    from throughtime.reproductions import report

    folder = Path("reproductions") / name if out is None else out
    with refusing():
        report.check_free(folder, overwrite)
    of = find(name)
    say(f"{EXPERIMENTS[name]}: {of.seeds if seeds is None else seeds} seeds")
    found = report.reproduce(
        name,
        of,
        of.seeds if seeds is None else seeds,
        size=of.full if full else {},
        environment=environment(),
        full=full,
        told=say,
    )
    try:
        found.write(folder, overwrite)
    except OSError as error:
        raise CommandError(one_line(error)) from error
    if json:
        print_json(found.json() | {"folder": str(folder)})
        return
    print(EXPERIMENTS[name])
    print(of.paper)
    print(f"\n{table(found.table(), longest=90)}\n")
    for claim in of.claims(found.outcomes):
        print(f"{claim.says} {claim.told}")
    for line in found.differences():
        print(f"differs: {line}")
    if of.anatomy is not None:
        print(of.anatomy(found.outcomes))
    print(f"{folder}: {', '.join(report.FILES)}; {found.provenance}")
