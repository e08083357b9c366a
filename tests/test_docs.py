"""The Python in the documents runs as it stands there, and what the tutorial claims holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"""\]\(([^)#:\s]+)[^):\s]*\)|src="([^":]+)\"""")
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "docs/tutorial.md", "docs/cells.md", "docs/tracing.md"])
def test_every_python_block_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, in one namespace; a line of an error is the document's."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = list(FENCE.finditer(text))
    assert blocks, f"{document}: expected blocks of Python, found none"
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with torch.random.fork_rng():
        for block in blocks:
            before = text.count("\n", 0, block.start(1))
            exec(compile("\n" * before + block[1], document, "exec"), namespace)


@pytest.mark.parametrize(
    "document", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_what_a_document_links_to_is_there(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    targets = {found[1] or found[2] for found in LINK.finditer(text)}
    assert sorted(target for target in targets if not (document.parent / target).exists()) == []
