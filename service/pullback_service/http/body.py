"""The body of a request: its size, its bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from pullback_schemas.problems import BodyTooLarge, Busy
from pullback_service.forms import Piece
from pullback_service.http.exchange import Exchange, exchange_of
from pullback_service.http.head import Head
from pullback_service.http.holdings import Holdings
from pullback_service.settings import Settings
from pullback_service.workers.shared import INLINE_BYTES, SharedBytes


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


async def _arriving(first: Message, receive: Receive) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises ClientDisconnect."""
    message = first
    yield message.get("body", b"")
    while message.get("more_body", False):
        message = await _next(receive)
        yield message.get("body", b"")


class Bodies:
    """Reads bodies as they arrive, within bounds of size."""

    def __init__(self, settings: Settings, holdings: Holdings) -> None:
        self._max_bytes = settings.max_body_bytes
        self._max_small = min(INLINE_BYTES, self._max_bytes)
        self._holdings = holdings

    async def read(self, head: Head, scope: Scope, receive: Receive) -> bytes | SharedBytes:
        """The whole body, to be released; a large one goes straight to shared memory.

        Raises BodyTooLarge as soon as it is known to be, ClientDisconnect, or Busy when others' bodies take too much.
        """
        declared = head.content_length or b""
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            raise self._too_large()
        try:
            first = await _next(receive)
            body: bytes = first.get("body", b"")
            if len(body) <= self._max_small and not first.get("more_body", False):
                return body
            return await self._collect(_arriving(first, receive), exchange_of(scope))
        except OSError as error:
            raise Busy(f"There is no room for the body now: {error.strerror}.", hint="Try again soon.") from None

    def release(self, body: bytes | SharedBytes) -> None:
        """The body is not needed any more."""
        if isinstance(body, SharedBytes):
            self._holdings.give_back(len(body))
            body.close()

    async def _collect(self, stream: AsyncIterator[bytes], exchange: Exchange | None) -> bytes | SharedBytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in stream:
            size += len(chunk)
            if size > self._max_bytes:
                raise self._too_large()
            chunks.append(chunk)
            if size > INLINE_BYTES:
                return await self._share(b"".join(chunks), stream, exchange)
        return b"".join(chunks)

    async def _share(self, start: bytes, stream: AsyncIterator[bytes], exchange: Exchange | None) -> SharedBytes:
        body = SharedBytes.empty()
        try:
            self._append(body, start)
            if exchange is not None:
                await exchange.pour(partial(self._append, body))
            else:  # a server of somebody else's, or none
                async for chunk in stream:
                    self._append(body, chunk)
            body.seal()
        except BaseException:
            self.release(body)
            raise
        return body

    def _append(self, body: SharedBytes, chunk: Piece) -> None:
        if len(body) + len(chunk) > self._max_bytes:
            raise self._too_large()
        self._holdings.take(len(chunk))
        try:
            body.append(chunk)
        except OSError:
            self._holdings.give_back(len(chunk))
            raise

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body has more than {self._max_bytes:,} bytes.",
            expected=self._max_bytes,
            hint="Send less at once: numbers take fewest bytes in a safetensors file, compressed or not. "
            "Whoever runs the service sets PULLBACK_MAX_BODY_BYTES.",
        )
