"""What an experiment found: printed, as Markdown, as JSON, and as a folder."""

from __future__ import annotations

import inspect
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from throughtime.data.files import new_folder, write_atomically
from throughtime.reproductions import EXPERIMENTS
from throughtime.reproductions.experiment import Experiment

FILES = ("report.md", "report.json", "picture.png", "picture.svg")


@dataclass(frozen=True)
class Report:
    """The outcomes of an experiment, a seed each, with what is needed to repeat them.

    Attributes:
        name: of the experiment.
        size: the arguments of its `run`.
        outcomes: what `run` returned, for the seeds 0, 1, …
        seconds: what all of them took.
        environment: versions, processor and threads, by name.
    """

    name: str
    experiment: Experiment
    size: Mapping[str, Any]
    outcomes: list[Any]
    seconds: float
    environment: Mapping[str, Any]
    full: bool = False

    @property
    def command(self) -> str:
        """What repeats it."""
        seeds = len(self.outcomes)
        chosen = "" if seeds == self.experiment.seeds else f" --seeds {seeds}"
        return f"throughtime reproduce {self.name}{chosen}{' --full' if self.full else ''}"

    @property
    def provenance(self) -> str:
        """Seeds, processor and versions, in a line."""
        last, made = len(self.outcomes) - 1, self.environment
        seeds = "seed 0" if last == 0 else f"seeds 0 to {last}"
        threads = f"{made['threads']} thread{'s' if made['threads'] != 1 else ''}"
        versions = f"throughtime {made['throughtime']}, PyTorch {made['torch']}, Python {made['python']}"
        return f"{seeds}, {self.seconds:.0f} s on {made['processor']}, {threads}; {versions}"

    def table(self) -> list[tuple[str, str, str]]:
        """What was measured, the paper's figure and the one here; the first row is the head."""
        rows = [(m.what, m.paper or "not given", m.told) for m in self.experiment.measures(self.outcomes)]
        return [("", "paper", "here"), *rows]

    def differences(self) -> list[str]:
        """Why a figure is another than the paper's."""
        return [f"{m.what}: {m.differs}" for m in self.experiment.measures(self.outcomes) if m.differs]

    def markdown(self) -> str:
        """The report as a page."""
        of = self.experiment
        head, *rows = self.table()
        lines = [f"# {EXPERIMENTS[self.name]}", "", f"    {self.command}", "", of.question, "", f"*{of.paper}*", ""]
        lines += ["## Recipe", "", of.recipe, ""]
        if self.size:
            lines += ["Sizes: " + ", ".join(f"`{k}` = {v}" for k, v in self.size.items()) + ".", ""]
        lines += ["## What was found", "", "![What was measured](picture.png)", ""]
        lines += [f"| {' | '.join(head)} |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]
        lines += ["Mean ± standard deviation over the seeds.", ""] if len(self.outcomes) > 1 else []
        lines += [f"- {claim.says} **{claim.told}.**" for claim in of.claims(self.outcomes)]
        if differences := self.differences():
            lines += ["", "Where a figure differs from the paper's:", "", *(f"- {line}" for line in differences)]
        if of.anatomy is not None:
            lines += ["", "## What the anatomy adds", "", of.anatomy(self.outcomes)]
        return "\n".join([*lines, "", f"Made with {self.provenance}.", ""])

    def json(self) -> dict[str, Any]:
        """The same for machines."""
        of = self.experiment
        return {
            "experiment": self.name,
            "paper": of.paper,
            "command": self.command,
            "seeds": list(range(len(self.outcomes))),
            "size": dict(self.size),
            "measures": [
                {"what": m.what, "paper": m.paper, "values": list(map(float, m.values)), "mean": m.mean, "sd": m.spread}
                for m in of.measures(self.outcomes)
            ],
            "claims": [{"says": c.says, "holds": list(map(bool, c.holds))} for c in of.claims(self.outcomes)],
            "differences": self.differences(),
            "seconds": self.seconds,
            "environment": dict(self.environment),
        }

    def pictures(self) -> dict[str, bytes]:
        """The picture in both formats, with the provenance below it."""
        figure = self.experiment.picture(self.outcomes)
        figure.supxlabel(self.provenance, fontsize=6, color="#666666")
        found = {}
        for kind in ("png", "svg"):
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=150)
            found[f"picture.{kind}"] = content.getvalue()
        return found

    def write(self, folder: Path, overwrite: bool = False) -> None:
        """Write `FILES` into a new folder, whole or not at all.

        Raises:
            ValueError: something is there, and it is not a report that may be overwritten.
            OSError: it cannot be written.
        """
        check_free(folder, overwrite)
        contents = {
            "report.md": self.markdown(),
            "report.json": json.dumps(self.json(), indent=2, ensure_ascii=False) + "\n",
            **self.pictures(),
        }
        with new_folder(folder) as new:
            for name in FILES:
                write_atomically(new / name, contents[name])


def check_free(folder: Path, overwrite: bool = False) -> None:
    """Check that a report may be written to `folder`.

    Raises: ValueError: something is there, and it is not a report that may be overwritten.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not all((folder / name).is_file() for name in FILES[:2]):
        raise ValueError(f"{folder}: expected a free name, an empty folder or a report, found something else")
    if not overwrite:
        raise ValueError(f"{folder}: expected a free name, found a report; --overwrite replaces it")


def reproduce(
    name: str,
    experiment: Experiment,
    seeds: int,
    *,
    size: Mapping[str, Any],
    environment: Mapping[str, Any],
    full: bool = False,
    told: Callable[[str], object] = lambda line: None,
) -> Report:
    """Run an experiment with the seeds 0 to `seeds` − 1.

    Args:
        size: arguments of its `run` other than the defaults.
        environment: versions, processor and threads, for the report.
        told: is given a line after every seed.
    """
    defaults = {p.name: p.default for p in inspect.signature(experiment.run).parameters.values() if p.name != "seed"}
    sizes, outcomes, began = defaults | dict(size), [], time.perf_counter()
    for seed in range(seeds):
        since = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outcomes.append(experiment.run(seed, **sizes))
        told(f"seed {seed} ({seed + 1} of {seeds}): {time.perf_counter() - since:.1f} s")
    return Report(name, experiment, sizes, outcomes, time.perf_counter() - began, environment, full)
