"""JSON literals as the values that an operator's schema asks for, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from pullback_schemas.graphs import escape
from pullback_schemas.tensors import NON_FINITE
from pullback_service.program.catalogue import Kind
from pullback_service.program.names import WORDS
from pullback_service.program.references import Ref
from pullback_service.program.types import DTYPE_NAMES, DTYPES

MEMORY_FORMATS = {
    name: getattr(torch, name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
_FORMAT_NAMES = {value: name for name, value in MEMORY_FORMATS.items()}
MAX_LIST = 4096


class MismatchError(Exception):
    """A literal is not what the schema asks for; `is_near` if only its value is wrong."""

    def __init__(self, expected: str, got: Any, path: tuple[int, ...] = (), *, is_near: bool = False) -> None:
        super().__init__(expected)
        self.is_near = is_near
        self.expected = expected
        self.got = got
        self.path = path


@dataclass(frozen=True, slots=True)
class Leniency:
    """What else may stand in a slot: a number for a tensor, a pair for a complex number."""

    numbers_as_tensors: bool
    pairs_as_complex: bool


def convert(value: Any, kind: Kind, name: str, leniency: Leniency) -> Any:
    """`value` (references already resolved) as `kind`, for the parameter `name`. Raises MismatchError."""
    if value is None:
        if kind.is_optional:
            return None
        raise MismatchError(str(kind), None)
    if kind.is_list:
        return _convert_list(value, kind, name, leniency)
    return _convert_one(value, kind.base, name, leniency)


def _convert_list(value: Any, kind: Kind, name: str, leniency: Leniency) -> Any:
    if isinstance(value, Ref) and value.is_list and kind.base == "Tensor":
        return value
    if not isinstance(value, list):
        if kind.size is None:
            raise MismatchError(f"{kind}, a list", value)
        return [_convert_one(value, kind.base, name, leniency)] * kind.size
    if len(value) > MAX_LIST:
        raise MismatchError(f"at most {MAX_LIST} items", f"{len(value)} items")
    items: list[Any] = []
    for index, item in enumerate(value):
        if item is None and kind.has_optional_items:
            items.append(None)
            continue
        try:
            items.append(_convert_one(item, kind.base, name, replace(leniency, numbers_as_tensors=False)))
        except MismatchError as error:
            raise MismatchError(error.expected, error.got, (index,), is_near=error.is_near) from None
    return items


def _convert_one(value: Any, base: str, name: str, leniency: Leniency) -> Any:
    if base == "Tensor":
        if isinstance(value, Ref):
            if value.is_list:
                raise MismatchError("a tensor", f"{value}, which is a list of tensors; pick one: {value}.0")
            return value
        if leniency.numbers_as_tensors and (not isinstance(value, str) or value in NON_FINITE):
            return _scalar(value, "a tensor or a number", leniency)
        meant = f'; write "${value}"' if isinstance(value, str) and value.isidentifier() else ""
        raise MismatchError("a reference to a tensor" + meant, value)
    if isinstance(value, Ref):
        raise MismatchError(f"{base}, written out", value)
    if base == "Scalar":
        return _scalar(value, "Scalar", leniency)
    return _CONVERTERS.get(base, _refuse)(value, name)


def _scalar(value: Any, expected: str, leniency: Leniency) -> Any:
    if isinstance(value, complex):
        return value
    if isinstance(value, list) and len(value) == 2 and leniency.pairs_as_complex:
        return complex(*(_float(part, expected) for part in value))
    if isinstance(value, bool | int):
        return _in_int64(value, expected)
    return _float(value, expected)


def _float(value: Any, expected: str = "float") -> float:
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MismatchError(expected, value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MismatchError(f'a finite number (infinity is "Infinity") for {expected}', value, is_near=True)
    return number


def _in_int64(value: int, expected: str) -> int:
    if not -(2**63) <= value < 2**63:
        raise MismatchError(f"{expected} within 64 bits", value, is_near=True)
    return value


def _int(value: Any, name: str) -> int:
    if name in WORDS:
        return _word(value, WORDS[name])
    if isinstance(value, bool) or not isinstance(value, int):
        raise MismatchError("int", value)
    return _in_int64(value, "int")


def _word(value: Any, words: dict[str, int]) -> int:
    if isinstance(value, str) and value in words:
        return words[value]
    if type(value) is int and value in words.values():
        return value
    raise MismatchError(f"one of {', '.join(map(repr, words))}", value, is_near=True)


def _bool(value: Any, _: str) -> bool:
    if not isinstance(value, bool):
        raise MismatchError("bool", value)
    return value


def _str(value: Any, _: str) -> str:
    if not isinstance(value, str):
        raise MismatchError("str", value)
    return value


def _dtype(value: Any, _: str) -> torch.dtype:
    name = value.removeprefix("torch.") if isinstance(value, str) else None
    if name not in DTYPES:
        raise MismatchError(f"a dtype, one of {', '.join(DTYPES)}", value, is_near=isinstance(value, str))
    return DTYPES[name]


def _memory_format(value: Any, _: str) -> torch.memory_format:
    name = value.removeprefix("torch.") if isinstance(value, str) else None
    if name not in MEMORY_FORMATS:
        raise MismatchError(
            f"a memory format, one of {', '.join(MEMORY_FORMATS)}", value, is_near=isinstance(value, str)
        )
    chosen: torch.memory_format = MEMORY_FORMATS[name]
    return chosen


def _layout(value: Any, _: str) -> torch.layout:
    if value not in ("strided", "torch.strided"):
        raise MismatchError("the layout 'strided'", value)
    return torch.strided


def _refuse(value: Any, name: str) -> Any:
    raise MismatchError(f"nothing: {name} is not the graph's to choose", value)


_CONVERTERS: dict[str, Any] = {
    "float": lambda value, _: _float(value),
    "int": _int,
    "bool": _bool,
    "str": _str,
    "dtype": _dtype,
    "MemoryFormat": _memory_format,
    "Layout": _layout,
}


def to_json(value: Any) -> Any:
    """A converted value in the canonical form of the JSON graph."""
    match value:
        case Ref():
            return value.text
        case list():
            return [to_json(item) for item in value]
        case complex():
            return [to_json(value.real), to_json(value.imag)]
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case str():
            return escape(value)
        case torch.dtype():
            return DTYPE_NAMES[value]
        case torch.memory_format():
            return _FORMAT_NAMES[value]
        case torch.layout():
            return "strided"
    return value
