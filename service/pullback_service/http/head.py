"""What the service looks at in a request's head."""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import Scope


class Head(NamedTuple):
    """The headers that matter, each None where it was not sent, as the bytes that came."""

    content_type: bytes | None
    content_encoding: bytes | None
    content_length: bytes | None
    accept: bytes | None
    timeout: bytes | None
    caller: str

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """Read from an ASGI scope. Of a header that came twice, the last one counts."""
        sent = dict(scope["headers"])
        return cls(
            sent.get(b"content-type"),
            sent.get(b"content-encoding"),
            sent.get(b"content-length"),
            sent.get(b"accept"),
            sent.get(b"pullback-timeout"),
            scope["client"][0] if scope.get("client") else "",
        )
