"""`POST /v1/<operation>`: bytes go to a worker, the worker's come back."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from pullback_schemas.problems import MethodNotAllowed, ProblemError
from pullback_service.forms import Form
from pullback_service.http.answers import Answers
from pullback_service.http.body import Bodies
from pullback_service.http.edge import record_of
from pullback_service.http.media import check_media
from pullback_service.http.operations import OPERATIONS
from pullback_service.http.problems import problem_response, unforeseen
from pullback_service.http.reception import Reception
from pullback_service.http.terms import PATIENCE_S, Attention
from pullback_service.patience import Patience
from pullback_service.settings import Settings
from pullback_service.telemetry.record import CLIENT_GONE
from pullback_service.telemetry.reporters import Reporters
from pullback_service.workers.base import AbstractWorkers, Call

PROTOCOLS = {form: form.name.lower() for form in Form}
ADDRESSES = {f"/v1/{operation}".encode(): operation for operation in OPERATIONS}
"""As they stand in a request's line: `/v1%2fbackward`, which a proxy may take for another address, is none."""


class Computing:
    """Answers the operations, each a plain ASGI application's request."""

    def __init__(
        self, reception: Reception, workers: AbstractWorkers, bodies: Bodies, answers: Answers, settings: Settings
    ) -> None:
        self._reception = reception
        self._workers = workers
        self._bodies = bodies
        self._answers = answers
        self._body_timeout_s = settings.body_timeout_s
        self._patience = Patience(PATIENCE_S)

    async def answer(self, operation: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, if only with a problem."""
        try:
            await self._compute(operation, scope, receive, send)
        except ProblemError as error:
            await problem_response(error)(scope, receive, send)
        except ClientDisconnect:
            await Response(status_code=CLIENT_GONE)(scope, receive, send)  # nobody is there to read it
        except Exception as error:
            await problem_response(unforeseen(error))(scope, receive, send)

    async def _compute(self, operation: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['method']} is not allowed here.", expected="POST", got=scope["method"])
        record = record_of(scope)
        head, visit = self._reception.greet(scope)
        self._workers.welcome()
        with visit:
            forms = check_media(head.media)
            record.protocol = PROTOCOLS[forms.sent]
            terms = self._reception.terms(head, visit)
            with Attention(receive, self._patience, self._body_timeout_s) as attention:
                body = await self._bodies.read(head, scope, receive)
                attention.has_body()
                record.received = len(body)
                try:
                    reply = await self._workers.run(Call(operation, body, forms), terms)
                finally:
                    self._bodies.release(body)
            record.tell_of(reply)
            await self._answers.send(reply, forms.wanted, scope, send)


class Application(FastAPI):
    """The framework's application, with the operations ahead of it, and the edge ahead of all.

    Its way to a route costs more than all the rest of the HTTP process's share of a small request.
    """

    edge: ASGIApp
    reporters: Reporters
    computing: Computing

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.edge(scope, receive, send)

    async def dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What stands behind the edge."""
        operation = ADDRESSES.get(record_of(scope).raw_path) if scope["type"] == "http" else None
        if operation is None and scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves the body out
        if operation is None:
            await super().__call__(scope, receive, send)
        else:
            await self.computing.answer(operation, scope, receive, send)
