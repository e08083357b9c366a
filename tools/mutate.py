"""Break the code on purpose, one change of tools/mutants.toml at a time, and see a test fail.

    python tools/mutate.py [TEXT]      # those whose name, file or tests hold TEXT

Files are changed in place, where the installed package is, and put back; a change under native/ is built, which takes a minute
or two. Prints each change with "seen" or "NOT SEEN"; the exit status is 1 where one was not seen, or is no longer to be found.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def build() -> bool:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "-c", "constraints.txt", "-e", "."]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def seen(mutant: dict[str, Any]) -> str:
    """What became of a change: "seen", "NOT SEEN", or why it could not be tried."""
    path = ROOT / mutant["file"]
    text = path.read_text(encoding="utf-8")
    if (found := text.count(mutant["from"])) != 1:
        return f"NOT TRIED: `from` stands {found} times in {mutant['file']}"
    native = mutant["file"].startswith("native/")
    path.write_text(text.replace(mutant["from"], mutant["to"]), encoding="utf-8")
    try:
        if native and not build():
            return "NOT TRIED: it cannot be built"
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant["tests"]]
        status = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=1800).returncode
        if status < 0:  # a crash, such as that of a read past the end of a page
            return "seen"
        return {0: "NOT SEEN", 1: "seen"}.get(status, f"NOT TRIED: pytest ended with {status}")
    except subprocess.TimeoutExpired:
        return "seen"  # a loop without end is seen by whoever waits for it
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> int:
    wanted = " ".join(sys.argv[1:])
    mutants = tomllib.loads((ROOT / "tools/mutants.toml").read_text(encoding="utf-8"))["mutant"]
    mutants = [m for m in mutants if wanted in f"{m['name']} {m['file']} {' '.join(m['tests'])}"]
    missed = 0
    try:
        for mutant in mutants:
            told = seen(mutant)
            missed += told != "seen"
            print(f"{told:8}  {mutant['file']}: {mutant['name']}", flush=True)
    finally:
        if any(m["file"].startswith("native/") for m in mutants):
            build()
    print(f"{len(mutants) - missed} of {len(mutants)} seen")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
