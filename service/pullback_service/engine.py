"""Bytes of a request in, bytes of the answer out: the whole way inside a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pullback_schemas.problems import (
    DeviceUnavailable,
    Findings,
    InternalError,
    ProblemError,
    ProblemsError,
    TooDeep,
    pointer_to,
    under,
)
from pullback_schemas.requests import BackwardRequest, CheckRequest, ForwardRequest, OperationRequest
from pullback_schemas.tensors import TensorSpec
from pullback_service.clock import Clock
from pullback_service.derivatives.jacobian import jacobians
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.vjp import pull_back, settle_unused
from pullback_service.library import Library, Source
from pullback_service.program.catalogue import catalogue
from pullback_service.program.inference import Limits
from pullback_service.program.plan import check_inputs, check_wrt, make_plan
from pullback_service.program.program import Program
from pullback_service.program.types import DTYPES, TensorType, refuse_shape, type_of
from pullback_service.protocols.native_json import encode, encode_problem, write_tensors
from pullback_service.protocols.strict_json import parse_json
from pullback_service.protocols.tensor_reader import read_tensor
from pullback_service.protocols.validation import validate
from pullback_service.reports import describe_op, list_ops, report_check
from pullback_service.seeds import Seeds
from pullback_service.settings import Settings
from pullback_service.workers.base import Call, Reply

log = logging.getLogger(__name__)


class Engine:
    """Answers calls one at a time, in the thread that calls it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.library = Library(limits)
        self._operations: dict[str, Callable[[bytes, Clock], dict[str, Any]]] = {
            "forward": self.forward,
            "backward": self.backward,
            "check": self.check,
            "ops": self.ops,
            "op": self.op,
        }

    def answer(self, call: Call) -> Reply:
        """The reply to `call`; every problem is a reply too."""
        try:
            return self._attempt(call)
        except Exception:
            log.exception("the operation %s failed", call.operation)
            internal = InternalError("The service failed on this request; this is its own bug.")
            return Reply(*encode_problem(internal))

    def _attempt(self, call: Call) -> Reply:
        clock = Clock()
        try:
            document = self._operations[call.operation](call.body, clock)
            body = encode(document)
            clock.lap("encode")
            return Reply(200, body, clock.server_timing())
        except (ProblemError, ProblemsError) as error:
            return Reply(*encode_problem(error))
        except RecursionError:
            return Reply(*encode_problem(TooDeep("The request is nested too deeply.")))

    def warm_up(self) -> None:
        """Pay for first uses now: the operator table, fake tensors, autograd."""
        body = b'{"graph": "y = (x @ x).sum()", "inputs": {"x": [[1.0]]}, "jacobian": true}'
        assert self.answer(Call("backward", body)).status == 200

    # Operations

    def forward(self, body: bytes, clock: Clock) -> dict[str, Any]:
        """The values of the outputs."""
        request = validate(ForwardRequest, parse_json(body))
        source, inputs = self._read(request)
        clock.lap("decode")
        plan, was_known = self.library.plan(source, types_of(inputs), ())
        clock.lap("plan")
        with source.quoted():
            outputs, _ = run_forward(plan, inputs)
        clock.lap("forward")
        document = {"outputs": write_tensors(outputs, request.encoding)}
        clock.lap("encode")
        return {**document, "meta": _meta(source, clock, was_known, mode="forward")}

    def backward(self, body: bytes, clock: Clock) -> dict[str, Any]:
        """The vector-Jacobian product, and the Jacobians if asked."""
        request = validate(BackwardRequest, parse_json(body))
        source, inputs = self._read(request)
        clock.lap("decode")
        types = types_of(inputs)
        if request.wrt is not None:
            check_wrt(source.program, types, request.wrt)
        plan, was_known = self.library.plan(source, types, request.wrt)
        clock.lap("plan")
        seeds = Seeds(request, plan)
        if plan.is_static:
            seeds.read({name: kind for name, kind in plan.outputs.items() if kind})
        clock.lap("decode")
        with source.quoted():
            outputs, leaves = run_forward(plan, inputs)
        clock.lap("forward")
        if not plan.is_static:
            seeds.read(types_of(outputs))
        pulled = pull_back(
            outputs, leaves, seeds.complete(outputs), is_batched=request.is_grads_batched, keep=request.jacobian
        )
        gradients = settle_unused(pulled.gradients, leaves, request.unused, seeds.batch)
        clock.lap("backward")
        path, passes, rows = pulled.path, pulled.backward_count, None
        if request.jacobian:
            rows, path, more = jacobians(outputs, leaves)
            passes += more
            clock.lap("jacobian")
        document: dict[str, Any] = {
            "outputs": write_tensors(outputs, request.encoding),
            "gradients": write_tensors(gradients, request.encoding),
        }
        if rows is not None:
            document["jacobians"] = {y: write_tensors(row, request.encoding) for y, row in rows.items()}
        clock.lap("encode")
        meta = _meta(source, clock, was_known, mode="reverse", path=path, backward_count=passes)
        return {**document, "meta": meta}

    def check(self, body: bytes, clock: Clock) -> dict[str, Any]:
        """Everything that can be said of a graph without running it."""
        request = validate(CheckRequest, parse_json(body))
        source = self.library.source(request.graph)
        kinds = _kinds_to_check(source.program, request, self.limits.max_tensor_elements)
        check_inputs(source.program, kinds, complete=False)
        if request.wrt is not None:
            check_wrt(source.program, kinds, request.wrt)
        clock.lap("decode")
        with source.quoted(), FlopCounterMode(display=False) as counter:
            plan = make_plan(source.program, kinds, request.wrt, self.limits)
        clock.lap("plan")
        return report_check(plan, kinds, counter.get_total_flops())

    def ops(self, _: bytes, __: Clock) -> dict[str, Any]:
        """The catalogue."""
        return list_ops(catalogue())

    def op(self, body: bytes, _: Clock) -> dict[str, Any]:
        """One operator of the catalogue; the body is its name."""
        return describe_op(catalogue(), body.decode("utf-8", "replace"))

    def _read(self, request: OperationRequest) -> tuple[Source, dict[str, Tensor]]:
        """The program and the input tensors, each checked against the graph's declarations."""
        if request.device.startswith("cuda"):
            raise DeviceUnavailable(
                "This service has no CUDA device.",
                pointer="/device",
                expected=["auto", "cpu"],
                got=request.device,
            )
        source = self.library.source(request.graph)
        findings = Findings()
        tensors: dict[str, Tensor] = {}
        for name, value in request.inputs.items():
            with findings.catch(), under(pointer_to("inputs", name)):
                declared = _declared(source.program, name)
                tensors[name] = read_tensor(value, declared, max_elements=self.limits.max_tensor_elements)
        broken = {name: None for name in request.inputs if name not in tensors}
        with findings.catch():
            check_inputs(source.program, {**types_of(tensors), **broken}, complete=True)
        findings.check()
        return source, tensors


def types_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorType]:
    """Their types, by name."""
    return {name: type_of(tensor) for name, tensor in tensors.items()}


def _declared(program: Program, name: str) -> torch.dtype | None:
    spec = program.inputs.get(name)
    return DTYPES[spec.dtype] if spec and spec.dtype else None


def _kinds_to_check(program: Program, request: CheckRequest, max_elements: int) -> dict[str, TensorType | None]:
    """The inputs' types as far as the request or the graph tells them; sizes by name are unknown."""
    kinds: dict[str, TensorType | None] = {}
    findings = Findings()
    for name in {**program.inputs, **request.inputs}:
        value = request.inputs.get(name, TensorSpec())
        declared = program.inputs.get(name, TensorSpec())
        is_declared = isinstance(value, TensorSpec) and value.shape is None
        with findings.catch(), under(("/graph" if is_declared else "") + pointer_to("inputs", name)):
            if not isinstance(value, TensorSpec):
                kinds[name] = type_of(read_tensor(value, _declared(program, name), max_elements=max_elements))
                continue
            shape = declared.shape if value.shape is None else value.shape
            sizes = [size for size in shape or () if isinstance(size, int)]
            refuse_shape(sizes, max_elements, "/shape")
            dtype = DTYPES[value.dtype or declared.dtype or "float64"]
            is_known = shape is not None and len(sizes) == len(shape)
            kinds[name] = TensorType(dtype, tuple(sizes)) if is_known else None
    findings.check()
    return kinds


def _meta(
    source: Source,
    clock: Clock,
    was_known: bool,
    *,
    mode: str,
    path: str = "single",
    backward_count: int = 0,
) -> dict[str, Any]:
    return {
        "device": "cpu",
        "mode": mode,
        "path": path,
        "forward_count": 1,
        "backward_count": backward_count,
        "plan_cached": was_known,
        "graph_sha256": source.program.sha256,
        "torch_version": torch.__version__,
        "timings_ms": clock.milliseconds(),
    }


def build_engine(settings: Settings) -> Engine:
    """A warm engine for a process of its own: sets torch's threads."""
    torch.set_num_threads(settings.torch_threads)
    engine = Engine(
        Limits(settings.max_nodes, settings.max_tensor_elements, settings.max_total_elements),
    )
    engine.warm_up()
    return engine
