"""Random literals for each kind of parameter in PyTorch's schemas."""

from __future__ import annotations

from random import Random
from typing import Any

from pullback_service.program.catalogue import Argument, Kind
from pullback_service.program.literals import MEMORY_FORMATS
from pullback_service.program.types import DTYPES

SMALL = (0, 1, -1, 2, 3, 7)
HUGE = (10**6, 10**9, -(10**9), 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, 0.5, 1.0, 2.0, -1.0, 1e-5, 1e-300, 1e300, -1e300, 2.0**63, "NaN", "Infinity", "-Infinity")
WORDS = {
    "rounding_mode": ("floor", "trunc"),
    "interpolation": ("linear", "lower", "higher", "midpoint", "nearest"),
    "reduce": ("sum", "prod", "mean", "amax", "amin", "max", "min", "add", "multiply"),
    "side": ("left", "right"),
    "padding": ("same", "valid"),
    "equation": ("ij,jk->ik", "ii->i", "...i,...i->...", "i,j", "ij->ji", ",", "a,a,a"),
    "norm": ("forward", "backward", "ortho"),
    "approximate": ("none", "tanh"),
    "UPLO": ("L", "U"),
    "driver": ("gels", "gelsy", "gelsd", "gelss", "gesvd", "gesvdj"),
    "ord": ("fro", "nuc"),
    "p": ("fro", "nuc"),
    "mode": ("reduced", "complete", "r", "constant", "reflect", "replicate", "circular"),
    "indexing": ("ij", "xy"),
    "padding_side": ("left", "right"),
    "pad_mode": ("reflect", "constant", "replicate", "circular"),
}
NONSENSE = ("", "nonsense", "\x00", "a" * 300, "ä", "ij->", "...")
NEVER_GIVEN = frozenset({"Device", "Generator"})


def random_literal(rng: Random, parameter: Argument) -> Any:
    """A JSON literal for a parameter that takes no tensor."""
    kind = parameter.kind
    if (kind.is_optional and rng.random() < 0.4) or kind.base in NEVER_GIVEN:
        return None
    if kind.is_list:
        return _list(rng, kind, parameter.name)
    return _one(rng, kind.base, parameter.name)


def changed_literal(rng: Random, value: Any, parameter: Argument) -> Any:
    """Another literal in the place of `value`: one item of a list changed, or all of it."""
    if not isinstance(value, list) or not parameter.kind.is_list or rng.random() < 0.3:
        return random_literal(rng, parameter)
    items = list(value)
    place = rng.randrange(len(items) + 1)
    match rng.randrange(3):
        case 0 if place < len(items):
            items[place] = _one(rng, parameter.kind.base, parameter.name)
        case 1 if place < len(items):
            del items[place]
        case _:
            items.insert(place, _one(rng, parameter.kind.base, parameter.name))
    return items


def _list(rng: Random, kind: Kind, name: str) -> Any:
    if kind.size and rng.random() < 0.3:
        return _one(rng, kind.base, name)
    count = kind.size if kind.size and rng.random() < 0.7 else rng.randrange(6)
    if rng.random() < 0.3:
        return [_one(rng, kind.base, name)] * (count or 1)
    return [_one(rng, kind.base, name) for _ in range(count or 0)]


def _one(rng: Random, base: str, name: str) -> Any:
    match base:
        case "int" if name == "reduction":
            return rng.choice((0, 1, 2))
        case "int":
            return rng.choice(SMALL if rng.random() < 0.8 else HUGE)
        case "float":
            return rng.choice(FLOATS)
        case "bool":
            return rng.random() < 0.5
        case "Scalar":
            return rng.choice((_one(rng, "int", name), _one(rng, "float", name), True, [0.5, -1.0]))
        case "str":
            return rng.choice(WORDS.get(name, NONSENSE) if rng.random() < 0.9 else NONSENSE)
        case "dtype":
            return rng.choice(list(DTYPES))
        case "MemoryFormat":
            return rng.choice(list(MEMORY_FORMATS))
        case "Layout":
            return "strided"
    return None
