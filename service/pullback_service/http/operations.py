"""The operations by address, and how the OpenAPI document tells of them."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel

from pullback_schemas.problems import Problem, problem_classes
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
from pullback_service.forms import Coding, Form
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
        "description": inspect.getdoc(sent),
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

CODING_PARAMETER = {
    "name": "Content-Encoding",
    "in": "header",
    "description": "How the body is compressed",
    "schema": {"enum": [coding.value for coding in Coding], "default": Coding.IDENTITY.value},
}

RETRY_AFTER = {"description": "Seconds after which to try again", "schema": {"type": "integer", "minimum": 0}}

COMING_IN = (400, 401, 403, 408, 422, 429, 431, 500, 503, 504)
"""The statuses of problems that any request for a worker may have; 422 is of its headers."""

WITH_BODY = (406, 413, 415)


def documented(
    answered: type[BaseModel],
    sent: type[BaseModel] | None = None,
    *,
    statuses: tuple[int, ...] = (),
    parameters: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """What /openapi.json says of a route; openapi.py adds the models. `statuses` are those of its own problems."""
    done: dict[str, Any] = {"description": "Done", "content": {Form.JSON.value: {"schema": _reference(answered)}}}
    if sent is None:
        return {
            "parameters": [*parameters, TIMEOUT_PARAMETER],
            "responses": {"200": done, **problems(*COMING_IN, *statuses)},
        }
    done["content"][Form.SAFETENSORS.value] = BINARY
    schema = {"schema": _reference(sent), "examples": _examples(sent)}
    return {
        "parameters": [*parameters, TIMEOUT_PARAMETER, CODING_PARAMETER],
        "requestBody": {"required": True, "content": {Form.JSON.value: schema, Form.SAFETENSORS.value: BINARY}},
        "responses": {"200": done, **problems(*COMING_IN, *WITH_BODY, *statuses)},
    }


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses that tell of problems with these statuses, each with the codes that it may have."""
    return {str(status): _problem(status) for status in sorted(statuses)}


def _problem(status: int) -> dict[str, Any]:
    codes = [code for code, kind in problem_classes().items() if kind.status == status]
    told = {
        "description": "A problem: " + ", ".join(codes),
        "content": {PROBLEM_JSON: {"schema": _reference(Problem)}},
    }
    return {**told, "headers": {"Retry-After": RETRY_AFTER}} if status in (429, 503, 504) else told


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _examples(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    assert isinstance(extra["examples"], list)
    return {f"example {index}": {"value": value} for index, value in enumerate(extra["examples"], 1)}
