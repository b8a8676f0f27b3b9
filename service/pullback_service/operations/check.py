"""`/v1/check`."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from pullback_schemas.problems import Findings, pointer_to, under
from pullback_schemas.requests import CheckRequest
from pullback_schemas.tensors import TensorSpec
from pullback_service.clock import Clock
from pullback_service.library import Library
from pullback_service.operations.evaluation import declared_dtype, places, using
from pullback_service.operations.reports import report_check
from pullback_service.program.plan import check_inputs, check_wrt, make_plan
from pullback_service.program.program import Program
from pullback_service.program.types import DTYPES, TensorType, refuse_shape, type_of
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent
from pullback_service.protocols.tensor_reader import read_tensor


def check(library: Library, sent: Sent, clock: Clock) -> Answer:
    """Everything that can be said of a graph without running it, as a CheckResult."""
    return using(CheckRequest, sent, lambda request: _check(request, library, clock))


def _check(request: CheckRequest, library: Library, clock: Clock) -> Answer:
    source = library.source(request.graph)
    kinds = _kinds(source.program, request, library.limits.max_tensor_elements)
    check_inputs(source.program, kinds, complete=False)
    if request.wrt is not None:
        check_wrt(source.program, kinds, request.wrt, places("/wrt", request.wrt))
    clock.lap("decode")
    with source.quoted(), FlopCounterMode(display=False) as counter:
        plan = make_plan(source.program, kinds, request.wrt, library.limits)
    clock.lap("plan")
    return Answer(report_check(plan, kinds, counter.get_total_flops()))


def _kinds(program: Program, request: CheckRequest, max_elements: int) -> dict[str, TensorType | None]:
    """The inputs' types as far as the request or the graph tells them; sizes by name are unknown."""
    kinds: dict[str, TensorType | None] = {}
    findings = Findings()
    for name in {**program.inputs, **request.inputs}:
        value = request.inputs.get(name, TensorSpec())
        declared = program.inputs.get(name, TensorSpec())
        is_declared = isinstance(value, TensorSpec) and value.shape is None
        with findings.catch(), under(("/graph" if is_declared else "") + pointer_to("inputs", name)):
            if not isinstance(value, TensorSpec):
                kinds[name] = type_of(read_tensor(value, declared_dtype(program, name), max_elements=max_elements))
                continue
            shape = declared.shape if value.shape is None else value.shape
            sizes = [size for size in shape or () if isinstance(size, int)]
            refuse_shape(sizes, max_elements, "/shape")
            dtype = DTYPES[value.dtype or declared.dtype or "float64"]
            is_known = shape is not None and len(sizes) == len(shape)
            kinds[name] = TensorType(dtype, tuple(sizes)) if is_known else None
    findings.check()
    return kinds
