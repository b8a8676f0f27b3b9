"""What an operator does, in one sentence: from summaries.tsv, else the first one of the installed PyTorch's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional

TABLE = Path(__file__).with_name("summaries.tsv")
"""Operators that PyTorch does not document, or not by that name."""

MODULES: dict[str, ModuleType] = {"linalg_": torch.linalg, "fft_": torch.fft, "special_": torch.special}

_ROLE = re.compile(r":[a-z]+:`~?([^`<]*?)(?:\s*<[^>]*>)?`")
_SENTENCE = re.compile(r"(.+?\.|Alias (?:for|of) \S+)(?:\s|$)", re.DOTALL)


@cache
def summary_of(packet: str) -> str | None:
    """A sentence, or None where PyTorch documents nothing. `packet` is a name of the operator table."""
    if packet in _own():
        return _own()[packet]
    for found in _documented(packet):
        text = _first_sentence(found.__doc__ or "")
        if text:
            return text
    return None


@cache
def _own() -> dict[str, str]:
    return dict(line.split("\t") for line in TABLE.read_text().splitlines())


def _documented(packet: str) -> Iterator[Any]:
    places: list[tuple[Any, str]] = [(torch, packet), (torch.nn.functional, packet), (torch.Tensor, packet)]
    places += [(m, packet.removeprefix(prefix)) for prefix, m in MODULES.items() if packet.startswith(prefix)]
    for module, name in places:
        found = getattr(module, name, None)
        if callable(found):
            yield found


def _first_sentence(doc: str) -> str | None:
    """The first sentence that follows the signature lines, without the marks of its markup."""
    for paragraph in re.split(r"\n\s*\n", doc.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        text = " ".join(line for line in lines if "->" not in line and not line.startswith(".."))
        found = _SENTENCE.match(_ROLE.sub(r"\1", text).replace("``", "`").replace("`", ""))
        if found and " " in found[1] and "(" not in found[1].split(" ")[0]:
            return found[1][:200]
    return None
