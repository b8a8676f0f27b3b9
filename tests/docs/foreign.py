"""Other languages: their interpreters are not here, but what they would send is in the block, and is sent.

The calls that build a request in R, Julia and MATLAB read as Python once a few marks are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
from tests.docs.reading import Block, Reader


def pairs(*words: Any) -> dict[str, Any]:
    return dict(zip(words[::2], words[1::2], strict=True))


class Language(NamedTuple):
    """How a dictionary begins, what is replaced, what names mean, how a path into the answer and a comment look."""

    begins: str
    replaced: dict[str, str]
    names: dict[str, Callable[..., Any]]
    path: str
    comment: str


LANGUAGES = {
    "r": Language("list(", {}, {"list": dict, "c": lambda *items: list(items)}, r"answer((?:\$\w+)+)", "#"),
    "julia": Language("Dict(", {"=>": ","}, {"Dict": pairs}, r"answer((?:\[\"\w+\"\])+)", "#"),
    "matlab": Language("struct(", {r"(?<=\d) (?=\d)": ", "}, {"struct": pairs}, r"answer((?:\.\w+)+)", "%"),
}


def run_foreign(block: Block, reader: Reader) -> None:
    """Send what the program sends, read the answer where it does, and find the numbers of the comment there."""
    language = LANGUAGES[block.language]
    request = balanced(block.text, language.begins)
    for mark, python in language.replaced.items():
        request = re.sub(mark, python, request)
    address = re.search(r"[\"'](http[^\"']+)", reader.here(block.text))[1]
    response = httpx.post(address, json=eval(request, dict(language.names)))
    assert response.status_code == 200, response.text
    value = response.json()
    for key in re.findall(r"\w+", re.search(language.path, block.text)[1]):
        value = value[key]
    assert value == [float(number) for number in block.text.rpartition(language.comment)[2].split()]


def balanced(text: str, begins: str) -> str:
    """From the first dictionary to the bracket that closes it."""
    start, depth = text.index(begins), 0
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if text[end] == ")" and depth == 0:
            return text[start : end + 1]
    raise AssertionError(f"no bracket closes {begins}")
