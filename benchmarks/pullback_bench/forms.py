"""A case as each server wants to be asked for it, and what it answers read back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import eq
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import load, save

from pullback_bench.case import GRAPH, Array, Case

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"


@dataclass(frozen=True)
class Exchange:
    """A request, and whether the body of an answer is right."""

    path: str
    body: bytes
    is_right: Callable[[bytes], bool]
    media: str = JSON
    accept: str = JSON

    def raw(self) -> bytes:
        """The request as it goes over the wire."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {self.media}\r\n"
            f"accept: {self.accept}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


Form = Callable[[Case], Exchange]


def pullback_json(case: Case) -> Exchange:
    body = {
        "graph": GRAPH,
        "inputs": {"x": case.x},
        "grad_tensors": {"y": case.grad_tensors},
    }

    def is_right(answer: bytes) -> bool:
        read = orjson.loads(answer)
        return case.holds(
            {"y": _floats(read["outputs"]["y"]["data"]), "gradient": _floats(read["gradients"]["x"]["data"])}
        )

    return Exchange("/v1/backward", _dumps(body), is_right)


def pullback_base64(case: Case) -> Exchange:
    return _pullback_base64(case, outputs=True)


def pullback_base64_gradient(case: Case) -> Exchange:
    """What a peer is asked for that answers the gradient alone."""
    return _pullback_base64(case, outputs=False)


def _pullback_base64(case: Case, *, outputs: bool) -> Exchange:
    def sent(array: Array) -> dict[str, Any]:
        return {"dtype": "float64", "shape": array.shape, "encoding": "base64", "data": _to_base64(array)}

    body = {
        "graph": GRAPH,
        "inputs": {"x": sent(case.x)},
        "grad_tensors": {"y": sent(case.grad_tensors)},
        "encoding": "base64",
        "outputs": outputs,
    }

    def is_right(answer: bytes) -> bool:
        read = orjson.loads(answer)
        found = {"gradient": _from_base64(read["gradients"]["x"]["data"])}
        if outputs:
            found["y"] = _from_base64(read["outputs"]["y"]["data"])
        return case.holds(found)

    return Exchange("/v1/backward", _dumps(body), is_right)


def pullback_safetensors(case: Case) -> Exchange:
    request = {"graph": GRAPH, "inputs": {"x": {"tensor": "x"}}, "grad_tensors": {"y": {"tensor": "v"}}}
    body = save({"x": case.x, "v": case.grad_tensors}, metadata={"request": json.dumps(request)})

    def is_right(answer: bytes) -> bool:
        tensors = load(answer)
        return case.holds({"y": tensors["outputs/y"], "gradient": tensors["gradients/x"]})

    return Exchange("/v1/backward", body, is_right, media=SAFETENSORS, accept=SAFETENSORS)


def tesseract_json(case: Case) -> Exchange:
    def is_right(answer: bytes) -> bool:
        return case.holds({"gradient": _floats(orjson.loads(answer)["x"]["data"]["buffer"])})

    return _tesseract(case, lambda array: {"buffer": array, "encoding": "json"}, is_right, JSON)


def tesseract_base64(case: Case) -> Exchange:
    def is_right(answer: bytes) -> bool:
        return case.holds({"gradient": _from_base64(orjson.loads(answer)["x"]["data"]["buffer"])})

    return _tesseract(
        case, lambda array: {"buffer": _to_base64(array), "encoding": "base64"}, is_right, "application/json+base64"
    )


def _tesseract(
    case: Case, data: Callable[[Array], dict[str, Any]], is_right: Callable[[bytes], bool], accept: str
) -> Exchange:
    def sent(array: Array) -> dict[str, Any]:
        return {"object_type": "array", "dtype": "float64", "shape": array.shape, "data": data(array)}

    body = {
        "inputs": {"x": sent(case.x)},
        "vjp_inputs": ["x"],
        "vjp_outputs": ["y"],
        "cotangent_vector": {"y": sent(case.grad_tensors)},
    }
    return Exchange("/vector_jacobian_product", _dumps(body), is_right, accept=accept)


def umbridge(case: Case) -> Exchange:
    body = {
        "name": "square_relu",
        "outWrt": 0,
        "inWrt": 0,
        "input": [case.x],
        "sens": case.grad_tensors,
        "config": {"n": case.x.size},
    }

    def is_right(answer: bytes) -> bool:
        return case.holds({"gradient": _floats(orjson.loads(answer)["output"])})

    return Exchange("/Gradient", _dumps(body), is_right)


def naive(case: Case) -> Exchange:
    def is_right(answer: bytes) -> bool:
        return case.holds({name: _floats(array) for name, array in orjson.loads(answer).items()})

    return Exchange("/backward", _dumps({"x": case.x, "grad_tensors": case.grad_tensors}), is_right)


def echo_json(case: Case) -> Exchange:
    return _echo(pullback_json(case))


def echo_safetensors(case: Case) -> Exchange:
    return _echo(pullback_safetensors(case))


def _echo(exchange: Exchange) -> Exchange:
    return Exchange("/echo", exchange.body, partial(eq, exchange.body), media=exchange.media)


def _dumps(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _floats(numbers: list[float]) -> Array:
    return np.array(numbers, dtype=np.float64)


def _to_base64(array: Array) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _from_base64(text: str) -> Array:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")
