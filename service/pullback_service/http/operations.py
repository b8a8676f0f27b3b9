"""Routes: an address is an operation; its bytes go to a worker, the worker's come back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

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
    OpInfo,
    OpList,
)
from pullback_service.http.body import JSON, check_media, read_body
from pullback_service.http.problems import PROBLEM_JSON
from pullback_service.settings import Settings
from pullback_service.workers.base import AbstractWorkers, Call, Reply

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


def operations_router(workers: AbstractWorkers, settings: Settings) -> APIRouter:
    """`POST /v1/<operation>` and the operator catalogue."""
    router = APIRouter(prefix="/v1")

    def computing(operation: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            check_media(request.headers)
            body = await read_body(request, settings.max_body_bytes)
            return respond(await workers.run(Call(operation, body)))

        return answer

    for operation, (sent, answered, summary) in OPERATIONS.items():
        router.add_api_route(
            f"/{operation}",
            computing(operation),
            methods=["POST"],
            name=operation,
            operation_id=operation,
            summary=summary,
            description=sent.__doc__,
            tags=["operations"],
            response_model=None,
            openapi_extra=_documented(answered, sent),
        )

    @router.get("/ops", tags=["operators"], response_model=None, openapi_extra=_documented(OpList), operation_id="ops")
    async def ops() -> Response:
        """The operators that a graph may call."""
        return respond(await workers.run(Call("ops", b"")))

    @router.get(
        "/ops/{name}",
        tags=["operators"],
        response_model=None,
        openapi_extra=_documented(OpInfo),
        operation_id="op",
    )
    async def op(name: str) -> Response:
        """One operator: aliases, and the signature of each overload."""
        return respond(await workers.run(Call("op", name.encode("utf-8", "replace"))))

    return router


def respond(reply: Reply) -> Response:
    """A worker's reply as an HTTP response."""
    media = JSON if reply.status < 400 else PROBLEM_JSON
    headers = {"server-timing": reply.server_timing} if reply.server_timing else None
    return Response(reply.body, reply.status, headers, media)


def _documented(answered: type[BaseModel], sent: type[BaseModel] | None = None) -> dict[str, Any]:
    """What /openapi.json says of a route; openapi.py adds the models."""
    extra: dict[str, Any] = {
        "responses": {
            "200": {"description": "Done", "content": {JSON: {"schema": _reference(answered)}}},
            "4XX": {"description": "A problem", "content": {PROBLEM_JSON: {"schema": _reference(Problem)}}},
        }
    }
    if sent is not None:
        schema = {"schema": _reference(sent), "examples": _examples(sent)}
        extra["requestBody"] = {"required": True, "content": {JSON: schema}}
    return extra


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _examples(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    assert isinstance(extra["examples"], list)
    return {f"example {index}": {"value": value} for index, value in enumerate(extra["examples"], 1)}
