"""What all tests of this level share."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor


def _sent(value: Any) -> Any:
    """Tensors as the wire has them, anywhere inside."""
    if isinstance(value, Tensor):
        data = torch.view_as_real(value) if value.is_complex() else value
        return {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "data": data.tolist()}
    if isinstance(value, dict):
        return {key: _sent(item) for key, item in value.items()}
    return [_sent(item) for item in value] if isinstance(value, list) else value


def _read(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, dict) and "data" in value:
        dtype = getattr(torch, value["dtype"])
        raw = bytearray(base64.b64decode(value["data"], validate=True))
        flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return flat.reshape(value["shape"])
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    return [_read(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def derive(answer: Callable[..., Any]) -> Callable[..., Any]:
    """`derive("jvp", graph, inputs={"x": x}, tangents={"x": v})`: as `answer`, with torch tensors both ways."""

    def call(operation: str, graph: Any, **fields: Any) -> Any:
        return _read(answer(operation, graph=graph, encoding="base64", **_sent(fields)))

    return call


@pytest.fixture(scope="session")
def refusal(post: Callable[..., Any]) -> Callable[..., Any]:
    """As `derive`, but the problem of a request that must be refused as the caller's own mistake."""

    def call(operation: str, graph: Any, **fields: Any) -> Any:
        response = post(operation, graph=graph, **_sent(fields))
        assert response.status_code == 422, response.text
        return response.json()

    return call
