"""The operations by address, and how the OpenAPI document tells of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pullback_schemas.problems import Problem
from pullback_schemas.requests import (
    BackwardRequest,
    CheckRequest,
    ForwardRequest,
    GradcheckRequest,
    HessianRequest,
    HvpRequest,
    JacobianRequest,
    JvpRequest,
)
from pullback_schemas.results import (
    BackwardResult,
    CheckResult,
    ForwardResult,
    GradcheckResult,
    HessianResult,
    HvpResult,
    JacobianResult,
    JvpResult,
)
from pullback_service.forms import Form
from pullback_service.http.problems import PROBLEM_JSON

OPERATIONS: dict[str, tuple[type[BaseModel], type[BaseModel], str]] = {
    "forward": (ForwardRequest, ForwardResult, "The values of a graph"),
    "backward": (BackwardRequest, BackwardResult, "Gradients: the vector-Jacobian product with grad_tensors"),
    "jvp": (JvpRequest, JvpResult, "The Jacobian-vector product with tangents"),
    "jacobian": (JacobianRequest, JacobianResult, "Dense Jacobians"),
    "hvp": (HvpRequest, HvpResult, "The Hessian-vector product with vectors"),
    "hessian": (HessianRequest, HessianResult, "The dense Hessian"),
    "gradcheck": (GradcheckRequest, GradcheckResult, "Whether the gradients are right, and how that was found out"),
    "check": (CheckRequest, CheckResult, "Canonical form, text form, and every shape, without running it"),
}


def paths() -> dict[str, Any]:
    """`POST /v1/<operation>` for the OpenAPI document: these addresses are no routes of the framework's."""
    return {f"/v1/{operation}": {"post": _operation(operation)} for operation in OPERATIONS}


def _operation(operation: str) -> dict[str, Any]:
    sent, answered, summary = OPERATIONS[operation]
    return {
        "operationId": operation,
        "summary": summary,
        "description": sent.__doc__,
        "tags": ["operations"],
        **documented(answered, sent),
    }


BINARY = {"schema": {"type": "string", "format": "binary", "description": "a safetensors file: docs/tensors.md"}}

TIMEOUT_PARAMETER = {
    "name": "Pullback-Timeout",
    "in": "header",
    "description": "Seconds to wait for the answer, if fewer than the service would",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def documented(answered: type[BaseModel], sent: type[BaseModel] | None = None) -> dict[str, Any]:
    """What /openapi.json says of a route; openapi.py adds the models."""
    extra: dict[str, Any] = {
        "parameters": [TIMEOUT_PARAMETER],
        "responses": {
            "200": {"description": "Done", "content": {Form.JSON.value: {"schema": _reference(answered)}}},
            "4XX": {"description": "A problem", "content": {PROBLEM_JSON: {"schema": _reference(Problem)}}},
        },
    }
    if sent is not None:
        schema = {"schema": _reference(sent), "examples": _examples(sent)}
        extra["requestBody"] = {"required": True, "content": {Form.JSON.value: schema, Form.SAFETENSORS.value: BINARY}}
        extra["responses"]["200"]["content"][Form.SAFETENSORS.value] = BINARY
    return extra


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _examples(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    assert isinstance(extra["examples"], list)
    return {f"example {index}": {"value": value} for index, value in enumerate(extra["examples"], 1)}
