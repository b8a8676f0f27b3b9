"""One sample through the service's whole way, from bytes to bytes, and the verdict against torch.autograd."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pullback.tracing import Traced, full_form, trace
from pullback_conformance.reference import Reference, plain, refer
from pullback_conformance.samples import SEED, Sample
from pullback_conformance.service import Send

TOLERANCE = {torch.float64: 1e-9, torch.complex128: 1e-9, torch.float32: 1e-3, torch.complex64: 1e-3}
HALF_TOLERANCE = 2e-2

BITS = "equal to the last bit"
CLOSE = "equal within rounding"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a sample came out in one mode: BITS, CLOSE, or what went otherwise and why."""

    sample: str
    dtype: str
    mode: str
    outcome: str
    reason: str
    packets: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether the service gave torch's numbers."""
        return self.outcome in (BITS, CLOSE)


@dataclass(frozen=True, eq=False)
class Case:
    """A sample as a graph, its reference, and the request that both say the same of."""

    sample: Sample
    traced: Traced
    reference: Reference

    @property
    def wrt(self) -> list[str]:
        """The inputs to differentiate."""
        return [self.traced.inputs[place] for place in self.reference.leaves]

    def request(self, **fields: Any) -> bytes:
        """The body of a request about this sample."""
        inputs = {name: full_form(t) for name, t in zip(self.traced.inputs, self.sample.tensors, strict=True)}
        body = {"graph": self.traced.graph, "inputs": inputs, "encoding": "base64", "seed": SEED, **fields}
        return json.dumps(body).encode()

    def cotangents(self) -> list[Any]:
        """The grad_tensors."""
        return [None if v is None else full_form(v) for v in self.reference.cotangents]

    def verdict(self, mode: str, outcome: str, reason: str = "") -> Verdict:
        """What to say of this sample."""
        packets = {node["op"].split(".")[1] for node in self.traced.graph["nodes"]}
        dtype = str(self.sample.dtype).removeprefix("torch.")
        return Verdict(str(self.sample), dtype, mode, outcome, reason, tuple(sorted(packets)))


def make_case(sample: Sample) -> Case:
    """Trace the sample and ask torch. Raises TracingError."""
    examples = [plain(tensor).requires_grad_(tensor.requires_grad) for tensor in sample.tensors]
    return Case(sample, trace(sample.function, *examples), refer(sample))


def judge_reverse(case: Case, send: Send) -> Verdict:
    """Outputs and gradients; the outputs alone where nothing has a gradient."""
    if any(cotangent is not None for cotangent in case.reference.cotangents) and case.wrt:
        status, body = send("backward", case.request(wrt=case.wrt, grad_tensors=case.cotangents()))
        gradients = [plain(gradient) for gradient in case.reference.pull_back()]
    else:
        status, body = send("forward", case.request())
        gradients = []
    answer = json.loads(body)
    if status != 200:
        return case.verdict("reverse", f"refused as {answer['code']}", answer["detail"])
    got = [answer["outputs"][name] for name in case.traced.outputs]
    got += [answer["gradients"][name] for name in case.wrt] if gradients else []
    return case.verdict("reverse", *compare(map(decoded, got), [*case.reference.values, *gradients]))


def compare(got: Iterable[Tensor], expected: Iterable[Tensor]) -> tuple[str, str]:
    """The outcome and the reason for tensors that should be the same."""
    outcome = BITS
    for ours, theirs in zip(got, expected, strict=True):
        if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            return "differs", f"{ours.dtype} {tuple(ours.shape)} instead of {theirs.dtype} {tuple(theirs.shape)}"
        if as_bytes(ours) == as_bytes(theirs):
            continue
        tolerance = TOLERANCE.get(theirs.dtype, HALF_TOLERANCE)
        if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
            return "differs", f"by {float((ours - theirs).abs().max()):.3g}"
        outcome = CLOSE
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
