"""Routes: an address is an operation; its bytes go to a worker, the worker's come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

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
from pullback_service.forms import Form
from pullback_service.http.body import JSON, Bodies, check_media
from pullback_service.http.connection import ABORT
from pullback_service.http.holdings import Holdings
from pullback_service.http.patience import Patience
from pullback_service.http.problems import PROBLEM_JSON
from pullback_service.http.terms import PATIENCE_S, WhilePresent, terms_of
from pullback_service.settings import Settings
from pullback_service.workers.base import AbstractWorkers, Call, Reply

log = logging.getLogger(__name__)

MAX_NAME = 1024

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
    holdings = Holdings(settings.max_held_bytes)
    bodies = Bodies(settings, holdings)
    patience = Patience(PATIENCE_S)

    def respond(reply: Reply, form: Form = Form.JSON) -> Response:
        return response_to(reply, form, holdings, settings.body_timeout_s)

    def computing(operation: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            forms = check_media(request.headers)
            terms = terms_of(request, settings.deadline_s)
            body = await bodies.read(request)
            try:
                with WhilePresent(request, patience):
                    reply = await workers.run(Call(operation, body, forms), terms)
            finally:
                bodies.release(body)
            return respond(reply, forms.wanted)

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
    async def ops(request: Request) -> Response:
        """The operators that a graph may call."""
        return respond(await workers.run(Call("ops", b""), terms_of(request, settings.deadline_s)))

    @router.get(
        "/ops/{name}",
        tags=["operators"],
        response_model=None,
        openapi_extra=_documented(OpInfo),
        operation_id="op",
    )
    async def op(request: Request, name: str) -> Response:
        """One operator: aliases, and the signature of each overload."""
        call = Call("op", name.encode("utf-8", "replace")[:MAX_NAME])
        return respond(await workers.run(call, terms_of(request, settings.deadline_s)))

    return router


def response_to(reply: Reply, form: Form, holdings: Holdings, timeout_s: float) -> Response:
    """A worker's reply as an HTTP response. Raises Busy when other large answers are still being read."""
    media = form.value if reply.status < 400 else PROBLEM_JSON
    headers = {"server-timing": reply.server_timing} if reply.server_timing else {}
    if reply.shared is not None:
        holdings.take(len(reply.shared))
        return SharedResponse(reply, headers, media, holdings, timeout_s)
    return Response(reply.body, reply.status, headers, media)


class SharedResponse(Response):
    """A large answer, sent no faster than the client reads it; given up when it stops reading."""

    def __init__(self, reply: Reply, headers: dict[str, str], media: str, holdings: Holdings, timeout_s: float) -> None:
        assert reply.shared is not None
        self._answer = reply.shared
        super().__init__(None, reply.status, {**headers, "content-length": str(len(self._answer))}, media)
        self._holdings = holdings
        self._timeout_s = timeout_s

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                for chunk in self._answer.memory.chunks(self._answer.start):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            log.warning("a client did not read its answer within %g s", self._timeout_s)
            scope.get("state", {}).get(ABORT, _nothing)()
        finally:
            self._answer.memory.close()
            self._holdings.give_back(len(self._answer))


def _nothing() -> None:
    """Where there is no connection to end."""


TIMEOUT_PARAMETER = {
    "name": "Pullback-Timeout",
    "in": "header",
    "description": "Seconds to wait for the answer, if fewer than the service would",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def _documented(answered: type[BaseModel], sent: type[BaseModel] | None = None) -> dict[str, Any]:
    """What /openapi.json says of a route; openapi.py adds the models."""
    extra: dict[str, Any] = {
        "parameters": [TIMEOUT_PARAMETER],
        "responses": {
            "200": {"description": "Done", "content": {JSON: {"schema": _reference(answered)}}},
            "4XX": {"description": "A problem", "content": {PROBLEM_JSON: {"schema": _reference(Problem)}}},
        },
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
