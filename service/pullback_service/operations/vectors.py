"""A request's tangents or vectors: named after inputs, shaped like them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pullback_schemas.problems import Findings, LimitExceeded, pointer_to, under
from pullback_schemas.requests import OperationRequest
from pullback_service.derivatives.cotangents import Words, check_vectors
from pullback_service.operations.evaluation import Evaluation
from pullback_service.program.plan import Plan, check_wrt
from pullback_service.program.types import TensorType, type_of


def read_vectors(
    evaluation: Evaluation[OperationRequest], sent: Mapping[str, Any], words: Words, *, is_batched: bool
) -> dict[str, Tensor]:
    """The vectors by input or constant. Raises every way in which they do not fit."""
    types: dict[str, TensorType] = {name: type_of(tensor) for name, tensor in evaluation.inputs.items()}
    types |= {name: type_of(tensor) for name, tensor in evaluation.source.program.constants.items()}
    pointers = {name: pointer_to(words.field, name) for name in sent}
    check_wrt(evaluation.source.program, types, sent, pointers.values())
    findings = Findings()
    vectors: dict[str, Tensor] = {}
    for name, value in sent.items():
        with findings.catch(), under(pointers[name]):
            vectors[name] = evaluation.read(value, types[name].dtype)
    findings.check()
    check_vectors(types, vectors, pointers, words, is_batched=is_batched)
    return vectors


def batch_of(vectors: Mapping[str, Tensor], *, is_batched: bool) -> int | None:
    """How many vectors there are under each name; None if they are not batched."""
    return len(next(iter(vectors.values()))) if is_batched else None


def check_batch(batch: int | None, images: Mapping[str, TensorType], plan: Plan, what: str, field: str) -> None:
    """Refuse more vectors than the images of all of them have room for, or than there are operations for."""
    max_elements = plan.limits.max_tensor_elements
    for name, kind in images.items():
        if batch is not None and batch * kind.numel > max_elements:
            raise LimitExceeded(
                f"The {what} of {name!r} for {batch} {field} have {batch * kind.numel:,} elements; the limit is "
                f"{max_elements:,}.",
                pointer=pointer_to(field),
                expected=max_elements,
                got=batch * kind.numel,
            )
    plan.refuse_passes(batch or 1, pointer_to(field))
