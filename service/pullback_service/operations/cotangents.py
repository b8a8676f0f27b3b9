"""A request's grad_tensors: read, checked against the outputs, completed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from pullback_schemas.problems import (
    MAX_LISTED,
    Findings,
    LimitExceeded,
    NotDifferentiable,
    UnknownOutput,
    WrongCount,
    pointer_to,
    under,
)
from pullback_schemas.requests import BackwardRequest
from pullback_service.derivatives.cotangents import check_cotangents, complete_cotangents, require_cotangents
from pullback_service.derivatives.jacobian import check_jacobians
from pullback_service.program.plan import Plan
from pullback_service.program.types import TensorType, type_of
from pullback_service.protocols.tensor_reader import read_tensor


class RequestCotangents:
    """The vectors of v^T J for one request: `read` once the outputs' types are known, then `complete`."""

    def __init__(self, request: BackwardRequest, plan: Plan) -> None:
        self._request = request
        self._plan = plan
        self._given: dict[str, Tensor] = {}
        if not plan.wrt:
            raise NotDifferentiable(
                "There is nothing to differentiate: no input has a floating or complex dtype.",
                pointer="/inputs" if request.wrt is None else "/wrt",
                hint="/v1/forward gives values alone.",
            )

    @property
    def batch(self) -> int | None:
        """How many vectors each grad_tensor holds; None if they are not batched."""
        if not self._request.is_grads_batched:
            return None
        return next((len(tensor) for tensor in self._given.values()), 0)

    def read(self, outputs: Mapping[str, TensorType]) -> None:
        """Decode what was sent. Raises every way in which it does not fit the outputs."""
        if not any(kind.is_differentiable for kind in outputs.values()):
            raise NotDifferentiable(
                "No output has a floating or complex dtype, so there is no gradient.",
                pointer="/graph",
                got={name: str(kind) for name, kind in outputs.items()},
            )
        self._read(outputs)
        if self._plan.is_static:
            refs = self._plan.program.outputs
            requires_grad = {name: self._plan.inferred.requires_grad(ref) for name, ref in refs.items()}
            self._require(outputs, requires_grad)
        if self._request.jacobian:
            check_jacobians(outputs, self._leaves(), self._plan.limits.max_tensor_elements)

    def complete(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A cotangent for every output that needs one. Raises NotDifferentiable where no gradient can flow."""
        has_gradient = any(output.requires_grad for output in outputs.values())
        if not has_gradient and self._plan.program.reaches_output(self._plan.wrt):
            raise NotDifferentiable(
                "The outputs do not require grad: an operator on every way to them has no derivative or cuts it off.",
                pointer="/graph",
                hint="/v1/check shows node by node where requires_grad ends.",
            )
        if not self._plan.is_static:
            requires_grad = {name: output.requires_grad for name, output in outputs.items()}
            self._require({name: type_of(output) for name, output in outputs.items()}, requires_grad)
        return complete_cotangents(outputs, self._given, is_batched=self._request.is_grads_batched)

    def _require(self, outputs: Mapping[str, TensorType], requires_grad: Mapping[str, bool | None]) -> None:
        require_cotangents(outputs, requires_grad, self._given, is_batched=self._request.is_grads_batched)

    def _read(self, outputs: Mapping[str, TensorType]) -> None:
        findings = Findings()
        pointers: dict[str, str] = {}
        for name, pointer, value in self._entries(outputs):
            pointers[name] = pointer
            with findings.catch(), under(pointer):
                self._given[name] = read_tensor(value, outputs[name].dtype)
        findings.check()
        check_cotangents(outputs, self._given, pointers, is_batched=self._request.is_grads_batched)
        self._check_batch()

    def _entries(self, outputs: Mapping[str, TensorType]) -> Iterator[tuple[str, str, Any]]:
        sent = self._request.grad_tensors
        if sent is None:
            return
        if isinstance(sent, list):
            if len(sent) != len(outputs):
                raise WrongCount(
                    f"A list of grad_tensors has one entry an output, {len(outputs)} here.",
                    pointer="/grad_tensors",
                    expected=list(outputs)[:MAX_LISTED],
                    got=len(sent),
                    hint=f'Send an object: {{"{next(iter(outputs))}": [...]}}; or a list with null for none.',
                )
            pairs = [(name, index, value) for index, (name, value) in enumerate(zip(outputs, sent, strict=True))]
        else:
            _refuse_unknown(sent, outputs)
            pairs = [(name, name, value) for name, value in sent.items()]  # type: ignore[misc]
        for name, key, value in pairs:
            if value is not None:
                yield name, pointer_to("grad_tensors", key), value

    def _check_batch(self) -> None:
        if self.batch is None:
            return
        limit = self._plan.limits.max_tensor_elements
        for name, kind in self._leaves().items():
            if self.batch * kind.numel > limit:
                raise LimitExceeded(
                    f"The gradients of {name!r} for {self.batch} grad_tensors have "
                    f"{self.batch * kind.numel:,} elements; the limit is {limit:,}.",
                    pointer="/grad_tensors",
                    expected=limit,
                    got=self.batch * kind.numel,
                )

    def _leaves(self) -> dict[str, TensorType]:
        values = self._plan.inferred.values
        slots = {name: slot for slot, name in enumerate(self._plan.program.arguments)}
        return {name: type_of(values[slots[name]]) for name in self._plan.wrt}


def _refuse_unknown(names: Mapping[str, Any], outputs: Mapping[str, TensorType]) -> None:
    findings = Findings()
    for name in names:
        if name not in outputs and len(findings.errors) < MAX_LISTED:
            close = difflib.get_close_matches(name[:64], list(outputs), n=1)
            findings.add(
                UnknownOutput(
                    f"The graph has no output {name!r}.",
                    pointer=pointer_to("grad_tensors", name),
                    expected=list(outputs)[:MAX_LISTED],
                    got=name,
                    hint=f"Did you mean {close[0]!r}?" if close else None,
                )
            )
    findings.check()
