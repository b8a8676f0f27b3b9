"""Vector-Jacobian products: one forward run, then cotangents pulled back through it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pullback_schemas.problems import Findings, OpFailed, UnusedInput, pointer_to
from pullback_service.program.failures import first_sentence, is_out_of_memory, out_of_memory

Path = Literal["single", "vmapped", "looped"]


@dataclass(frozen=True, slots=True)
class Pulled:
    """Gradients by name (None: no output depends on it), how they were computed, in how many passes."""

    gradients: dict[str, Tensor | None]
    path: Path
    backward_count: int


def pull_back(
    outputs: Mapping[str, Tensor],
    leaves: Mapping[str, Tensor],
    cotangents: Mapping[str, Tensor],
    *,
    is_batched: bool = False,
    keep: bool = False,
) -> Pulled:
    """v^T J for each leaf, summed over the outputs, as torch.autograd.grad defines it.

    Args:
        outputs: the forward run's outputs by name.
        leaves: the tensors to differentiate by name; they require grad.
        cotangents: v by output name, of the output's shape and dtype (after one leading axis if batched).
        is_batched: pull many v back at once; the gradients get the same leading axis.
        keep: leave the tape usable for another call.

    """
    roots = [name for name, output in outputs.items() if output.requires_grad and name in cotangents]
    if not roots or not leaves:
        return Pulled(dict.fromkeys(leaves), "single", 0)
    tensors = [outputs[name] for name in roots]
    seeds = [cotangents[name] for name in roots]
    targets = list(leaves.values())
    path: Path = "vmapped" if is_batched else "single"
    if not is_batched:
        found = _grad(tensors, targets, seeds, keep=keep)
        return Pulled(dict(zip(leaves, found, strict=True)), path, 1)
    batch = seeds[0].shape[0]
    if batch == 0:
        empty = [target.new_zeros((0, *target.shape)) for target in targets]
        return Pulled(dict(zip(leaves, empty, strict=True)), path, 0)
    try:
        with warnings.catch_warnings():
            # vmap warns where it loops inside an operator; that costs time, not digits.
            warnings.simplefilter("ignore")
            found = _grad(tensors, targets, seeds, keep=True, is_batched=True)
        return Pulled(dict(zip(leaves, found, strict=True)), path, 1)
    except OpFailed:
        rows = [_grad(tensors, targets, [seed[i] for seed in seeds], keep=True) for i in range(batch)]
    stacked = [torch.stack(column) if column[0] is not None else None for column in zip(*rows, strict=True)]
    return Pulled(dict(zip(leaves, stacked, strict=True)), "looped", batch)


def _grad(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    *,
    keep: bool,
    is_batched: bool = False,
) -> tuple[Tensor | None, ...]:
    try:
        found = torch.autograd.grad(
            outputs, inputs, seeds, retain_graph=keep, allow_unused=True, is_grads_batched=is_batched
        )
        # embedding(sparse=True) gives its gradient as indices and rows
        return tuple(g.to_dense() if g is not None and g.layout != torch.strided else g for g in found)
    except Exception as error:  # whatever a derivative's kernel may raise
        if is_out_of_memory(error):
            raise out_of_memory(None) from None
        raise OpFailed(
            f"The backward pass failed: {first_sentence(error)}",
            pointer="/graph",
            hint="An operator of this graph has no derivative for these arguments.",
        ) from None


def settle_unused(
    gradients: Mapping[str, Tensor | None],
    leaves: Mapping[str, Tensor],
    unused: Literal["zeros", "null", "error"],
    batch: int | None,
) -> dict[str, Tensor | None]:
    """What an input gets that no output depends on: zeros of its shape, None, or UnusedInput."""
    findings = Findings()
    settled: dict[str, Tensor | None] = {}
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
