"""The operators that graphs may call: names from the committed table, signatures from PyTorch's schemas."""

from __future__ import annotations

import difflib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from pullback_schemas.problems import RefusedOp, UnknownOp
from pullback_service.program.classification import TABLE
from pullback_service.program.names import Spelling, instead_of, read_name


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of an argument: a base kind, in a list or not, None allowed or not."""

    base: str
    is_optional: bool = False
    is_list: bool = False
    has_optional_items: bool = False
    size: int | None = None

    def __str__(self) -> str:
        item = self.base + ("?" if self.has_optional_items else "")
        listed = f"{item}[{self.size or ''}]" if self.is_list else item
        return listed + ("?" if self.is_optional else "")


_BASES = {"number": "Scalar", "ScalarType": "dtype"}


def _kind_of(argument: Any) -> Kind:
    text = str(argument.real_type)
    is_optional = text.startswith("Optional[")
    text = text.removeprefix("Optional[").removesuffix("]") if is_optional else text
    is_list = text.startswith("List[")
    text = text.removeprefix("List[").removesuffix("]") if is_list else text
    has_optional_items = text.startswith("Optional[")
    text = text.removeprefix("Optional[").removesuffix("]") if has_optional_items else text
    return Kind(_BASES.get(text, text), is_optional, is_list, has_optional_items, argument.N)


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of an operator."""

    name: str
    kind: Kind
    is_keyword_only: bool
    is_required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Returned:
    """One value that an operator returns; `name` may be empty."""

    name: str
    is_list: bool


@dataclass(frozen=True, eq=False)
class Operator:
    """One overload that is served: what to call and how."""

    name: str
    packet: str
    tier: str
    is_differentiable: bool
    reason: str

    @cached_property
    def torch_op(self) -> Any:
        """The `torch._ops.OpOverload`."""
        _, packet, overload = self.name.split(".")
        return getattr(getattr(torch.ops.aten, packet), overload)

    @cached_property
    def signature(self) -> str:
        """PyTorch's schema, as text."""
        return str(self.torch_op._schema).removeprefix("aten::")

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """The parameters in order."""
        return tuple(
            Argument(a.name, _kind_of(a), a.kwarg_only, not a.has_default_value(), a.default_value)
            for a in self.torch_op._schema.arguments
        )

    @cached_property
    def returns(self) -> tuple[Returned, ...]:
        """What it returns."""
        return tuple(Returned(r.name or "", "List" in str(r.type)) for r in self.torch_op._schema.returns)

    @cached_property
    def is_random(self) -> bool:
        """Whether it may draw random numbers."""
        return torch.Tag.nondeterministic_seeded in self.torch_op.tags

    @cached_property
    def takes_numbers_as_tensors(self) -> bool:
        """Whether a number may stand for a tensor, as in `x * 2`."""
        return bool(torch._C._should_allow_numbers_as_tensors(self.packet))


class Catalogue:
    """Every overload by exact name; nothing is ever looked up by attribute with a caller's string."""

    def __init__(self, rows: list[tuple[str, str, str, str]]) -> None:
        self._operators: dict[str, list[Operator]] = defaultdict(list)
        self._refused: dict[str, dict[str, str]] = defaultdict(dict)
        for name, tier, derivative, reason in rows:
            _, packet, overload = name.split(".")
            if tier == "refused":
                self._refused[packet][overload] = reason
            elif _is_installed(packet, overload):
                self._operators[packet].append(Operator(name, packet, tier, derivative == "differentiable", reason))
        for packet, operators in self._operators.items():
            order = getattr(torch.ops.aten, packet).overloads()
            operators.sort(key=lambda o: order.index(o.name.split(".")[2]))

    @property
    def packets(self) -> list[str]:
        """The names of all operators that are served."""
        return sorted(self._operators)

    def overloads(self, packet: str) -> list[Operator]:
        """The overloads of a packet that are served, in the order in which torch tries them."""
        return self._operators.get(packet, [])

    def refusals(self, packet: str) -> dict[str, str]:
        """The overloads of a packet that are not served, with the reasons."""
        return self._refused.get(packet, {})

    def find(self, text: str) -> tuple[Spelling, list[Operator]]:
        """The overloads that `text` may mean.

        Raises UnknownOp with the nearest names, or RefusedOp with the reason.
        """
        spelling = read_name(text)
        candidates = self.overloads(spelling.packet)
        if spelling.overload is not None:
            exact = f"aten.{spelling.packet}.{spelling.overload}"
            candidates = [operator for operator in candidates if operator.name == exact]
        if candidates:
            return spelling, candidates
        instead = instead_of(text)
        if instead:
            raise RefusedOp(f"{text[:64]!r} is no single operator that is served.", got=text[:64], hint=instead)
        self._refuse(text, spelling)
        last = text.rpartition(".")[2]
        if not self.overloads(last):
            self._refuse(text, Spelling(last))
        raise self._unknown(text, spelling)

    def _refuse(self, text: str, spelling: Spelling) -> None:
        refused = self.refusals(spelling.packet)
        if not refused or (spelling.overload is not None and spelling.overload not in refused):
            return
        reason = refused[spelling.overload] if spelling.overload is not None else next(iter(refused.values()))
        functional = spelling.packet.rstrip("_")
        twin = functional if functional != spelling.packet and self.overloads(functional) else None
        raise RefusedOp(
            f"The operator {text!r} is not served: {reason}.",
            got=text,
            hint=f"Use {twin!r}." if twin else "GET /v1/ops lists what is served.",
        )

    def nearest(self, packet: str) -> list[str]:
        """The names of operators that look most like `packet`."""
        return difflib.get_close_matches(packet[:64], self.packets, n=3, cutoff=0.7)

    def _unknown(self, text: str, spelling: Spelling) -> UnknownOp:
        served = [operator.name for operator in self.overloads(spelling.packet)]
        choices = served or self.nearest(spelling.packet.rpartition(".")[2])
        return UnknownOp(
            f"There is no operator {text[:64]!r}.",
            got=text[:64],
            expected=choices or None,
            hint=f"Did you mean {' or '.join(map(repr, choices))}?" if choices else "GET /v1/ops lists what is served.",
        )


def _is_installed(packet: str, overload: str) -> bool:
    found = getattr(torch.ops.aten, packet, None)
    return found is not None and hasattr(found, overload)


CONFORMANCE = Path(__file__).with_name("conformance.tsv")
MODES = ("reverse", "batched_reverse", "forward", "second_order")


@cache
def conformance() -> dict[str, dict[str, dict[str, int]]]:
    """By packet and mode: how many of PyTorch's own samples were tried, and how many gave torch.autograd's numbers."""
    found: dict[str, dict[str, dict[str, int]]] = defaultdict(dict)
    for line in CONFORMANCE.read_text().splitlines():
        packet, *counts = line.split("\t")
        for mode, count in zip(MODES, counts, strict=True):
            right, samples = map(int, count.split("/"))
            if samples:
                found[packet][mode] = {"samples": samples, "right": right}
    return found


@cache
def catalogue() -> Catalogue:
    """The catalogue of the committed table."""
    lines = TABLE.read_text().splitlines()
    return Catalogue([tuple(line.split("\t")) for line in lines])  # type: ignore[misc]
