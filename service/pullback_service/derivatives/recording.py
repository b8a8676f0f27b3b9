"""What torch itself calls, operator by operator, while a function runs: a straight list that can be run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

ONLY_COPIES_A_HANDLE = {torch.ops.aten.detach.default, torch.ops.aten.alias.default}
DEPENDS_ON_MORE = {
    # A branch that was taken for one value need not be right for the next.
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
}


UNKNOWN = -1


class NotRepeatable(Exception):
    """What was called does not tell what is to be called for other numbers."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies among the values of a tape."""

    index: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call, whose results go to the next slots; `unused` are the slots that nothing needs after it."""

    operator: OpOverload
    args: list[Any]
    kwargs: dict[str, Any]
    results: int
    unused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tape:
    """Calls in order. The first slots are the arguments', `results` are the slots of what it gives."""

    calls: tuple[Recorded, ...]
    results: tuple[Slot | None, ...]

    def run(self, arguments: Sequence[Tensor]) -> list[Tensor | None]:
        """The results for other arguments, of the same dtypes and shapes."""
        values: list[Any] = list(arguments)
        for call in self.calls:
            args = [_filled(argument, values) for argument in call.args]
            result = call.operator(*args, **{name: _filled(value, values) for name, value in call.kwargs.items()})
            if type(result) is Tensor:
                values.append(result)
            else:
                values.extend(result)
            for index in call.unused:
                values[index] = None
        return [None if slot is None else values[slot.index] for slot in self.results]


def _filled(argument: Any, values: Sequence[Any]) -> Any:
    kind = type(argument)
    if kind is Slot:
        return values[argument.index]
    return [_filled(item, values) for item in argument] if kind is list else argument


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the calls that are made while it is entered; `tape` gives them."""

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = {id(tensor): index for index, tensor in enumerate(arguments)}
        self._kept: list[Any] = list(arguments)  # an id is that of one tensor only while it lives
        self._arguments = len(arguments)
        self._count = len(arguments)
        self._doubt = ""
        self._calls: list[tuple[OpOverload, list[Any], dict[str, Any], int]] = []

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._kept.append(result)
        if func in ONLY_COPIES_A_HANDLE:
            self._slots[id(result)] = self._slot(args[0]).index
            return result
        if func._schema.is_mutable or DEPENDS_ON_MORE & set(func.tags):
            self._doubt = f"{func} is called"
        noted = [self._noted(argument) for argument in args], {n: self._noted(v) for n, v in (kwargs or {}).items()}
        tensors = [result] if isinstance(result, Tensor) else list(result)
        for tensor in tensors:
            self._slots[id(tensor)] = self._count
            self._count += 1
        self._calls.append((func, *noted, len(tensors)))
        return result

    def _noted(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return self._slot(argument)
        return [self._noted(item) for item in argument] if isinstance(argument, list | tuple) else argument

    def _slot(self, tensor: Tensor) -> Slot:
        index = self._slots.get(id(tensor), UNKNOWN)
        if index == UNKNOWN:
            self._doubt = "a tensor came from elsewhere"
        return Slot(index)

    def tape(self, results: Sequence[Tensor | None]) -> Tape:
        """The calls that lead to these results. Raises NotRepeatable."""
        slots = tuple(None if tensor is None else self._slot(tensor) for tensor in results)
        if self._doubt:
            raise NotRepeatable(self._doubt)
        needed = {slot.index for slot in slots if slot is not None}
        calls: list[Recorded] = []
        end = self._count
        for func, args, kwargs, count in reversed(self._calls):
            own = set(range(end - count, end))
            end -= count
            used = {slot.index for slot in _slots_in([*args, *kwargs.values()])} | own
            unused = tuple(sorted(index for index in used - needed if index >= self._arguments))
            calls.append(Recorded(func, args, kwargs, count, unused))
            needed |= used
        return Tape(tuple(reversed(calls)), slots)


def _slots_in(argument: Any) -> Iterator[Slot]:
    if isinstance(argument, Slot):
        yield argument
    elif isinstance(argument, list):
        for item in argument:
            yield from _slots_in(item)
