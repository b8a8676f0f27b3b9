"""The head of an answer as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from pullback_service.access.quotas import Header

CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


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
    if head.count(b"\n") != count or head.count(b"\r") != count or CONTROL.search(head):
        raise RuntimeError("a header holds a control character")
    return head + b"\r\n"
