"""Shapes and dtypes of everything a program computes, found with fake tensors before anything runs.

Runs after the operator table and the argument guards, since FakeTensor itself can hang or crash outside them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)

from pullback_schemas.problems import (
    BadReference,
    DtypeMismatch,
    LimitExceeded,
    RefusedOp,
)
from pullback_service.program.failures import naming_step, tensors_in
from pullback_service.program.guards import SHAPE_GUARDS
from pullback_service.program.metering import MeteredFakes, Spent
from pullback_service.program.probing import can_be_differentiated
from pullback_service.program.program import Program, Step
from pullback_service.program.references import Ref, fill, look_up
from pullback_service.program.sizes import BOUNDS, READS_DATA, check_index, check_pieces, without_masks
from pullback_service.program.types import DTYPE_NAMES, DTYPES, TensorType, extent, refuse_shape, type_of

logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)

ONE_DTYPE = frozenset(
    f"aten.{packet}.default"
    for packet in (
        *("addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "dot", "einsum", "inner"),
        *(
            "linalg_matmul",
            "linalg_multi_dot",
            "linalg_solve",
            "linear",
            "matmul",
            "mm",
            "mv",
            "vdot",
            "cdist",
        ),
        *("conv1d", "conv2d", "conv3d", "bilinear", "tensordot"),
    )
)
"""Operators whose tensors must share a dtype, which their fake kernels do not check."""

UNKNOWN = object()
"""The value of a step whose shape only the run can tell."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a request may be."""

    max_nodes: int
    max_tensor_elements: int
    max_total_elements: int
    max_memory_bytes: int
    max_touched_elements: int
    max_flops: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """What is known before the run: fake values by slot, UNKNOWN where only the run can tell; what each step takes."""

    values: list[Any]
    spent: list[Spent]
    late: frozenset[int]
    elements: int
    bytes: int
    tape: dict[Any, bool] = field(default_factory=dict, repr=False, compare=False)
    """Which nodes of the fake values' tape have derivatives, as far as anybody asked."""

    def type_of(self, ref: Ref) -> TensorType | None:
        """The dtype and shape of a value, None if unknown."""
        value = self.values[ref.slot]
        return None if value is UNKNOWN else type_of(look_up(ref, self.values))

    def requires_grad(self, ref: Ref) -> bool | None:
        """Torch's own `requires_grad` of the value, None if unknown."""
        value = self.values[ref.slot]
        return None if value is UNKNOWN else bool(look_up(ref, self.values).requires_grad)

    def is_differentiable(self, ref: Ref) -> bool | None:
        """Whether a gradient flows through the value all the way to wrt, None if unknown."""
        is_required = self.requires_grad(ref)
        return is_required and can_be_differentiated(look_up(ref, self.values), self.tape)


def infer(program: Program, inputs: Mapping[str, TensorType | None], wrt: frozenset[str], limits: Limits) -> Inferred:
    """The types of all values for inputs of these types; None for an input of unknown type.

    Raises IncompatibleArguments, LimitExceeded or BadReference, naming the node; pointers are relative to
    the graph.
    """
    mode = MeteredFakes()
    spent: list[Spent] = []
    values: list[Any] = [_fake(mode, kind, name in wrt) for name, kind in inputs.items()]
    values += [_fake(mode, type_of(t), name in wrt) for name, t in program.constants.items()]
    mode.read()
    late: set[int] = set()
    elements = total_bytes = 0
    with torch.set_grad_enabled(bool(wrt)):
        for step in program.steps:
            value = UNKNOWN
            if all(values[ref.slot] is not UNKNOWN for ref in step.refs):
                value = infer_step(step, values, limits, mode)
            if value is UNKNOWN:
                late.add(step.slot)
            values.append(value)
            spent.append(mode.read())
            for tensor in tensors_in(value):
                elements += tensor.numel()
                total_bytes += tensor.numel() * tensor.element_size()
            if elements > limits.max_total_elements:
                raise _too_large(step, "the values up to here together have", elements, limits.max_total_elements)
    for name, ref in program.outputs.items():
        with naming_output(name):
            if values[ref.slot] is not UNKNOWN:
                look_up(ref, values)
    return Inferred(values, spent, frozenset(late), elements, total_bytes)


def infer_late(step: Step, values: list[Any], limits: Limits) -> None:
    """The same checks for one step, with the real values of its arguments, just before it runs."""
    args, kwargs = _filled(step, values)
    bound = BOUNDS.get(step.call.operator.name)
    if bound is not None:
        with naming_step(step, args, kwargs):
            _check_shapes(step, args, kwargs)
            elements = bound(step.call.named(args, kwargs))
        if elements > limits.max_tensor_elements:
            raise _too_large(step, "it could give", elements, limits.max_tensor_elements)
        return
    with naming_step(step, args, kwargs):
        args = without_masks(step.call.operator.name, args)
    mode = MeteredFakes()
    fakes = _map_tensors(args, lambda t: _fake(mode, type_of(t), t.requires_grad))
    fake_kwargs = {
        name: _map_tensors(value, lambda t: _fake(mode, type_of(t), t.requires_grad)) for name, value in kwargs.items()
    }
    if _run_fake(step, fakes, fake_kwargs, limits, mode) is UNKNOWN:
        raise RefusedOp(
            f"The size of {step.call.operator.name} depends on the data, and nothing bounds it.",
            pointer=step.pointer,
            node=step.id,
        )


def infer_step(step: Step, values: list[Any], limits: Limits, mode: MeteredFakes) -> Any:
    """The fake value of one step, or UNKNOWN."""
    args, kwargs = _filled(step, values)
    return _run_fake(step, args, kwargs, limits, mode)


def _run_fake(step: Step, args: list[Any], kwargs: dict[str, Any], limits: Limits, mode: MeteredFakes) -> Any:
    operator = step.call.operator
    with naming_step(step, args, kwargs):
        _check_shapes(step, args, kwargs)
        if operator.name in READS_DATA:
            return UNKNOWN
        try:
            with mode:
                value = operator.torch_op(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException):
            return UNKNOWN
        except (UnsupportedFakeTensorException, UnsupportedOperatorException):
            if operator.name in BOUNDS:
                return UNKNOWN
            raise RefusedOp(f"The shape of {operator.name} cannot be told before it runs.") from None
    for tensor in tensors_in(value):
        if extent(tensor.shape) > limits.max_tensor_elements:
            raise _too_large(step, "it would give", extent(tensor.shape), limits.max_tensor_elements)
        refuse_shape(tensor.shape, limits.max_tensor_elements, step.pointer, step.id)
        if tensor.dtype not in DTYPE_NAMES:
            raise RefusedOp(
                f"{operator.name} would give {tensor.dtype}, which is not served.",
                pointer=step.pointer,
                node=step.id,
                expected=list(DTYPES),
                got=str(tensor.dtype),
            )
    return value


def _check_shapes(step: Step, args: list[Any], kwargs: dict[str, Any]) -> None:
    """What torch's fake kernels do not look at."""
    check_pieces(step.call, args)
    check_index(step.call, args)
    guard = SHAPE_GUARDS.get(step.call.operator.name)
    if guard:
        guard(step.call.named(args, kwargs))
    if step.call.operator.name in ONE_DTYPE:
        _check_one_dtype([*tensors_in(args), *tensors_in(list(kwargs.values()))])


def _filled(step: Step, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with values for references. Raises BadReference past the end of a list."""
    try:
        args = [fill(argument, values) for argument in step.call.args]
        return args, {name: fill(argument, values) for name, argument in step.call.kwargs.items()}
    except IndexError:
        refs = [ref for ref in step.refs if ref.path and ref.path[0] >= len(values[ref.slot])]
        raise BadReference(
            f"{refs[0].text} is past the end of a list of {len(values[refs[0].slot])} tensors.",
            pointer=step.pointer,
            node=step.id,
        ) from None


@contextmanager
def naming_output(name: str) -> Iterator[None]:
    """An output that picks past the end of a list is a bad reference."""
    try:
        yield
    except IndexError:
        raise BadReference(
            f"The output {name!r} is past the end of a list of tensors.", pointer=f"/outputs/{name}"
        ) from None


def _check_one_dtype(tensors: list[Tensor]) -> None:
    kinds = sorted({str(type_of(tensor)).split("[")[0] for tensor in tensors})
    if len(kinds) > 1:
        raise DtypeMismatch(
            f"The tensors have different dtypes: {', '.join(str(type_of(t)) for t in tensors[:16])}.",
            expected="one dtype",
            got=kinds,
            hint="Convert one of them with to(x, dtype).",
        )


def _too_large(step: Step, what: str, got: int, limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"{step.call.operator.name} is too large: {what} {got:,} elements; the limit is {limit:,}.",
        pointer=step.pointer,
        node=step.id,
        expected=limit,
        got=got,
    )


def _fake(mode: MeteredFakes, kind: TensorType | None, requires_grad: bool) -> Any:
    if kind is None:
        return UNKNOWN
    with mode:
        return torch.empty(kind.shape, dtype=kind.dtype, requires_grad=requires_grad and kind.is_differentiable)


def _map_tensors(value: Any, change: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list):
        return [_map_tensors(item, change) for item in value]
    return value
