"""Graphs and arrays as the command line has them."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

FILLED = {"ones": np.ones, "zeros": np.zeros}


class UsageError(Exception):
    """Something on the command line that cannot be read; the message says what."""


def read_graph(text: str) -> Any:
    """A graph in text; with @ the file that holds one, in text or JSON; with - the standard input."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the graph cannot be read: {error}") from None
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"the graph is not JSON: {error}") from None


def read_arrays(pairs: Iterable[str]) -> dict[str, Any]:
    """`x=x.npy`, `x=1,2,3`, `x=[[1,2],[3,4]]` by name, and all arrays of `data.npz`; `x=ones` stays a word."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if equals:
            found[name] = _read_value(name, value)
        elif pair.endswith(".npz"):
            found |= _load(pair)
        else:
            raise UsageError(f"{pair!r} is neither NAME=VALUE nor a file of arrays (.npz)")
    return found


def _read_value(name: str, value: str) -> Any:
    if value in FILLED:
        return value
    if value.endswith(".npy"):
        return _load(value)
    text = value if value.lstrip().startswith("[") or "," not in value else f"[{value}]"
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(
            f"the value of {name!r} is {value!r}, which is no number, list, file (.npy) or one of {', '.join(FILLED)}"
        ) from None


def _load(path: str) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def fill(arrays: dict[str, Any], shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """The arrays, words such as "ones" replaced by what they say, of the dtypes and shapes that belong there."""
    filled = {}
    for name, value in arrays.items():
        if isinstance(value, str) and name not in shapes:
            raise UsageError(f"the shape of {name!r} is not known, so that {value!r} says nothing")
        filled[name] = FILLED[value](shapes[name][1], shapes[name][0]) if isinstance(value, str) else value
    return filled
