"""One sample through the service's whole way, from bytes to bytes, and the verdict against torch.autograd."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from pullback.tracing import TracingError, full_form, trace
from pullback_conformance.samples import SEED, Sample

Send = Callable[[str, bytes], tuple[int, bytes]]
"""An operation and the body of its request; gives the status and the body of the answer."""

TOLERANCE = {torch.float64: 1e-9, torch.complex128: 1e-9, torch.float32: 1e-3, torch.complex64: 1e-3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a sample came out: `bits` (equal to the last bit), `close` (within rounding), or why it did not."""

    sample: str
    outcome: str
    reason: str
    packets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch.autograd says: outputs, the vectors that were pulled back, and gradients by input."""

    outputs: list[Tensor]
    cotangents: list[Tensor | None]
    gradients: dict[int, Tensor]


def plain(tensor: Tensor) -> Tensor:
    """The values of a tensor as a request carries them: dense, in C order, none of torch's lazy views."""
    if tensor._is_zerotensor():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    dense = tensor.to_dense() if tensor.layout != torch.strided else tensor
    return dense.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)


def is_differentiable(tensor: Tensor) -> bool:
    """Whether its dtype can have a gradient."""
    return tensor.is_floating_point() or tensor.is_complex()


def refer(sample: Sample) -> Reference:
    """The sample's outputs and gradients by torch itself, on the values that the request will carry."""
    leaves = [plain(tensor) for tensor in sample.tensors]
    wanted = [i for i, tensor in enumerate(sample.tensors) if tensor.requires_grad]
    for i in wanted:
        leaves[i].requires_grad_()
    torch.manual_seed(SEED)
    # The function may change what it is given; a leaf that requires grad must not be.
    outputs = outputs_of(sample.function(*[leaf * 1 if leaf.requires_grad else leaf.clone() for leaf in leaves]))
    torch.manual_seed(SEED + 1)
    cotangents = [torch.randn_like(plain(y)) if y.requires_grad else None for y in outputs]
    roots = [(y, v) for y, v in zip(outputs, cotangents, strict=True) if v is not None]
    if not roots:
        return Reference([plain(y) for y in outputs], cotangents, {})
    found = torch.autograd.grad(
        [y for y, _ in roots], [leaves[i] for i in wanted], [v for _, v in roots], allow_unused=True
    )
    gradients = {
        i: torch.zeros_like(leaves[i]) if gradient is None else plain(gradient)
        for i, gradient in zip(wanted, found, strict=True)
    }
    return Reference([plain(y) for y in outputs], cotangents, gradients)


def outputs_of(results: Any) -> list[Tensor]:
    """The tensors that a function gave, in the order in which a trace names them."""
    return [leaf for leaf in pytree.tree_leaves(results) if leaf is not None]


def judge(sample: Sample, send: Send) -> Verdict:
    """Trace, send, compare."""
    try:
        traced = trace(sample.function, *[plain(t).requires_grad_(t.requires_grad) for t in sample.tensors])
    except TracingError as error:
        return Verdict(str(sample), "not traced", str(error), ())
    packets = tuple(sorted({node["op"].split(".")[1] for node in traced.graph["nodes"]}))
    reference = refer(sample)
    names = [traced.inputs[i] for i in reference.gradients]
    request: dict[str, Any] = {
        "graph": traced.graph,
        "inputs": {name: full_form(t) for name, t in zip(traced.inputs, sample.tensors, strict=True)},
        "encoding": "base64",
        "seed": SEED,
    }
    operation = "forward"
    if names:
        operation = "backward"
        request["wrt"] = names
        request["grad_tensors"] = [None if v is None else full_form(v) for v in reference.cotangents]
    status, body = send(operation, json.dumps(request).encode())
    answer = json.loads(body)
    if status != 200:
        return Verdict(str(sample), f"refused: {answer['code']}", answer["detail"], packets)
    expected = [*reference.outputs, *reference.gradients.values()]
    got = [answer["outputs"][name] for name in traced.outputs]
    got += [answer["gradients"][name] for name in names]
    return Verdict(str(sample), *compare(map(decoded, got), expected), packets)


def compare(got: Iterable[Tensor], expected: Iterable[Tensor]) -> tuple[str, str]:
    """The outcome and the reason for tensors that should be the same."""
    outcome = "bits"
    for ours, theirs in zip(got, expected, strict=True):
        if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            return "differs", f"{ours.dtype} {tuple(ours.shape)} instead of {theirs.dtype} {tuple(theirs.shape)}"
        if as_bytes(ours) == as_bytes(theirs) or torch.equal(ours, theirs):
            continue
        tolerance = TOLERANCE.get(theirs.dtype, 2e-2)
        if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
            return "differs", f"by {float((ours - theirs).abs().max()):.3g}" if ours.numel() else "in its emptiness"
        if not torch.equal(ours.nan_to_num(), theirs.nan_to_num()):
            outcome = "close"
    return outcome, ""


def decoded(value: dict[str, Any]) -> Tensor:
    """A tensor of an answer in base64 form."""
    raw = bytearray(base64.b64decode(value["data"], validate=True))
    dtype = getattr(torch, value["dtype"])
    flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.reshape(value["shape"])


def as_bytes(tensor: Tensor) -> bytes:
    """The bits of a dense tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
