"""The pages of the documentation, their fenced blocks, and somebody who reads them from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("client/*.md")])
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
DOCUMENTED_URL = re.compile(r"(http://)?(localhost|127\.0\.0\.1):8000\b")


@dataclass(frozen=True)
class Block:
    """A fenced block, where it stands, and the language of the one that follows."""

    page: Path
    line: int
    language: str
    text: str
    following: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} ({self.language or 'no language'})"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = list(FENCE.finditer(text))
    assert len(found) * 2 == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)), f"{page.name}: a crooked fence"
    following = [match["language"] for match in found[1:]]
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], match["text"], after)
        for match, after in zip_longest(found, following, fillvalue="")
    ]


@dataclass
class Reader:
    """Does what a page says, in a folder that looks like the repository."""

    url: str
    folder: Path
    start_service: Callable[..., str]
    """`start_service({"PULLBACK_API_KEY": ...})`: the URL of a service with these settings."""
    set_variable: Callable[[str, str], None]
    said: str | None = None
    """What the last command answered, until a block has been compared with it."""
    graph: str | None = None
    """The sha256 of the graph in the block before."""
    images: set[str] = field(default_factory=set)
    """What the page has built with Docker."""
    values: dict[str, Any] = field(default_factory=dict)
    """What the page's Python has assigned."""

    def here(self, text: str) -> str:
        """`text` with the address where the service really is."""
        return DOCUMENTED_URL.sub(self.url, text)
