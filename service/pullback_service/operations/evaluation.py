"""What the operations on a graph share: the request read, the plan, the answer with its `meta`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from pullback_schemas.problems import DeviceUnavailable, Findings, ProblemError, ProblemsError, pointer_to
from pullback_schemas.requests import OperationRequest
from pullback_service.clock import Clock
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.work import Work
from pullback_service.library import Library, NeedsDevice
from pullback_service.program.placing import CPU, place
from pullback_service.program.plan import Plan, check_inputs, check_wrt
from pullback_service.program.program import Program
from pullback_service.program.types import DTYPES, TensorType, type_of, types_of
from pullback_service.protocols.answer import Answer, Later
from pullback_service.protocols.doors import Sent, read_request
from pullback_service.protocols.number_arrays import Doubt
from pullback_service.protocols.tensor_reader import MAX_EXTENT, read_tensor
from pullback_service.protocols.validation import validate

Document = dict[str, Any]
Operation = Callable[[Library, Sent, Clock], Answer]
Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
Asked = TypeVar("Asked", bound=OperationRequest)
Request = TypeVar("Request", bound=OperationRequest, covariant=True)

AUTO_FLOPS = 2**33
"""Of one forward run: some tenth of a second of a core, beyond which a GPU is worth the way there."""


class Evaluation(Generic[Request]):
    """A request for values or derivatives of a graph, its graph and inputs read and checked."""

    def __init__(self, request: Request, library: Library, clock: Clock) -> None:
        self.request = request
        self.library = library
        self.clock = clock
        _settle_device(request.device, library)
        self.source = library.source(request.graph)
        self.inputs = self._read_inputs()
        self.seed = _seed(request.seed) if self.source.program.draws_random else None
        self._was_known = False
        clock.lap("decode")

    def check_wrt(self, names: Sequence[str], at: str) -> None:
        """Raise a problem for each name, which stands in the request under `at`, that has no derivative."""
        check_wrt(self.source.program, types_of(self.inputs), names, places(at, names))

    def plan(self, wrt: Sequence[str] | None) -> Plan:
        """The plan for these inputs, differentiated by `wrt` (None: by every floating or complex input).

        Raises a problem for each name in `wrt` that has no derivative.
        """
        if wrt is not None:
            self.check_wrt(wrt, "/wrt")
        plan, self._was_known = self.library.plan(self.source, types_of(self.inputs), wrt)
        self.clock.lap("plan")
        if self.library.gpus and self.request.device == "auto" and plan.flops > AUTO_FLOPS:
            raise NeedsDevice("cuda")
        return plan

    def read(self, value: Any, declared: torch.dtype | None, *, max_elements: int = MAX_EXTENT) -> Tensor:
        """A tensor of the request, where the graph is to run. Raises what `read_tensor` raises."""
        return place(read_tensor(value, declared, max_elements=max_elements), self.library.device)

    def answer(self, document: Document, work: Work) -> Answer:
        """The whole answer: the document, and how it was come by."""
        return Answer({**document, "meta": timed(self.meta(work), self.clock)}, self.request.encoding)

    def meta(self, work: Work) -> Document:
        """How an answer was come by, but for the time that it took."""
        return {
            "device": str(self.library.device),
            "mode": work.mode,
            "path": work.path,
            "forward_count": work.forward_count,
            "backward_count": work.backward_count,
            "adjoint_error": work.adjoint_error,
            "notes": work.notes,
            **({} if work.jacobian is None else {"jacobian": {"mode": work.jacobian.mode, "path": work.jacobian.path}}),
            "plan_cached": self._was_known,
            "graph_sha256": self.source.program.sha256,
            **({} if self.seed is None else {"seed": self.seed}),
            "torch_version": torch.__version__,
        }

    def _read_inputs(self) -> dict[str, Tensor]:
        """The input tensors, each checked against the graph's declarations."""
        program, limit = self.source.program, self.library.limits.max_tensor_elements
        findings = Findings()
        tensors: dict[str, Tensor] = {}
        for name, value in self.request.inputs.items():
            try:
                tensors[name] = self.read(value, declared_dtype(program, name), max_elements=limit)
            except (ProblemError, ProblemsError) as error:
                findings.add_under(pointer_to("inputs", name), error)
        broken: dict[str, TensorType | None] = {name: None for name in self.request.inputs if name not in tensors}
        with findings.catch():
            check_inputs(program, {**types_of(tensors), **broken}, complete=True)
        findings.check()
        return tensors


def evaluating(model: type[Asked], answer: Callable[[Evaluation[Asked]], Answer]) -> Operation:
    """The operation that reads a `model` and answers it."""

    def operation(library: Library, sent: Sent, clock: Clock) -> Answer:
        return using(model, sent, lambda request: answer(Evaluation(request, library, clock)))

    return operation


def timed(meta: Document, clock: Clock) -> Later:
    """`meta` with the time that each phase took, that of writing the tensors included."""

    def make() -> Document:
        clock.lap("encode")
        return {**meta, "timings_ms": clock.milliseconds()}

    return Later(make)


def using(model: type[Model], sent: Sent, answer: Callable[[Model], Result]) -> Result:
    """What `answer` makes of the request, read fast if there is no doubt of it; else whatever is wrong with it."""
    with suppress(Doubt, ValidationError):
        return answer(model.model_validate(read_request(sent, fast=True)))
    return answer(validate(model, read_request(sent)))


def values_of(point: Point) -> dict[str, Tensor]:
    """The outputs, which do not keep the tape while they are written."""
    return {name: output.detach() for name, output in point.outputs.items()}


def places(at: str, names: Sequence[str]) -> list[str]:
    """The pointers of the entries of a list."""
    return [f"{at}/{index}" for index in range(len(names))]


def leaf_types(plan: Plan) -> dict[str, TensorType]:
    """The types of what the plan differentiates."""
    slots = {name: slot for slot, name in enumerate(plan.program.arguments)}
    return {name: type_of(plan.inferred.values[slots[name]]) for name in plan.wrt}


def declared_dtype(program: Program, name: str) -> torch.dtype | None:
    """The dtype that the graph declares for an input."""
    spec = program.inputs.get(name)
    return DTYPES[spec.dtype] if spec and spec.dtype else None


def _seed(wanted: int | None) -> int:
    """A drawn seed is exact in every language whose numbers are doubles."""
    return secrets.randbelow(2**53) if wanted is None else wanted


def _settle_device(device: str, library: Library) -> None:
    """Raise NeedsDevice where another process has the device, DeviceUnavailable where none has it."""
    if not device.startswith("cuda") or library.device != CPU:
        return
    known = ["cuda", *library.gpus] if library.gpus else []
    if device in known:
        raise NeedsDevice(device)
    raise DeviceUnavailable(
        "This service has no such CUDA device." if known else "This service has no CUDA device.",
        pointer="/device",
        expected=["auto", "cpu", *known],
        got=device,
    )
