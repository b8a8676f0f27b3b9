"""What the service looks at in a request's head."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from starlette.types import Scope

MAX_ADDRESS = 64


class Media(NamedTuple):
    """The headers on how bodies are written, each None where it was not sent, as the bytes that came."""

    content_type: bytes | None = None
    content_encoding: bytes | None = None
    accept: bytes | None = None


class Head(NamedTuple):
    """The headers that matter to how a request is answered."""

    media: Media
    content_length: bytes | None
    timeout: bytes | None

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> Head:
        """Read from a request's headers."""
        sent = headers.get
        return cls(
            Media(sent(b"content-type"), sent(b"content-encoding"), sent(b"accept")),
            sent(b"content-length"),
            sent(b"pullback-timeout"),
        )


def address_of(scope: Scope, headers: Mapping[bytes, bytes], proxies: Container[str]) -> str:
    """Whence a request comes. `proxies` are addresses that are believed about whom they speak for."""
    client = scope.get("client")
    address: str = client[0] if client else ""
    if address in proxies and (forwarded := headers.get(b"x-forwarded-for")):
        return _client(forwarded.decode("latin-1"), proxies)
    return address


def _client(forwarded: str, proxies: Container[str]) -> str:
    """The last address that is none of the proxies': what stands before it, anybody can have written."""
    addresses = [address.strip() for address in forwarded.split(",")]
    return next((address for address in reversed(addresses) if address not in proxies), addresses[0])[:MAX_ADDRESS]
