"""Every failure as `application/problem+json`, whoever raised it."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pullback_schemas.problems import (
    InternalError,
    MethodNotAllowed,
    NotFound,
    ProblemError,
    QuotaExceeded,
    Unauthorized,
    describe,
)
from pullback_service.telemetry.record import CLIENT_GONE

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1
CHALLENGE = 'Bearer realm="pullback", Basic realm="pullback", charset="UTF-8"'

log = logging.getLogger(__name__)


def problem_response(error: ProblemError) -> Response:
    """The response that tells of a problem."""
    body = describe(error).model_dump_json(exclude_none=True)
    return Response(body, error.status, _headers_of(error), PROBLEM_JSON)


def _headers_of(error: ProblemError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"www-authenticate": CHALLENGE}
    if isinstance(error, QuotaExceeded):
        return {"retry-after": str(error.retry_after_s)}
    if isinstance(error, MethodNotAllowed) and error.expected:
        return {"allow": str(error.expected)}
    return {"retry-after": str(RETRY_AFTER_S)} if error.status in (503, 504) else {}


def install_problems(app: FastAPI) -> None:
    """Make every exception of `app` a problem document."""

    @app.exception_handler(ProblemError)
    async def on_problem(_: Request, error: ProblemError) -> Response:
        return problem_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow")
            return problem_response(
                MethodNotAllowed(f"{request.method} is not allowed here.", expected=allowed, got=request.method)
            )
        if error.status_code == 404:
            return problem_response(
                NotFound("There is nothing at this address.", hint="GET /docs shows what there is.")
            )
        return problem_response(unforeseen(error))

    @app.exception_handler(ClientDisconnect)
    async def on_disconnect(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)  # nobody is there to read it

    @app.exception_handler(Exception)
    async def on_exception(_: Request, error: Exception) -> Response:
        return problem_response(unforeseen(error))


def unforeseen(error: BaseException) -> InternalError:
    """The problem of an exception that nobody expected; the log has it whole."""
    log.error("a request failed", exc_info=error)
    return InternalError("The service failed on this request; this is its own bug.")
