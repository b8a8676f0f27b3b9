"""`GET /v1/ops`: the operators that there are."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from pullback_schemas.results import OpInfo, OpList
from pullback_service.forms import Form
from pullback_service.http.answers import Answers
from pullback_service.http.edge import record_of
from pullback_service.http.operations import documented
from pullback_service.http.reception import Reception
from pullback_service.workers.base import AbstractWorkers, Call, Reply

MAX_NAME = 1024
NAME = {"name": "name", "in": "path", "required": True, "description": "like relu", "schema": {"type": "string"}}
ONE = documented(OpInfo, statuses=(404,), parameters=(NAME,))


class ReplyResponse(Response):
    """A worker's reply as a response of the framework."""

    def __init__(self, reply: Reply, answers: Answers) -> None:
        super().__init__()
        self._reply = reply
        self._answers = answers

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answers.send(self._reply, Form.JSON, scope, send)


def catalogue_router(reception: Reception, workers: AbstractWorkers, answers: Answers) -> APIRouter:
    """`GET /v1/ops` and `GET /v1/ops/{name}`."""
    router = APIRouter(prefix="/v1", tags=["operators"])

    async def answer(request: Request, call: Call) -> Response:
        head, visit = reception.greet(request.scope)
        workers.welcome()
        with visit:
            reply = await workers.run(call, reception.terms(head, visit))
        record_of(request.scope).tell_of(reply)
        return ReplyResponse(reply, answers)

    @router.get("/ops", response_model=None, openapi_extra=documented(OpList), operation_id="ops")
    async def ops(request: Request) -> Response:
        """The operators that a graph may call."""
        return await answer(request, Call("ops", b""))

    @router.get("/ops/{name}", response_model=None, openapi_extra=ONE, operation_id="op")
    async def op(request: Request) -> Response:
        """One operator: aliases, and the signature of each overload."""
        return await answer(request, Call("op", request.path_params["name"].encode("utf-8", "replace")[:MAX_NAME]))

    return router
