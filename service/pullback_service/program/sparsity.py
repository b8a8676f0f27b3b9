"""Which elements of an input each element of an output can depend on, told by the graph alone.

Pointwise operators keep elements apart, some others only move them. Through any other, everything may depend on
everything, and nothing is known. Rows of a Jacobian that share no column have one colour (Curtis, Powell, Reid 1974).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pullback_service.program.failures import tensors_in
from pullback_service.program.inference import UNKNOWN, Inferred
from pullback_service.program.program import Program, Step
from pullback_service.program.references import Ref, fill, look_up

MAX_SOURCES = 9
"""Elements of an input that one element may depend on and still be told; a stencil on a grid has as many."""

MAX_COLOURS = 32

MAX_ELEMENTS = 2**17
"""Of all values of a graph, up to which they are looked at."""

_MOVES = """
alias broadcast_to cat chunk clone concat concatenate constant_pad_nd contiguous diagonal dsplit dstack expand
expand_as flatten flip fliplr flipud gather hsplit hstack index index_select mT movedim moveaxis narrow numpy_T pad
permute ravel repeat reshape roll rot90 select slice split split_with_sizes squeeze stack swapaxes swapdims t take
tensor_split tile transpose tril triu unbind unflatten unsqueeze view view_as vsplit vstack
"""
MOVES = frozenset(_MOVES.split())
"""Operators whose every element is one of the arguments', or a constant."""

CASTS = frozenset({"to", "double", "float", "half", "bfloat16"})

FILLER = "value"
"""Their parameter that holds the constant."""

Sources = list[Any]
"""Values shaped like the one they tell of: for each element a number of an input's element, from 1 on; 0 for none."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Where dy/dx may be other than zero, as flat indices."""

    rows: Tensor
    columns: Tensor


@dataclass(frozen=True, slots=True)
class Colouring:
    """Row i of every dy/dx has the colour i % count; no two rows of one colour share a column."""

    count: int
    entries: dict[str, Entries]

    def on(self, device: torch.device) -> Colouring:
        """The same, with its entries on a device."""
        return Colouring(
            self.count, {x: Entries(e.rows.to(device), e.columns.to(device)) for x, e in self.entries.items()}
        )


class Sparsity:
    """What is known of a program's Jacobians for inputs of inferred types."""

    def __init__(self, program: Program, inferred: Inferred) -> None:
        self._program = program
        self._inferred = inferred
        self._tables: dict[str, dict[str, Tensor | None]] = {}
        self._colourings: dict[tuple[str, ...], Colouring | None] = {}

    def colouring(self, y: str, leaves: Sequence[str]) -> Colouring | None:
        """The least colours for the Jacobians of one output by the leaves; None where too many entries are possible."""
        key = (y, *leaves)
        if key not in self._colourings:
            self._colourings[key] = self._colour(y, leaves)
        return self._colourings[key]

    def _colour(self, y: str, leaves: Sequence[str]) -> Colouring | None:
        entries = {}
        for x in leaves:
            table = self._table(y, x)
            if table is None:
                return None
            is_one = table >= 0
            rows = torch.arange(table.shape[1]).expand_as(table)
            entries[x] = Entries(rows[is_one], table[is_one])
        for count in range(1, MAX_COLOURS + 1):
            if all(_is_apart(each, count) for each in entries.values()):
                return Colouring(count, entries)
        return None

    def _table(self, y: str, x: str) -> Tensor | None:
        """The elements of `x` that each of y's can depend on, as k rows of flat indices; -1 for none."""
        if x not in self._tables:
            self._tables[x] = _tables(self._program, self._inferred, x)
        return self._tables[x][y]


def _is_apart(entries: Entries, count: int) -> bool:
    """Whether rows that are equal modulo `count` share no column."""
    if not len(entries.rows):
        return True
    place = (entries.rows % count) * (int(entries.columns.max()) + 1) + entries.columns
    owner = torch.empty(int(place.max()) + 1, dtype=torch.int64)
    owner[place] = entries.rows
    return bool((owner[place] == entries.rows).all())


def _tables(program: Program, inferred: Inferred, x: str) -> dict[str, Tensor | None]:
    if any(value is UNKNOWN for value in inferred.values) or inferred.elements > MAX_ELEMENTS:
        return dict.fromkeys(program.outputs)
    known: list[Sources | None] = []
    for name, value in zip(program.arguments, inferred.values, strict=False):
        known.append([torch.arange(1, value.numel() + 1).reshape(value.shape)] if name == x else [])
    for step in program.steps:
        known.append(_of_step(step, program, inferred.values, known))
    return {name: _table(_sources(ref, known)) for name, ref in program.outputs.items()}


def _of_step(step: Step, program: Program, values: list[Any], known: list[Sources | None]) -> Sources | None:
    found = [_sources(ref, known) for ref in step.refs]
    if not any(tensor.requires_grad for tensor in tensors_in(values[step.slot])) or not any(s != [] for s in found):
        return []
    sources = [source for each in found if each is not None for source in each]
    if None in found:
        return None
    if torch.Tag.pointwise in step.call.operator.torch_op.tags or step.call.operator.packet in CASTS:
        return _few([source.expand(values[step.slot].shape) for source in sources])
    if step.call.operator.packet in MOVES:
        try:
            return _few(list(_moved(step, program, values, known)))
        except (_UnknownIndexError, RuntimeError, NotImplementedError):  # no such operator of integers
            return None
    return None


class _UnknownIndexError(Exception):
    """Where elements are moved to depends on numbers that only a request tells."""


def _moved(step: Step, program: Program, values: list[Any], known: list[Sources | None]) -> Iterator[Any]:
    """The operator on the numbers of elements in place of the elements, one argument at a time."""
    slots = {ref.slot for ref in step.refs}
    still = {slot: _still(slot, program, values) for slot in slots}
    for slot in slots:
        for source in known[slot] or ():
            filled: list[Any] = [still.get(each) if each != slot else source for each in range(step.slot)]
            args = [fill(argument, filled) for argument in step.call.args]
            kwargs = {name: fill(argument, filled) for name, argument in step.call.kwargs.items()}
            yield step.call.operator.torch_op(*args, **(kwargs | ({FILLER: 0} if FILLER in kwargs else {})))


def _still(slot: int, program: Program, values: list[Any]) -> Any:
    """What stands for a value none of whose elements is looked for: zeros, but indices as they are."""
    value = values[slot]
    if isinstance(value, list | tuple):
        return [torch.zeros(part.shape, dtype=torch.int64) for part in value]
    if value.is_floating_point() or value.is_complex():
        return torch.zeros(value.shape, dtype=torch.int64)
    name = program.arguments[slot] if slot < len(program.arguments) else ""
    if name not in program.constants:
        raise _UnknownIndexError
    return program.constants[name].cpu()


def _sources(ref: Ref, known: list[Sources | None]) -> Sources | None:
    """Those of what a reference means."""
    sources = known[ref.slot]
    return sources and [look_up(Ref(0, ref.path, ""), [source]) for source in sources]


def _few(sources: Sources) -> Sources | None:
    """Each of them once; None if they are too many."""
    different: Sources = []
    for source in sources:
        if not any(_is_same(source, other) for other in different):
            different.append(source)
        if len(different) > MAX_SOURCES:
            return None
    return different


def _is_same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors_in(one), tensors_in(other), strict=True))


def _table(sources: Sources | None) -> Tensor | None:
    if sources is None:
        return None
    return (
        torch.stack([source.flatten() for source in sources]) - 1 if sources else torch.empty(0, 0, dtype=torch.int64)
    )
