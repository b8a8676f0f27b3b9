"""The other kinds of derivative of a sample in float64, each against what torch.autograd says by another way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pullback.tracing import full_form
from pullback_conformance.judge import CLOSE, Case, Verdict, compare, decoded
from pullback_conformance.reference import inner, plain
from pullback_conformance.samples import SEED
from pullback_conformance.service import Send

ROUNDING = {torch.float32: 1e-5, torch.complex64: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
"""How far off a sum over an output of this dtype may be."""


def judge_modes(case: Case, send: Send) -> Iterator[Verdict]:
    """A verdict for each mode that says something of this sample; none where torch itself has no gradient."""
    if not case.wrt or not any(v is not None and v.numel() for v in case.reference.cotangents):
        return
    for mode, judge in MODES.items():
        verdict = _attempt(mode, judge, case, send)
        if verdict is not None:
            yield verdict


def _attempt(mode: str, judge: Callable[[Case, Send], Verdict | None], case: Case, send: Send) -> Verdict | None:
    try:
        return judge(case, send)
    except RuntimeError as error:  # torch itself has no such derivative
        return case.verdict(mode, "torch has none", str(error).splitlines()[0][:200])


def _batched(case: Case, send: Send) -> Verdict:
    """Two cotangents at once are two calls of autograd; they differ, so that mixing them would show."""
    torch.manual_seed(SEED + 4)
    batch = [case.reference.cotangents, [v if v is None else torch.randn_like(v) for v in case.reference.cotangents]]
    rows = [case.reference.pull_back(vectors) for vectors in batch]
    expected = [torch.stack([plain(g) for g in column]) for column in zip(*rows, strict=True)]
    sent = [v if v is None else full_form(torch.stack([v, w])) for v, w in zip(*batch, strict=True)]
    body = case.request(wrt=case.wrt, grad_tensors=sent, is_grads_batched=True)
    return _compared("batched_reverse", case, send, "backward", body, "gradients", expected)


def _forward(case: Case, send: Send) -> Verdict | None:
    """<v, Jt> = <J^T v, t>, whose right side is reverse mode's."""
    tangents = _vectors(case, SEED + 2)
    pairs = [(y, v) for y, v in zip(case.traced.outputs, case.reference.cotangents, strict=True) if v is not None]
    expected = float(inner(case.reference.pull_back(), tangents).detach())
    body = case.request(tangents={name: full_form(t) for name, t in zip(case.wrt, tangents, strict=True)})
    status, raw = send("jvp", body)
    answer = json.loads(raw)
    if status != 200:
        return case.verdict("forward", f"refused as {answer['code']}", answer["detail"])
    got = float(inner([decoded(answer["jvp"][name]) for name, _ in pairs], [v for _, v in pairs]))
    size = sum(float(v.norm()) for _, v in pairs) * sum(float(t.norm()) for t in tangents)
    tolerance = max(ROUNDING.get(y.dtype, 1e-8) for y in case.reference.outputs)
    is_same = got == expected or (math.isnan(got) and math.isnan(expected))
    if is_same or abs(got - expected) <= tolerance * max(abs(expected), size, 1.0):
        return case.verdict("forward", CLOSE)
    return case.verdict("forward", "differs", f"by {abs(got - expected):.3g}")


def _second_order(case: Case, send: Send) -> Verdict | None:
    """The gradient of <J^T v, u>, by autograd twice."""
    vectors = _vectors(case, SEED + 3)
    first = case.reference.pull_back(on_tape=True)
    leaves = list(case.reference.leaves.values())
    product = inner(
        [g for g in first if g.requires_grad], [u for g, u in zip(first, vectors, strict=True) if g.requires_grad]
    )
    found = (
        torch.autograd.grad(product, leaves, allow_unused=True, retain_graph=True) if product.requires_grad else leaves
    )
    expected = [
        torch.zeros_like(x) if h is None or not product.requires_grad else plain(h)
        for x, h in zip(leaves, found, strict=True)
    ]
    body = case.request(
        wrt=case.wrt,
        grad_tensors=case.cotangents(),
        vectors={name: full_form(u) for name, u in zip(case.wrt, vectors, strict=True)},
    )
    return _compared("second_order", case, send, "hvp", body, "hvp", expected)


MODES: dict[str, Callable[[Case, Send], Verdict | None]] = {
    "batched_reverse": _batched,
    "forward": _forward,
    "second_order": _second_order,
}


def _compared(
    mode: str, case: Case, send: Send, operation: str, body: bytes, field: str, expected: list[Tensor]
) -> Verdict:
    status, raw = send(operation, body)
    answer: dict[str, Any] = json.loads(raw)
    if status != 200:
        return case.verdict(mode, f"refused as {answer['code']}", answer["detail"])
    return case.verdict(mode, *compare([decoded(answer[field][name]) for name in case.wrt], expected))


def _vectors(case: Case, seed: int) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn_like(plain(leaf)) for leaf in case.reference.leaves.values()]
