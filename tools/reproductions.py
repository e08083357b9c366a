"""The pages of docs/reproductions: each experiment's report as `throughtime reproduce` writes it, and the index of them all.

python tools/reproductions.py             # all of them
python tools/reproductions.py elman-xor   # those named, and the index
python tools/reproductions.py --index     # the index alone
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from throughtime.cli import main
from throughtime.reproductions import EXPERIMENTS

FOLDER = Path(__file__).parents[1] / "docs/reproductions"

HEAD = """# What papers report, one command each

Classic experiments with recurrent networks, made again with this library on a CPU. Each command makes its data, trains with
several seeds, prints the paper's figure beside the one measured, draws the picture anew, and writes both to a folder:

    throughtime reproduce                # the list
    throughtime reproduce {first}      # one of them; --full at the paper's size, --seeds N

The pages here are those reports as the commands wrote them, with seeds, processor and versions. Where a figure differs from the
paper's, the page says so and why.
"""


def index() -> str:
    """The page with all pictures."""
    parts = [HEAD.format(first=next(iter(EXPERIMENTS)))]
    for name, title in EXPERIMENTS.items():
        found = json.loads((FOLDER / name / "report.json").read_text(encoding="utf-8"))
        parts.append(f"## {title}\n\n[![{title}]({name}/picture.png)]({name}/report.md)\n")
        for claim in found["claims"]:
            parts.append(f"- {claim['says']} with {sum(claim['holds'])} of {len(claim['holds'])} seeds.")
        parts.append(f"\n`{found['command']}`: [question, recipe, figures]({name}/report.md)\n")
    return "\n".join(parts)


if __name__ == "__main__":
    chosen = [name for name in sys.argv[1:] if name != "--index"] or ([] if sys.argv[1:] else list(EXPERIMENTS))
    for name in chosen:
        if status := main(["reproduce", name, "--out", str(FOLDER / name), "--overwrite"]):
            sys.exit(status)
        (FOLDER / name / "picture.svg").unlink()  # the pages show the other one
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")
