"""What the service looks at in a request's head."""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import Scope


class Media(NamedTuple):
    """The headers on how bodies are written, each None where it was not sent, as the bytes that came."""

    content_type: bytes | None = None
    content_encoding: bytes | None = None
    accept: bytes | None = None


class Head(NamedTuple):
    """The headers that matter, and the client's address."""

    media: Media
    content_length: bytes | None
    timeout: bytes | None
    caller: str

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """Read from an ASGI scope. Of a header that came twice, the last one counts."""
        sent = dict(scope["headers"]).get
        client = scope.get("client")
        return cls(
            Media(sent(b"content-type"), sent(b"content-encoding"), sent(b"accept")),
            sent(b"content-length"),
            sent(b"pullback-timeout"),
            client[0] if client else "",
        )
