"""Calls through the service, and the same function in torch: to be equal bit for bit.

Torch is the same library in the same process, so values and gradients need no tolerance.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class Draw:
    """Random tensors, float64 unless the name says otherwise."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def real(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=self._generator)

    def within(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=self._generator)

    def positive(self, *shape: int) -> Tensor:
        return self.within(0.3, 2.5, *shape)

    def cplx(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.complex128, generator=self._generator)

    def whole(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self._generator)

    def mask(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator) > 0.5

    def regular(self, size: int, *batch: int) -> Tensor:
        """Square matrices that are far from singular."""
        return self.real(*batch, size, size) + 3 * torch.eye(size, dtype=torch.float64)

    def probabilities(self, *shape: int) -> Tensor:
        return torch.softmax(self.real(*shape), -1)


@dataclass(frozen=True, eq=False)
class Row:
    """A graph, and the function of the same inputs that it must be."""

    graph: str | dict[str, Any]
    function: Callable[..., Any]
    inputs: dict[str, Tensor]
    wrt: tuple[str, ...] | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """More fields of the request; `seed` is also torch's."""

    def values(self) -> tuple[Tensor, ...]:
        """What torch gives."""
        return self._run({name: tensor.clone() for name, tensor in self.inputs.items()})

    def differentiable(self) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """What torch gives when a gradient is wanted, and the leaves: wrt, or every floating or complex input."""
        inputs = {name: tensor.clone() for name, tensor in self.inputs.items()}
        wrt = self.wrt or [name for name, t in inputs.items() if t.is_floating_point() or t.is_complex()]
        leaves = {name: inputs[name].requires_grad_() for name in wrt}
        return self._run(inputs), leaves

    def _run(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fields.get("seed", 0))
            return as_tuple(self.function(*inputs.values()))

    def __str__(self) -> str:
        return self.graph if isinstance(self.graph, str) else "json: " + " ".join(n["op"] for n in self.graph["nodes"])


def as_tuple(value: Any) -> tuple[Tensor, ...]:
    return (value,) if isinstance(value, Tensor) else tuple(value)


def row(
    graph: str | dict[str, Any],
    function: Callable[..., Any],
    wrt: tuple[str, ...] | None = None,
    fields: dict[str, Any] | None = None,
    **inputs: Tensor,
) -> Row:
    return Row(graph, function, inputs, wrt, fields or {})


def nodes(*calls: tuple[str, str, list[Any], dict[str, Any]], **rest: Any) -> dict[str, Any]:
    """A graph in JSON form: each call is (id, op, args, kwargs)."""
    return {"nodes": [dict(zip(("id", "op", "args", "kwargs"), call, strict=True)) for call in calls], **rest}


# The wire, read and written by hand


def full(tensor: Tensor) -> dict[str, Any]:
    """The full form, nested."""
    data = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "data": _spelled(data.tolist()),
    }


def _spelled(data: Any) -> Any:
    if isinstance(data, list):
        return [_spelled(item) for item in data]
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    return data


def base64_form(tensor: Tensor) -> dict[str, Any]:
    """The full form, in base64."""
    dtype, shape, raw = bits(tensor)
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "shape": list(shape),
        "encoding": "base64",
        "data": base64.b64encode(raw).decode(),
    }


def send(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: full(tensor) for name, tensor in tensors.items()}


def decoded(value: dict[str, Any]) -> Tensor:
    """A base64 answer as a tensor."""
    raw = bytearray(base64.b64decode(value["data"], validate=True))
    dtype = getattr(torch, value["dtype"])
    flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.reshape(value["shape"])


def bits(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    if tensor._is_zerotensor():
        tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
    dense = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    raw = dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
    return dense.dtype, dense.shape, raw


def assert_same_bits(got: Iterable[dict[str, Any]], expected: Iterable[Tensor]) -> None:
    for value, tensor in zip(got, expected, strict=True):
        assert bits(decoded(value)) == bits(tensor), f"got {decoded(value)}, expected {tensor}"


def request(row: Row, seeds: list[Tensor | None]) -> dict[str, Any]:
    """The backward request of a row."""
    sent = [None if seed is None else full(seed) for seed in seeds]
    wrt = {"wrt": list(row.wrt)} if row.wrt else {}
    return {
        "graph": row.graph,
        "inputs": send(row.inputs),
        "grad_tensors": sent,
        "encoding": "base64",
        **wrt,
        **row.fields,
    }


def cotangents(outputs: tuple[Tensor, ...], seed: int = 7) -> list[Tensor | None]:
    """A random v for each output that has a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(y.shape, dtype=y.dtype, generator=generator) if y.requires_grad else None for y in outputs]


def pulled_back(outputs: tuple[Tensor, ...], leaves: dict[str, Tensor], seeds: list[Tensor | None]) -> list[Tensor]:
    """What torch.autograd.grad gives; zeros for a leaf that nothing depends on."""
    pairs = [(y, v) for y, v in zip(outputs, seeds, strict=True) if v is not None]
    roots, vectors = zip(*pairs, strict=True)
    found = torch.autograd.grad(roots, list(leaves.values()), vectors, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient.to_dense() if gradient.is_sparse else gradient
        for leaf, gradient in zip(leaves.values(), found, strict=True)
    ]


def assert_values_of_torch(answer: Callable[..., Any], row: Row) -> None:
    """The outputs of a forward request are those of the row's function."""
    result = answer("forward", graph=row.graph, inputs=send(row.inputs), encoding="base64", **row.fields)
    assert_same_bits(result["outputs"].values(), row.values())


def assert_gradients_of_torch(answer: Callable[..., Any], row: Row) -> None:
    """The outputs and gradients of a backward request are those of torch.autograd."""
    outputs, leaves = row.differentiable()
    seeds = cotangents(outputs)
    result = answer("backward", **request(row, seeds))
    assert list(result["gradients"]) == list(leaves)
    assert_same_bits(result["outputs"].values(), outputs)
    assert_same_bits(result["gradients"].values(), pulled_back(outputs, leaves, seeds))
