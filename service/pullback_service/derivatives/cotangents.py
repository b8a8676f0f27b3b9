"""The vectors that derivatives are multiplied with: what was sent must fit; what is implied, and what is needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Words:
    """How problems call the vectors: the request's field, and what each of them belongs to."""

    field: str
    owner: str


GRAD_TENSORS = Words("grad_tensors", "output")
TANGENTS = Words("tangents", "input")
VECTORS = Words("vectors", "input")


def check_vectors(
    likes: Mapping[str, TensorType],
    given: Mapping[str, Tensor],
    pointers: Mapping[str, str],
    words: Words,
    *,
    is_batched: bool,
) -> None:
    """Each given vector has exactly the dtype and shape of what it belongs to, after one leading axis if batched.

    Raises NotDifferentiable, DtypeMismatch or ShapeMismatch for each, at `pointers[name]`.
    """
    findings = Findings()
    batch: tuple[int, str] | None = None
    for name, tensor in given.items():
        with findings.catch(), under(pointers[name]):
            _check(name, likes[name], type_of(tensor), words, is_batched)
            if is_batched:
                batch = batch or (len(tensor), name)
                _check_batch(name, len(tensor), batch, words)
    findings.check()


def _check_batch(name: str, size: int, first: tuple[int, str], words: Words) -> None:
    if size != first[0]:
        raise ShapeMismatch(
            f"{words.field}[{name!r}] holds {size} vectors, {words.field}[{first[1]!r}] holds {first[0]}.",
            expected=first[0],
            got=size,
        )


def _check(name: str, like: TensorType, given: TensorType, words: Words, is_batched: bool) -> None:
    if not like.is_differentiable:
        raise NotDifferentiable(
            f"The {words.owner} {name!r} has dtype {DTYPE_NAMES[like.dtype]} and no gradient.",
            hint=f"Leave {words.field}[{name!r}] out.",
        )
    if given.dtype != like.dtype:
        raise DtypeMismatch(
            f"{words.field}[{name!r}] must have the dtype of the {words.owner}.",
            expected=DTYPE_NAMES[like.dtype],
            got=DTYPE_NAMES[given.dtype],
        )
    shape = given.shape[1:] if is_batched else given.shape
    if shape != like.shape or (is_batched and not given.shape):
        expected = ["batch", *like.shape] if is_batched else list(like.shape)
        raise ShapeMismatch(
            f"{words.field}[{name!r}] must have the shape of the {words.owner}"
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
    if is_batched and output.numel == 1:
        sentence = "a batch of grad_tensors must be sent, for its length"
    shape: list[int | str] = ["batch", *output.shape] if is_batched else list(output.shape)
    return GradTensorRequired(
        f"{sentence}; the output {name!r} is {output}.",
        pointer="/grad_tensors",
        node=name,
        expected={"dtype": DTYPE_NAMES[output.dtype], "shape": shape},
        hint=f"Send grad_tensors[{name!r}]: the vector v of v^T J, shaped like the output"
        f"{' after one leading batch axis' if is_batched else ''}. "
        "All ones sums the rows of J; zeros leave the output out.",
    )
