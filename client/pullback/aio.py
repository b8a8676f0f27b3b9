"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx
from pydantic import BaseModel
from typing_extensions import Unpack

from pullback import operations
from pullback.connection import Connection, as_method
from pullback.exchange import Exchange, Outcome, Send, Wait, exchange
from pullback.operations import Question
from pullback.options import Chosen, settle
from pullback.progress import shown

P = ParamSpec("P")
Model = TypeVar("Model", bound=BaseModel)


def _asks(question: Callable[P, Question[Model]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Model]]:
    """A method with the arguments of `question`, to be awaited for its answer."""

    async def ask(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Model:
        return await self._answer(exchange(question(*args, **kwargs), self.options))

    return as_method(ask, question)


class AsyncClient(Connection[httpx.AsyncClient]):
    """As Client, with the same methods, to be awaited: `async with AsyncClient() as client: await client.ops()`."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        http_client: httpx.AsyncClient | None = None,
        **options: Unpack[Chosen],
    ) -> None:
        settled = settle(base_url, http_client, options)
        http = http_client or httpx.AsyncClient(transport=transport)
        super().__init__(settled, http, is_owner=http_client is None)

    forward = _asks(operations.forward)
    backward = _asks(operations.backward)
    jvp = _asks(operations.jvp)
    jacobian = _asks(operations.jacobian)
    hvp = _asks(operations.hvp)
    hessian = _asks(operations.hessian)
    gradcheck = _asks(operations.gradcheck)
    check = _asks(operations.check)
    ops = _asks(operations.ops)
    op = _asks(operations.op)
    health = _asks(operations.health)

    async def aclose(self) -> None:
        """Close the connections, if this client opened them."""
        if self._is_owner:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _answer(self, call: Exchange[Model]) -> Model:
        outcome: Outcome = None
        while True:
            try:
                step = call.send(outcome)
            except StopIteration as done:
                answer: Model = done.value
                return answer
            outcome = await self._do(step)

    async def _do(self, step: Send | Wait) -> Outcome:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        try:
            with shown(step.label) as watch:
                async with self._http.stream(
                    step.method, step.url, headers=step.headers, content=step.content, timeout=step.timeout
                ) as response:
                    watch(response)
                    await response.aread()
                    return response
        except httpx.RequestError as error:
            return error
