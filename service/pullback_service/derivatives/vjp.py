"""Vector-Jacobian products: cotangents pulled back through the tape of a forward run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.func import vmap
from typing_extensions import override

from pullback_schemas.problems import Findings, OpFailed, UnusedInput, pointer_to
from pullback_service.derivatives.linear import AbstractLinearMap, Images, Vectors, settled
from pullback_service.derivatives.work import Work
from pullback_service.program.failures import first_sentence, is_out_of_memory, out_of_memory


class Pullback(AbstractLinearMap):
    """v -> v^T J for each leaf, summed over the outputs, as torch.autograd.grad defines it.

    A vector of what is no output, or of one without a tape, has no image.

    Args:
        outputs: the forward run's outputs by name.
        leaves: the tensors to differentiate by name; they require grad.
        work: what is done is counted there.
        keep: leave the tape usable for another call.

    """

    def __init__(
        self, outputs: Mapping[str, Tensor], leaves: Mapping[str, Tensor], work: Work, *, keep: bool = True
    ) -> None:
        self.source = outputs
        self.target = leaves
        self.work = work
        self._keep = keep

    @override
    def one(self, vectors: Vectors) -> Images:
        return _settled(self._pull(vectors, keep=self._keep))

    @override
    def vmapped(self, vectors: Vectors) -> Images:
        reached: list[str] = []

        def pull(*some: Tensor) -> list[Tensor]:
            images = self._pull(dict(zip(vectors, some, strict=True)), keep=True)
            reached[:] = [name for name, image in images.items() if image is not None]
            return [image for image in images.values() if image is not None]

        try:
            # torch.autograd.grad(is_grads_batched=True) does the same with an older vmap, which is half as fast.
            images = vmap(pull)(*vectors.values())
        except (RuntimeError, ValueError) as error:  # vmap's own refusals, outside of the pass
            raise _failure(error) from None
        return _settled(dict.fromkeys(self.target) | dict(zip(reached, images, strict=True)))

    def with_tape(self, vectors: Vectors) -> Images:
        """As `one`, with a tape through the gradients, which can be differentiated again."""
        return self._pull(vectors, keep=True, create_graph=True)

    def _pull(self, vectors: Vectors, *, keep: bool, create_graph: bool = False) -> Images:
        roots = {name: y for name in vectors if (y := self.source.get(name)) is not None and y.requires_grad}
        if not roots or not self.target:
            return dict.fromkeys(self.target)
        try:
            found = torch.autograd.grad(
                list(roots.values()),
                list(self.target.values()),
                [vectors[name] for name in roots],
                retain_graph=keep,
                create_graph=create_graph,
                allow_unused=True,
            )
        except Exception as error:  # whatever a derivative's kernel may raise
            raise _failure(error) from None
        self.work.backward_count += 1
        return dict(zip(self.target, found, strict=True))


def _settled(images: Images) -> Images:
    return {name: None if image is None else settled(image) for name, image in images.items()}


def _failure(error: Exception) -> Exception:
    if is_out_of_memory(error):
        return out_of_memory(None)
    return OpFailed(
        f"The backward pass failed: {first_sentence(error)}",
        pointer="",
        hint="An operator of this graph has no derivative for these arguments.",
    )


def settle_unused(
    gradients: Images,
    leaves: Mapping[str, Tensor],
    unused: Literal["zeros", "null", "error"],
    batch: int | None = None,
) -> Images:
    """What an input gets that no output depends on: zeros of its shape, None, or UnusedInput."""
    findings = Findings()
    settled: Images = {}
    for name, gradient in gradients.items():
        if gradient is None and unused == "error":
            findings.add(
                UnusedInput(
                    f"No output depends on {name!r}.",
                    pointer=pointer_to("unused"),
                    hint='Leave it out of wrt, or ask for unused: "zeros" or "null".',
                )
            )
        if gradient is None and unused == "zeros":
            shape = leaves[name].shape if batch is None else (batch, *leaves[name].shape)
            gradient = leaves[name].new_zeros(shape)
        settled[name] = gradient
    findings.check()
    return settled


def zeros_for_none(images: Images, likes: Mapping[str, Tensor], batch: int | None = None) -> dict[str, Tensor]:
    """The images with zeros where nothing depends on anything."""
    return {name: tensor for name, tensor in settle_unused(images, likes, "zeros", batch).items() if tensor is not None}
