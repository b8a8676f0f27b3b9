"""`POST /v1/<operation>`, ahead of the framework's routes: bytes go to a worker, the worker's come back."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pullback_schemas.problems import MethodNotAllowed, ProblemError
from pullback_service.http.answers import Answers
from pullback_service.http.body import Bodies, check_media
from pullback_service.http.head import Head
from pullback_service.http.operations import OPERATIONS
from pullback_service.http.problems import problem_response
from pullback_service.http.terms import PATIENCE_S, WhilePresent, terms_of
from pullback_service.patience import Patience
from pullback_service.workers.base import AbstractWorkers, Call


class Computing:
    """An ASGI application that answers the operations itself and leaves everything else to the next one.

    The framework's way to a route costs more than the rest of the HTTP process's share of a small request.
    """

    def __init__(
        self, app: ASGIApp, workers: AbstractWorkers, bodies: Bodies, answers: Answers, deadline_s: float
    ) -> None:
        self._app = app
        self._workers = workers
        self._bodies = bodies
        self._answers = answers
        self._deadline_s = deadline_s
        self._patience = Patience(PATIENCE_S)
        self._operations = {f"/v1/{operation}": operation for operation in OPERATIONS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        operation = self._operations.get(scope["path"]) if scope["type"] == "http" else None
        if operation is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._compute(operation, scope, receive, send)
        except ProblemError as error:
            headers = {"allow": "POST"} if isinstance(error, MethodNotAllowed) else None
            await problem_response(error, headers)(scope, receive, send)
        except ClientDisconnect:
            await Response(status_code=400)(scope, receive, send)  # nobody is there to read it

    async def _compute(self, operation: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['method']} is not allowed here.", expected="POST", got=scope["method"])
        head = Head.of(scope)
        check_media(head)
        terms = terms_of(head, self._deadline_s)
        body = await self._bodies.read(head, receive)
        try:
            with WhilePresent(receive, self._patience):
                reply = await self._workers.run(Call(operation, body), terms)
        finally:
            self._bodies.release(body)
        await self._answers.send(reply, scope, send)
