"""What the service looks at in a request's head."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from starlette.types import Scope

from pullback_service.access.gate import Credentials

MAX_ADDRESS = 64


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
    credentials: Credentials
    address: str

    @classmethod
    def of(cls, scope: Scope, proxies: Container[str] = ()) -> Head:
        """Read from an ASGI scope. Of a header that came twice, the last one counts.

        `proxies` are addresses that are believed about whom they speak for.
        """
        sent = dict(scope["headers"]).get
        client = scope.get("client")
        address = client[0] if client else ""
        if address in proxies and (forwarded := sent(b"x-forwarded-for")):
            address = _client(forwarded.decode("latin-1"), proxies)
        return cls(
            Media(sent(b"content-type"), sent(b"content-encoding"), sent(b"accept")),
            sent(b"content-length"),
            sent(b"pullback-timeout"),
            Credentials(sent(b"authorization"), sent(b"x-api-key")),
            address,
        )


def _client(forwarded: str, proxies: Container[str]) -> str:
    """The last address that is none of the proxies': what stands before it, anybody can have written."""
    addresses = [address.strip() for address in forwarded.split(",")]
    return next((address for address in reversed(addresses) if address not in proxies), addresses[0])[:MAX_ADDRESS]
