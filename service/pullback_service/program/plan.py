"""A program for inputs of given types: all shapes known, all choices made, ready to run again and again."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pullback_schemas.problems import (
    MAX_LISTED,
    DtypeMismatch,
    Findings,
    MissingInput,
    NotDifferentiable,
    ShapeMismatch,
    UnknownInput,
    pointer_to,
)
from pullback_schemas.tensors import TensorSpec
from pullback_service.program.budget import refuse_over_budget, refuse_passes
from pullback_service.program.inference import Inferred, Limits, infer
from pullback_service.program.program import Program
from pullback_service.program.sparsity import Sparsity
from pullback_service.program.types import DTYPE_NAMES, DTYPES, TensorType, type_of

InputTypes = Mapping[str, TensorType | None]


@dataclass(frozen=True, eq=False)
class Plan:
    """What to run, for which types, and what to differentiate. `wrt` names inputs or constants."""

    program: Program
    inferred: Inferred
    wrt: tuple[str, ...]
    limits: Limits
    outputs: dict[str, TensorType | None]

    @property
    def is_static(self) -> bool:
        """Whether the types of all outputs are known before the run."""
        return None not in self.outputs.values()

    def refuse_passes(self, passes: int, pointer: str) -> None:
        """Raise LimitExceeded where so many derivatives at one point are too much work; `pointer` is what asks."""
        refuse_passes(self.program, self.inferred, self.limits, passes=passes, pointer=pointer)

    @cached_property
    def flops(self) -> int:
        """The floating-point operations of one forward run, estimated."""
        return sum(spent.flops for spent in self.inferred.spent)

    @cached_property
    def sparsity(self) -> Sparsity:
        """Where its Jacobians can be other than zero."""
        return Sparsity(self.program, self.inferred)


def make_plan(program: Program, inputs: InputTypes, wrt: Sequence[str] | None, limits: Limits) -> Plan:
    """The plan for `program` with inputs of these types (None: unknown), differentiated by `wrt`.

    `wrt` None means every floating or complex input; empty means no derivative. Inputs must have been
    checked with `check_inputs`. Raises what `infer` raises, and MemoryLimit or LimitExceeded for a run over budget.
    """
    chosen = default_wrt(inputs) if wrt is None else tuple(wrt)
    inferred = infer(program, {name: inputs.get(name) for name in program.inputs}, frozenset(chosen), limits)
    refuse_over_budget(program, inferred, limits, is_backward=bool(chosen))
    outputs = {name: inferred.type_of(ref) for name, ref in program.outputs.items()}
    return Plan(program, inferred, chosen, limits, outputs)


def default_wrt(inputs: InputTypes) -> tuple[str, ...]:
    """Every floating or complex input."""
    return tuple(name for name, kind in inputs.items() if kind and kind.is_differentiable)


def check_inputs(program: Program, inputs: InputTypes, *, complete: bool) -> None:
    """Compare what came with what the graph declares; `complete` if every input must have come.

    Raises UnknownInput, MissingInput, DtypeMismatch or ShapeMismatch for each, under /inputs.
    """
    findings = Findings()
    for name in inputs:
        if name not in program.inputs and len(findings.errors) < MAX_LISTED:
            findings.add(unknown_input(program, name, pointer_to("inputs", name)))
    sizes: dict[str, tuple[int, str]] = {}
    for name, spec in program.inputs.items():
        kind = inputs.get(name)
        if kind is not None:
            with findings.catch():
                _check_input(name, kind, spec, sizes)
        elif complete and name not in inputs and len(findings.errors) < MAX_LISTED:
            findings.add(
                MissingInput(
                    f"The graph needs the input {name!r}.",
                    pointer=pointer_to("inputs"),
                    expected=sorted(program.inputs)[:MAX_LISTED],
                    got=sorted(inputs)[:MAX_LISTED],
                    hint=f"Send inputs[{name!r}], or define {name!r} in the graph.",
                )
            )
    findings.check()


def unknown_input(program: Program, name: str, pointer: str) -> UnknownInput:
    """The problem of a name that is no input of the graph."""
    close = difflib.get_close_matches(name[:64], program.arguments, n=1)
    return UnknownInput(
        f"The graph has no input {name!r}.",
        pointer=pointer,
        expected=sorted(program.arguments)[:MAX_LISTED],
        got=name,
        hint=f"Did you mean {close[0]!r}?" if close else None,
    )


def _check_input(name: str, kind: TensorType, spec: TensorSpec, sizes: dict[str, tuple[int, str]]) -> None:
    pointer = pointer_to("inputs", name)
    if spec.dtype and kind.dtype != DTYPES[spec.dtype]:
        raise DtypeMismatch(
            f"The input {name!r} is declared as {spec.dtype}.",
            pointer=pointer,
            expected=spec.dtype,
            got=DTYPE_NAMES[kind.dtype],
        )
    if spec.shape is None:
        return
    if len(spec.shape) != len(kind.shape):
        raise _wrong_shape(name, spec, kind, pointer, f"it has {len(kind.shape)} axes")
    for size, declared in zip(kind.shape, spec.shape, strict=True):
        if isinstance(declared, str):
            known, first = sizes.setdefault(declared, (size, name))
            if known != size:
                raise _wrong_shape(name, spec, kind, pointer, f"{declared!r} is {known} in the input {first!r}")
        elif declared != size:
            raise _wrong_shape(name, spec, kind, pointer, f"{declared} is declared where it has {size}")


def _wrong_shape(name: str, spec: TensorSpec, kind: TensorType, pointer: str, why: str) -> ShapeMismatch:
    return ShapeMismatch(
        f"The input {name!r} does not have the declared shape: {why}.",
        pointer=pointer,
        expected=spec.shape,
        got=list(kind.shape),
    )


def check_wrt(program: Program, inputs: InputTypes, wrt: Iterable[str], pointers: Iterable[str]) -> None:
    """Each name in `wrt` is an input or constant with a floating or complex dtype; problems are at its pointer."""
    findings = Findings()
    kinds = {**inputs, **{name: type_of(tensor) for name, tensor in program.constants.items()}}
    for name, pointer in zip(wrt, pointers, strict=True):
        if name not in program.inputs and name not in program.constants:
            findings.add(unknown_input(program, name, pointer))
            continue
        kind = kinds.get(name)
        if kind is not None and not kind.is_differentiable:
            findings.add(
                NotDifferentiable(
                    f"{name!r} has dtype {DTYPE_NAMES[kind.dtype]}; only floating and complex tensors have gradients.",
                    pointer=pointer,
                    expected="a floating or complex dtype",
                    got=DTYPE_NAMES[kind.dtype],
                )
            )
    findings.check()
