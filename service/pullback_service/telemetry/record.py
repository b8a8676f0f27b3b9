"""What is told of a request: by metrics, logs and traces, and by its answer's headers. Never a key or a number of it.

Standard library only.
"""

from __future__ import annotations

import os
import re
import time
from itertools import count
from typing import Any

from pullback_service.workers.base import Reply, Usage

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
"""W3C Trace Context, level 1."""

CODE = re.compile(rb'"code": ?"([a-z0-9_]{1,64})"')
PHASE = ";dur="
CLIENT_GONE = 499
"""No status of HTTP's; nginx writes it too."""

MAX_PATH = 256

_OWN = os.urandom(6).hex()
_numbers = count(1)

Header = tuple[bytes, bytes]


class Record:
    """One request, from its head to the end of its answer; whoever learns more of it writes it down here."""

    __slots__ = (
        "_clock",
        "began_at",
        "code",
        "graph",
        "headers",
        "key",
        "method",
        "operation",
        "path",
        "protocol",
        "received",
        "request_id",
        "seconds",
        "sent",
        "server_timing",
        "span",
        "status",
        "trace_id",
        "usage",
    )

    def __init__(self, scope: Any, operation: str) -> None:
        self.method: str = scope["method"]
        self.path = scope["raw_path"][:MAX_PATH].decode("ascii", "backslashreplace")
        """As it was sent, without the query."""
        self.operation = operation
        self.protocol = "none"
        """How the body is written."""
        self.key: str | None = None
        """The name of the caller's key."""
        self.status = CLIENT_GONE
        """The answer's; CLIENT_GONE where nobody waited for it."""
        self.code: str | None = None
        """The problem's, if the answer is one."""
        self.graph = b""
        self.server_timing = ""
        self.received = self.sent = 0
        """The bytes of the bodies."""
        self.usage = Usage()
        self.headers: list[Header] = []
        """What the answer tells besides."""
        self.trace_id: str | None = None
        self.span: Any = None
        self.request_id = self._named(scope["headers"])
        self.began_at = time.monotonic()
        self.seconds = 0.0
        """How long it took, once it is over."""

    def _named(self, headers: list[Header]) -> bytes:
        """The request's name: the caller's own for it, if it is a sane one."""
        for name, value in headers:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                return value
        return b"%s-%x" % (_OWN.encode(), next(_numbers))

    def end(self) -> None:
        """It is over."""
        self.seconds = time.monotonic() - self.began_at

    def tell_of(self, reply: Reply) -> None:
        """A worker has answered it."""
        self.graph, self.server_timing = reply.graph, reply.server_timing

    def tell_of_problem(self, body: bytes) -> None:
        """It is answered with a problem."""
        found = CODE.search(body)
        self.code = found[1].decode() if found else None

    def phases(self) -> list[tuple[str, float]]:
        """The seconds of each phase that it came through, in their order."""
        found = []
        began = self.usage.began_at
        if began is not None:
            found.append(("queue", began - self.began_at))
        for part in self.server_timing.split(", ") if self.server_timing else ():
            phase, _, milliseconds = part.partition(PHASE)
            found.append((phase, float(milliseconds) * 1e-3))
        return found
