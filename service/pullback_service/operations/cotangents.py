"""A request's grad_tensors: read, checked against the outputs, completed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import (
    MAX_LISTED,
    Findings,
    NotDifferentiable,
    ProblemError,
    ProblemsError,
    UnknownOutput,
    WrongCount,
    pointer_to,
)
from pullback_schemas.requests import CotangentRequest
from pullback_service.derivatives.cotangents import (
    GRAD_TENSORS,
    check_vectors,
    complete_cotangents,
    require_cotangents,
)
from pullback_service.derivatives.run import Point, run_forward
from pullback_service.derivatives.work import Work
from pullback_service.operations.evaluation import Evaluation, leaf_types
from pullback_service.operations.vectors import check_batch
from pullback_service.program.plan import Plan
from pullback_service.program.types import TensorType, types_of


class RequestCotangents:
    """The vectors of v^T J for one request: `read` once the outputs' types are known, then `complete`.

    `plan` differentiates by what gets a gradient, and by nothing else: outputs that do not move with it need no vector.
    """

    def __init__(self, evaluation: Evaluation[CotangentRequest], plan: Plan, *, is_batched: bool) -> None:
        self._evaluation = evaluation
        self._sent = evaluation.request.grad_tensors
        self._is_batched = is_batched
        self._plan = plan
        self._given: dict[str, Tensor] = {}
        refuse_nothing_to_differentiate(plan, evaluation.request.wrt)

    @property
    def names(self) -> list[str]:
        """The outputs whose vectors were sent and have been read."""
        return list(self._given)

    @property
    def batch(self) -> int | None:
        """How many vectors each grad_tensor holds; None if they are not batched."""
        return next((len(tensor) for tensor in self._given.values()), 0) if self._is_batched else None

    def read(self, outputs: Mapping[str, TensorType]) -> None:
        """Decode what was sent. Raises every way in which it does not fit the outputs."""
        refuse_without_gradient(outputs)
        self._read(outputs)
        if self._plan.is_static:
            self._require(outputs, self._inferred())

    def complete(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A cotangent for every output that needs one. Raises NotDifferentiable where no gradient can flow."""
        if self._plan.is_static:
            refuse_cut_gradient(self._plan, self._inferred())
        else:
            requires_grad = requiring_grad(outputs)
            refuse_cut_gradient(self._plan, requires_grad)
            self._require(types_of(outputs), requires_grad)
        return complete_cotangents(outputs, self._given, is_batched=self._is_batched)

    def foreseen(self) -> dict[str, Tensor] | None:
        """What `complete` will give, where that is known before the run. Raises as it does."""
        requires_grad = self._inferred() if self._plan.is_static else {}
        if not requires_grad or None in requires_grad.values():
            return None
        refuse_cut_gradient(self._plan, requires_grad)
        kinds = {name: kind for name, kind in self._plan.outputs.items() if kind and requires_grad[name]}
        implicit = {n: torch.ones(kind.shape, dtype=kind.dtype) for n, kind in kinds.items() if n not in self._given}
        return {**implicit, **self._given}

    def _inferred(self) -> dict[str, bool | None]:
        return {name: self._plan.inferred.requires_grad(ref) for name, ref in self._plan.program.outputs.items()}

    def _require(self, outputs: Mapping[str, TensorType], requires_grad: Mapping[str, bool | None]) -> None:
        require_cotangents(outputs, requires_grad, self._given, is_batched=self._is_batched)

    def _read(self, outputs: Mapping[str, TensorType]) -> None:
        findings = Findings()
        pointers: dict[str, str] = {}
        for name, pointer, value in self._entries(outputs):
            pointers[name] = pointer
            try:
                self._given[name] = self._evaluation.read(value, outputs[name].dtype)
            except (ProblemError, ProblemsError) as error:
                findings.add_under(pointer, error)
        findings.check()
        check_vectors(outputs, self._given, pointers, GRAD_TENSORS, is_batched=self._is_batched)
        check_batch(self.batch, leaf_types(self._plan), self._plan, "gradients", "grad_tensors")

    def _entries(self, outputs: Mapping[str, TensorType]) -> Iterator[tuple[str, str, Any]]:
        sent = self._sent
        if sent is None:
            return
        if isinstance(sent, list):
            if len(sent) != len(outputs):
                raise WrongCount(
                    f"A list of grad_tensors has one entry an output, {len(outputs)} here.",
                    pointer="/grad_tensors",
                    expected=list(outputs)[:MAX_LISTED],
                    got=len(sent),
                    hint=f'Send an object: {{"{next(iter(outputs))}": [...]}}; '
                    "or a list with one for each, null where 1 is implied.",
                )
            pairs = [(name, index, value) for index, (name, value) in enumerate(zip(outputs, sent, strict=True))]
        else:
            refuse_unknown_outputs({name: pointer_to("grad_tensors", name) for name in sent}, outputs)
            pairs = [(name, name, value) for name, value in sent.items()]  # type: ignore[misc]
        for name, key, value in pairs:
            if value is not None:
                yield name, pointer_to("grad_tensors", key), value


def run_for_cotangents(
    evaluation: Evaluation[CotangentRequest],
    plan: Plan,
    work: Work,
    *,
    gradient_plan: Plan | None = None,
    is_batched: bool = False,
    check: Callable[[Mapping[str, TensorType]], None] | None = None,
) -> tuple[Point, RequestCotangents]:
    """The forward run, and the cotangents read: before it where the outputs' types are known, else after it.

    `gradient_plan` differentiates by less than `plan`, if not all of it is for the gradient. `check` sees the outputs'
    types, too, and may raise what else does not fit them.
    """
    cotangents = RequestCotangents(evaluation, gradient_plan or plan, is_batched=is_batched)

    def read(outputs: Mapping[str, TensorType]) -> None:
        cotangents.read(outputs)
        if check is not None:
            check(outputs)

    if plan.is_static:
        read({name: kind for name, kind in plan.outputs.items() if kind})
    evaluation.clock.lap("decode")
    with evaluation.source.quoted():
        point = run_forward(plan, evaluation.inputs, work, evaluation.seed)
    evaluation.clock.lap("forward")
    if not plan.is_static:
        read(types_of(point.outputs))
    return point, cotangents


def refuse_nothing_to_differentiate(plan: Plan, wrt: Sequence[str] | None) -> None:
    """Raise NotDifferentiable if no input is differentiated; `wrt` is what the request says."""
    if not plan.wrt:
        raise NotDifferentiable(
            "There is nothing to differentiate: no input has a floating or complex dtype.",
            pointer="/inputs" if wrt is None else "/wrt",
            hint="/v1/forward gives values alone.",
        )


def refuse_without_gradient(outputs: Mapping[str, TensorType]) -> None:
    """Raise NotDifferentiable if no output can have a derivative."""
    if not any(kind.is_differentiable for kind in outputs.values()):
        raise NotDifferentiable(
            "No output has a floating or complex dtype, so there is no gradient.",
            pointer="/graph",
            got={name: str(kind) for name, kind in outputs.items()},
        )


def requiring_grad(outputs: Mapping[str, Tensor]) -> dict[str, bool]:
    """Whether each output is on the tape."""
    return {name: output.requires_grad for name, output in outputs.items()}


def refuse_cut_gradient(plan: Plan, requires_grad: Mapping[str, bool | None]) -> None:
    """Raise NotDifferentiable if outputs depend on what is differentiated, and no gradient flows to any of them."""
    if not any(requires_grad.values()) and plan.program.reaches_output(plan.wrt):
        raise NotDifferentiable(
            "The outputs do not require grad: an operator on every way to them has no derivative or cuts it off.",
            pointer="/graph",
            hint="/v1/check shows node by node where requires_grad ends.",
        )


def refuse_unknown_outputs(pointers: Mapping[str, str], outputs: Mapping[str, Any]) -> None:
    """Raise UnknownOutput for each name, with its pointer, that is no output."""
    findings = Findings()
    for name, pointer in pointers.items():
        if name not in outputs and len(findings.errors) < MAX_LISTED:
            close = difflib.get_close_matches(name[:64], list(outputs), n=1)
            findings.add(
                UnknownOutput(
                    f"The graph has no output {name!r}.",
                    pointer=pointer,
                    expected=list(outputs)[:MAX_LISTED],
                    got=name,
                    hint=f"Did you mean {close[0]!r}?" if close else None,
                )
            )
    findings.check()
