"""What torch itself calls, operator by operator, while a function runs: a straight list that can be run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
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
    """One call, whose results go to the next slots. What it is given lies in `places`; the last go by their `names`."""

    operator: OpOverload
    places: list[Any]
    names: tuple[str, ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]] = field(init=False, compare=False)
    """Gets what it is given out of the values so far."""
    call: Callable[..., Any] = field(init=False, compare=False)
    """Calls the operator with that."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pick", _picker(self.places))
        object.__setattr__(self, "call", _named(self.operator, self.names) if self.names else self.operator)


@dataclass(frozen=True, slots=True)
class Tape:
    """Calls in order. The first slots are the arguments', then come literals; `results` are those of what it gives."""

    literals: list[Any]
    calls: list[Recorded]
    results: list[int | None]

    def run(self, arguments: Sequence[Tensor], literals: Sequence[Any] | None = None) -> list[Tensor | None]:
        """The results for other arguments, of the same dtypes and shapes, and perhaps other literals."""
        values = [*arguments, *(self.literals if literals is None else literals)]
        for recorded in self.calls:
            result = recorded.call(*recorded.pick(values))
            if type(result) is Tensor:
                values.append(result)
            else:
                values.extend(result)
        return [None if index is None else values[index] for index in self.results]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the calls that are made while it is entered; `tape` gives them."""

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = {id(tensor): index for index, tensor in enumerate(arguments)}
        self._kept: list[Any] = list(arguments)  # an id is that of one tensor only while it lives
        self._arguments = len(arguments)
        self._count = len(arguments)
        self._doubt = ""
        self._calls: list[tuple[OpOverload, list[Any], dict[str, Any]]] = []

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._kept.append(result)
        if func in ONLY_COPIES_A_HANDLE:
            self._slots[id(result)] = self._slot(args[0]).index
            return result
        if func._schema.is_mutable or DEPENDS_ON_MORE & set(func.tags) or not isinstance(result, Tensor | tuple | list):
            self._doubt = f"{func} is called"
            return result
        noted = [self._noted(argument) for argument in args], {n: self._noted(v) for n, v in (kwargs or {}).items()}
        tensors = [result] if isinstance(result, Tensor) else list(result)
        for tensor in tensors:
            self._slots[id(tensor)] = self._count
            self._count += 1
        self._calls.append((func, *noted))
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
        slots = [None if tensor is None else self._slot(tensor) for tensor in results]
        if self._doubt:
            raise NotRepeatable(self._doubt)
        writer = _Writer(self._arguments, [v for _, args, kwargs in self._calls for v in (*args, *kwargs.values())])
        calls = [
            Recorded(func, writer.places([*args, *kwargs.values()]), tuple(kwargs))
            for func, args, kwargs in self._calls
        ]
        return Tape(writer.literals, calls, [None if slot is None else writer.place(slot) for slot in slots])


class _Writer:
    """Gives every literal a slot of its own, after the arguments."""

    def __init__(self, arguments: int, given: Sequence[Any]) -> None:
        self.literals = [value for value in given if not _holds_slots(value)]
        self._arguments = arguments
        self._next = arguments

    def place(self, slot: Slot) -> int:
        """Where that tensor lies now."""
        return slot.index if slot.index < self._arguments else slot.index + len(self.literals)

    def places(self, given: Sequence[Any]) -> list[Any]:
        """Where these arguments lie. To be called in the order of the calls."""
        return [self._placed(value) for value in given]

    def _placed(self, value: Any) -> Any:
        if isinstance(value, Slot):
            return self.place(value)
        if _holds_slots(value):
            return [self.place(item) if isinstance(item, Slot) else (item,) for item in value]
        self._next += 1
        return self._next - 1


def _holds_slots(value: Any) -> bool:
    return isinstance(value, Slot) or (isinstance(value, list) and any(isinstance(item, Slot) for item in value))


def _named(operator: OpOverload, names: tuple[str, ...]) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        first = len(given) - len(names)
        return operator(*given[:first], **dict(zip(names, given[first:], strict=True)))

    return call


def _picker(places: list[Any]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    if all(isinstance(place, int) for place in places):
        return itemgetter(*places) if len(places) > 1 else lambda values: (values[places[0]],) if places else ()
    return lambda values: tuple(_picked(place, values) for place in places)


def _picked(place: Any, values: Sequence[Any]) -> Any:
    if isinstance(place, int):
        return values[place]
    return [values[item] if isinstance(item, int) else item[0] for item in place]
