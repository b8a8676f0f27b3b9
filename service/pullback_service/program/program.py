"""A compiled graph: every name resolved, every overload chosen, nothing left to decide but shapes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.graphs import is_reference
from pullback_schemas.problems import ProblemError
from pullback_schemas.tensors import TensorSpec
from pullback_service.program.binding import Call, bind
from pullback_service.program.catalogue import catalogue
from pullback_service.program.literals import to_json
from pullback_service.program.randomness import draws_random
from pullback_service.program.references import Ref, references
from pullback_service.program.types import DTYPE_NAMES


@dataclass(frozen=True)
class Step:
    """One call of the program; its value goes into `slot`. `pointer` is the node's place in the graph sent.

    `placing` is what an operator that makes tensors out of nothing is told besides: where, if not on the CPU.
    """

    id: str
    call: Call
    slot: int
    pointer: str
    placing: Mapping[str, torch.device]

    @cached_property
    def refs(self) -> list[Ref]:
        """The values it needs."""
        return list(references([*self.call.args, *self.call.kwargs.values()]))

    def to_json(self) -> dict[str, Any]:
        """The node in canonical form."""
        return {
            "id": self.id,
            "op": self.call.operator.name,
            "args": [to_json(value) for value in self.call.args],
            "kwargs": {name: to_json(value) for name, value in self.call.kwargs.items()},
        }

    @cached_property
    def shortest_op(self) -> str:
        """The packet's name if it means this overload with these arguments, else the overload's."""
        operator = self.call.operator
        node = self.to_json()
        args = [self._read(value) for value in node["args"]]
        kwargs = {name: self._read(value) for name, value in node["kwargs"].items()}
        try:
            again = bind(*catalogue().find(operator.packet), args, kwargs, self.id)
        except ProblemError:
            return operator.name
        return operator.packet if again.operator is operator else operator.name

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._read(item) for item in value]
        if is_reference(value):
            return next(ref for ref in self.refs if ref.text == value)
        return value.removeprefix("$") if isinstance(value, str) else value


@dataclass(frozen=True, eq=False)
class Program:
    """A function as data. Slots: the inputs, then the constants, then the steps in topological order."""

    inputs: dict[str, TensorSpec]
    constants: dict[str, Tensor]
    steps: tuple[Step, ...]
    outputs: dict[str, Ref]

    @property
    def arguments(self) -> list[str]:
        """The names of inputs and constants, in the order of their slots."""
        return [*self.inputs, *self.constants]

    @cached_property
    def isolated(self) -> list[Step]:
        """The steps whose kernels may corrupt the memory of the process that runs them."""
        return [step for step in self.steps if step.call.operator.tier == "isolated"]

    def reaches_output(self, names: Collection[str]) -> bool:
        """Whether some output is computed from one of these inputs or constants."""
        reached = {slot for slot, name in enumerate(self.arguments) if name in names}
        for step in self.steps:
            if any(ref.slot in reached for ref in step.refs):
                reached.add(step.slot)
        return any(ref.slot in reached for ref in self.outputs.values())

    @cached_property
    def draws_random(self) -> bool:
        """Whether some step draws random numbers."""
        return any(draws_random(step.call) for step in self.steps)

    @cached_property
    def last_uses(self) -> list[list[int]]:
        """By step: the slots of earlier steps that nothing needs after it."""
        first = len(self.arguments)
        needed = {ref.slot for ref in self.outputs.values()}
        last_uses: list[list[int]] = []
        for step in reversed(self.steps):
            used = {step.slot, *(ref.slot for ref in step.refs if ref.slot >= first)}
            last_uses.append(sorted(used - needed))
            needed |= used
        return last_uses[::-1]

    def to_json(self, constants: Mapping[str, Any]) -> dict[str, Any]:
        """The canonical form, with `constants` in whatever form the caller wants them."""
        return {
            "inputs": {name: spec.model_dump(exclude_none=True) for name, spec in self.inputs.items()},
            "constants": dict(constants),
            "nodes": [step.to_json() for step in self.steps],
            "outputs": {name: ref.text for name, ref in self.outputs.items()},
        }

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical form as compact JSON, a constant standing as its dtype, shape and bytes' SHA-256."""
        canonical = self.to_json({name: _digest(tensor) for name, tensor in self.constants.items()})
        return hashlib.sha256(json.dumps(canonical, separators=(",", ":")).encode()).digest()

    @property
    def sha256(self) -> str:
        """The digest in hexadecimal."""
        return self.digest.hex()


def _digest(tensor: Tensor) -> dict[str, Any]:
    bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    return {
        "dtype": DTYPE_NAMES[tensor.dtype],
        "shape": list(tensor.shape),
        "sha256": hashlib.sha256(bits.cpu().numpy().tobytes()).hexdigest(),
    }
