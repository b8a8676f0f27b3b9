"""The names of a graph while it is compiled, and what a reference to each of them means."""

from __future__ import annotations

from typing import Any

from pullback_schemas.graphs import split_reference
from pullback_schemas.problems import BadReference
from pullback_service.program.catalogue import Returned
from pullback_service.program.references import Ref


class Scope:
    """Values by name; of those with several parts, also the parts' names (None for a list)."""

    def __init__(self) -> None:
        self._values: dict[str, Ref] = {}
        self._parts: dict[str, list[str] | None] = {}

    def define(self, name: str, slot: int, returns: tuple[Returned, ...] = ()) -> None:
        """`name` is what the step at `slot` returns; without `returns`, a single tensor."""
        is_list = len(returns) == 1 and returns[0].is_list
        self._values[name] = Ref(slot, (), f"${name}", is_list)
        if is_list:
            self._parts[name] = None
        elif len(returns) > 1:
            self._parts[name] = [value.name for value in returns]

    def alias(self, name: str, ref: Ref) -> None:
        """`name` is another name of a value."""
        self._values[name] = ref

    def has_parts(self, name: str) -> bool:
        """Whether `name` stands for several tensors."""
        return name in self._parts

    def read(self, value: Any, pointer: str, node: str) -> Any:
        """A JSON argument with its references resolved and its `$$` undone. Raises BadReference."""
        if isinstance(value, list):
            return [self.read(item, f"{pointer}/{index}", node) for index, item in enumerate(value)]
        if not isinstance(value, str) or not value.startswith("$"):
            return value
        if value.startswith("$$"):
            return value[1:]
        name, path = split_reference(value)
        return self.pick(name, path, pointer, node)

    def pick(self, name: str, path: tuple[str, ...], pointer: str, node: str | None) -> Ref:
        """The value that `$name.path` means. Raises BadReference."""
        value = self._values[name]
        if not self.has_parts(name):
            if path:
                raise BadReference(
                    f"{name!r} is one tensor; there is no {'.'.join(path)!r} in it.",
                    pointer=pointer,
                    node=node,
                    expected=value.text,
                )
            return value
        parts = self._parts[name]
        if parts is None and not path:
            return value
        index = _number(path) if parts is None else _index_among(parts, path)
        if index is None:
            raise BadReference(
                f"{name!r} is {'a list of' if parts is None else len(parts)} tensors; a reference picks one.",
                pointer=pointer,
                node=node,
                expected=f"${name}.0" if parts is None else [_part(name, parts, i) for i in range(len(parts))],
                got="$" + ".".join((name, *path)),
            )
        return Ref(value.slot, (index,), f"${name}.{index}" if parts is None else _part(name, parts, index))


def _part(name: str, parts: list[str], index: int) -> str:
    return f"${name}.{parts[index] or index}"


def _number(path: tuple[str, ...]) -> int | None:
    is_number = len(path) == 1 and path[0].isascii() and path[0].isdigit() and len(path[0]) <= 6
    return int(path[0]) if is_number else None


def _index_among(parts: list[str], path: tuple[str, ...]) -> int | None:
    if len(path) == 1 and path[0] and path[0] in parts:
        return parts.index(path[0])
    number = _number(path)
    return number if number is not None and number < len(parts) else None
