"""JSON, HTTP and text: answers to the command before them, `...` standing for what is left out; or graphs."""

from __future__ import annotations

import json
import re

import httpx
from tests.docs.reading import Block, Reader

ANSWERS = ("json", "text", "http")
OMITTED = "..."
SPACE_BETWEEN_TOKENS = re.compile(r'("(?:\\.|[^"\\])*")|\s+')


def run_json(block: Block, reader: Reader) -> None:
    """The answer to the command before it, or a graph."""
    if reader.said is not None:
        assert_shown(compact(block.text), compact(answer(reader)))
        return
    reader.graph = digest(json.loads(block.text), reader)


def run_graph(block: Block, reader: Reader) -> None:
    """A graph in the text form; right below one in JSON it is the same."""
    found = digest(block.text, reader)
    assert reader.graph in (None, found), "it is another graph than the one above it"


def digest(graph: object, reader: Reader) -> str:
    response = httpx.post(f"{reader.url}/v1/check", json={"graph": graph})
    assert response.status_code == 200, response.text
    return str(response.json()["sha256"])


def run_text(block: Block, reader: Reader) -> None:
    """What the command before it says."""
    assert_shown(block.text.strip(), answer(reader).replace("\r\n", "\n").strip())


def answer(reader: Reader) -> str:
    assert reader.said is not None, "no command stands before this answer"
    said, reader.said = reader.said, None
    return said


def assert_shown(shown: str, said: str) -> None:
    pattern = ".*".join(re.escape(part) for part in shown.split(OMITTED))
    assert re.fullmatch(pattern, said, re.DOTALL), f"the page shows\n{shown}\nand what came is\n{said}"


def compact(text: str) -> str:
    """JSON, perhaps with omissions, without the blanks between its tokens."""
    return SPACE_BETWEEN_TOKENS.sub(lambda found: found[1] or "", text)
