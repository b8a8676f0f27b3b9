"""The vectors v of v^T J: what the caller sent, what is implied, and what each output needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from pullback_schemas.problems import (
    DtypeMismatch,
    Findings,
    GradTensorRequired,
    NotDifferentiable,
    ShapeMismatch,
    under,
)
from pullback_service.program.types import DTYPE_NAMES, TensorType, type_of

SENTENCE = "grad can be implicitly created only for scalar outputs"
COMPLEX_SENTENCE = "grad can be implicitly created only for real scalar outputs but got"


def check_cotangents(
    outputs: Mapping[str, TensorType],
    given: Mapping[str, Tensor],
    pointers: Mapping[str, str],
    *,
    is_batched: bool,
) -> None:
    """Each given cotangent has exactly its output's dtype and shape, after one leading axis if batched.

    Raises NotDifferentiable, DtypeMismatch or ShapeMismatch for each, at `pointers[name]`.
    """
    findings = Findings()
    batch: tuple[int, str] | None = None
    for name, tensor in given.items():
        with findings.catch(), under(pointers[name]):
            _check(name, outputs[name], type_of(tensor), is_batched)
            if is_batched:
                batch = batch or (len(tensor), name)
                _check_batch(name, len(tensor), batch)
    findings.check()


def _check_batch(name: str, size: int, first: tuple[int, str]) -> None:
    if size != first[0]:
        raise ShapeMismatch(
            f"grad_tensors[{name!r}] holds {size} vectors, grad_tensors[{first[1]!r}] holds {first[0]}.",
            expected=first[0],
            got=size,
        )


def _check(name: str, output: TensorType, given: TensorType, is_batched: bool) -> None:
    if not output.is_differentiable:
        raise NotDifferentiable(
            f"The output {name!r} has dtype {DTYPE_NAMES[output.dtype]} and no gradient.",
            hint=f"Leave grad_tensors[{name!r}] out.",
        )
    if given.dtype != output.dtype:
        raise DtypeMismatch(
            f"grad_tensors[{name!r}] must have the dtype of the output.",
            expected=DTYPE_NAMES[output.dtype],
            got=DTYPE_NAMES[given.dtype],
        )
    shape = given.shape[1:] if is_batched else given.shape
    if shape != output.shape or (is_batched and not given.shape):
        expected = ["batch", *output.shape] if is_batched else list(output.shape)
        raise ShapeMismatch(
            f"grad_tensors[{name!r}] must have the shape of the output"
            f"{', after one leading batch axis' if is_batched else ''}.",
            expected=expected,
            got=list(given.shape),
        )


def require_cotangents(
    outputs: Mapping[str, TensorType],
    requires_grad: Mapping[str, bool | None],
    given: Collection[str],
    *,
    is_batched: bool,
) -> None:
    """Raise GradTensorRequired for each output that needs a cotangent and has neither one nor an implicit 1."""
    findings = Findings()
    for name, output in outputs.items():
        is_implicit = output.numel == 1 and not output.dtype.is_complex and (given or not is_batched)
        if requires_grad[name] and name not in given and not is_implicit:
            findings.add(_missing(name, output, is_batched))
    findings.check()


def complete_cotangents(
    outputs: Mapping[str, Tensor], given: Mapping[str, Tensor], *, is_batched: bool
) -> dict[str, Tensor]:
    """A cotangent for each output that requires grad: the given one, else 1 for its one element.

    `require_cotangents` must have passed.
    """
    complete = dict(given)
    batch = next((tensor.shape[:1] for tensor in given.values()), torch.Size()) if is_batched else torch.Size()
    for name, output in outputs.items():
        if output.requires_grad and name not in given:
            complete[name] = torch.ones(batch + output.shape, dtype=output.dtype, device=output.device)
    return complete


def _missing(name: str, output: TensorType, is_batched: bool) -> GradTensorRequired:
    is_complex_scalar = output.numel == 1 and output.dtype.is_complex
    sentence = f"{COMPLEX_SENTENCE} {DTYPE_NAMES[output.dtype]}" if is_complex_scalar else SENTENCE
    shape: list[int | str] = ["batch", *output.shape] if is_batched else list(output.shape)
    return GradTensorRequired(
        f"{sentence}; the output {name!r} is {output}.",
        pointer="/grad_tensors",
        node=name,
        expected={"dtype": DTYPE_NAMES[output.dtype], "shape": shape},
        hint=f"Send grad_tensors[{name!r}]: the vector v of v^T J, shaped like the output"
        f"{' after one leading batch axis' if is_batched else ''}. All ones sums the rows of J.",
    )
