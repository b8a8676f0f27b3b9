"""Good calls to begin with: PyTorch's own samples of its operators, as graphs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from pullback.tracing import TracingError, trace
from pullback_conformance.reference import plain
from pullback_conformance.samples import Sample, operators, samples_of
from pullback_fuzz.cases import MAX_OUTPUTS, Case

SAMPLES = 6
LOOKED_AT = 60
MAX_NODES = 12
MAX_ELEMENTS = 2000


def read_corpus() -> dict[str, list[Case]]:
    """Cases by the overloads that occur in them."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in _cases():
        for name in sorted({node["op"] for node in case.nodes}):
            found[name].append(case)
    return found


def _cases() -> Iterator[Case]:
    for op in operators(torch.float64):
        for sample in _spread(op):
            try:
                case = _as_case(sample)
            except (TracingError, RuntimeError):  # sparse layouts, which no graph holds
                continue
            if case.nodes and len(case.nodes) <= MAX_NODES:
                yield case


def _spread(op: Any) -> list[Sample]:
    """A few samples of an OpInfo, from its first to its last."""
    samples = [
        sample
        for sample in islice(samples_of(op, torch.float64), LOOKED_AT)
        if sum(tensor.numel() for tensor in sample.tensors) <= MAX_ELEMENTS
    ]
    return samples[:: max(len(samples) // SAMPLES, 1)][:SAMPLES]


def _as_case(sample: Sample) -> Case:
    traced = trace(sample.function, *[plain(tensor).requires_grad_(tensor.requires_grad) for tensor in sample.tensors])
    inputs = {name: plain(tensor) for name, tensor in zip(traced.inputs, sample.tensors, strict=True)}
    graph = traced.graph
    return Case(graph["nodes"], inputs, graph["constants"], list(graph["outputs"].values())[:MAX_OUTPUTS])
