"""What a request's head must say of its host and its body, so that everybody on the way reads the same request.

The parser itself refuses what is no HTTP: bare line ends, control characters, two lengths, a length beside chunks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pullback_schemas.problems import NotHttp

DECISIVE: Final = frozenset({b"host", b"transfer-encoding", b"expect"})
"""The headers that `check` and `expects_to_continue` want to see."""

OF_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
"""One of them, and the request has a body."""

HOST = lru_cache(256)(re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?").fullmatch)


def check(version: str, decisive: list[tuple[bytes, bytes]]) -> None:
    """Raise NotHttp where two readers could take one head for different requests (RFC 9112, 3.2 and 6.1)."""
    if version == "1.1" and len(decisive) == 1:
        name, value = decisive[0]
        if name == b"host" and HOST(value):
            return  # nearly every request
    if version not in ("1.0", "1.1"):
        raise NotHttp(f"HTTP/{version} is not served.", expected="HTTP/1.1", got=version, hint="Speak HTTP/1.1.")
    _check_hosts(version, [value for name, value in decisive if name == b"host"])
    _check_codings(version, [value for name, value in decisive if name == b"transfer-encoding"])


def expects_to_continue(decisive: list[tuple[bytes, bytes]]) -> bool:
    """Whether the client sends its body only when it is told to."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in decisive)


def _check_hosts(version: str, hosts: list[bytes]) -> None:
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise NotHttp(
            f"The request has {len(hosts)} Host headers.",
            expected=1,
            got=len(hosts),
            hint="Send one: the name and port that the client connects to.",
        )
    for host in hosts:
        if not HOST(host):
            got = host[:64].decode("latin-1")
            raise NotHttp("The Host header holds no host.", expected="host or host:port", got=got)


def _check_codings(version: str, codings: list[bytes]) -> None:
    if codings and (version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
        raise NotHttp(
            "The body's transfer encoding is not served.",
            expected="chunked, once, over HTTP/1.1",
            got=b", ".join(codings)[:64].decode("latin-1"),
            hint="Send Content-Length, or Transfer-Encoding: chunked. A compressed body is told by Content-Encoding.",
        )
