"""Trees of folders and drawings of processes name what there is."""

from __future__ import annotations

import re

from tests.docs.reading import ROOT, Block, Reader

ENTRY = re.compile(r"^(?P<indent> {0,4})(?P<names>\S+(?: \S+)*)(?:  .*)?$")
INDENT = 4


def run_tree(block: Block, reader: Reader) -> None:
    """A line is one or more paths and, after two blanks, what they are for; indented ones lie in the folder above."""
    folder = ROOT
    for line in block.text.splitlines():
        entry = ENTRY.match(line)
        if not entry or len(entry["indent"]) not in (0, INDENT):
            continue
        names = entry["names"].split()
        base = folder if entry["indent"] else ROOT
        for name in names:
            assert (base / name).exists(), f"there is no {name} in {base.relative_to(ROOT)}"
        if not entry["indent"]:
            folder = ROOT / names[-1]


def run_drawing(block: Block, reader: Reader) -> None:
    """The processes have the names by which the system knows them."""
    source = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    names = re.findall(r"pullback-(\w+)", block.text)
    assert names
    for name in names:
        assert re.search(rf"pullback-{name}|['\"]{name}['\"]", source), f"no process is called pullback-{name}"
