"""References of a compiled program: where a value lies, and how an argument is filled from the values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the program: the slot of what made it, and which of several it is."""

    slot: int
    path: tuple[int, ...]
    text: str
    is_list: bool = False

    def __str__(self) -> str:
        return self.text


def look_up(ref: Ref, values: Sequence[Any]) -> Any:
    """The value that `ref` stands for."""
    value = values[ref.slot]
    for index in ref.path:
        value = value[index]
    return value


def fill(argument: Any, values: Sequence[Any]) -> Any:
    """`argument` with every reference replaced by its value."""
    if type(argument) is Ref:
        return look_up(argument, values)
    if type(argument) is list:
        return [fill(item, values) for item in argument]
    return argument


def references(argument: Any) -> Iterator[Ref]:
    """Every reference in an argument."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, list):
        for item in argument:
            yield from references(item)


def literals(argument: Any) -> Iterator[float | complex]:
    """Every floating or complex number that is written in an argument."""
    if isinstance(argument, float | complex):
        yield argument
    elif isinstance(argument, list):
        for item in argument:
            yield from literals(item)
