"""What the service looks at in a request's head."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from starlette.types import Scope

from pullback_service.addresses import is_address


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
    if address in proxies and b"x-forwarded-for" in headers:
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return _client(b",".join(lines).decode("latin-1"), proxies) or address
    return address


def _client(forwarded: str, proxies: Container[str]) -> str | None:
    """The last address that is none of the proxies': what stands before it, anybody can have written."""
    addresses = [_bare(text.strip()) for text in forwarded.split(",")]
    strangers = [address for address in addresses if address not in proxies]
    found = strangers[-1] if strangers else addresses[0]
    return found if is_address(found) else None


def _bare(text: str) -> str:
    """Without the port that some proxies write."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
