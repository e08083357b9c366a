"""Formulas in the documents as MathML, which browsers show by themselves: $…$ within a line, $$…$$ in lines of their own."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

DISPLAYED = re.compile(r"^\$\$(.+?)\$\$$", re.MULTILINE | re.DOTALL)
INLINE = r"\$([^$]+?)\$"


class _Displayed(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return DISPLAYED.sub(self._formula, "\n".join(lines)).split("\n")

    def _formula(self, found: re.Match[str]) -> str:
        return self.md.htmlStash.store(convert(found[1].replace("\n", " "), display="block"))


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> Any:
        return self.md.htmlStash.store(convert(m[1].replace("\n", " "))), m.start(0), m.end(0)


class Mathematics(Extension):
    """Comes after code has been set aside, blocks as well as spans."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Displayed(md), "displayed mathematics", 21)
        md.inlinePatterns.register(_Inline(INLINE, md), "inline mathematics", 185)


def makeExtension(**options: Any) -> Mathematics:
    return Mathematics(**options)
