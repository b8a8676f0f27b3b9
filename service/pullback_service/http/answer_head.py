"""The head of an answer as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from pullback_service.access.quotas import Header

VISIBLE = bytes([ord("\t"), *range(0x20, 0x7F), *range(0x80, 0x100)])


@lru_cache(256)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def written_head(status: int, headers: Iterable[Header]) -> bytes:
    """Status line and headers. Raises RuntimeError where a header would be read as more than one."""
    lines = [_status_line(status)]
    count = 1
    for name, value in headers:
        count += 1
        lines += name, b": ", value, b"\r\n"
    head = b"".join(lines)
    if head.translate(None, VISIBLE) != b"\r\n" * count:
        raise RuntimeError("a header holds a control character")
    return head + b"\r\n"
