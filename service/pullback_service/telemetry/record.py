"""What is told of a request, by metrics, logs, traces and its answer's headers: never a key, never a number of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pullback_service.workers.base import Reply, Usage

if TYPE_CHECKING:
    from pullback_service.access.gate import Visit
    from pullback_service.access.quotas import Header

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
CODE = re.compile(rb'"code": ?"([a-z0-9_]{1,64})"')
PHASE = ";dur="
CLIENT_GONE = 499
"""No status of HTTP's; nginx writes it too."""

MAX_PATH = 256

_OWN = os.urandom(6).hex().encode()
_numbers = count(1)


def new_name() -> bytes:
    """One that no other request has."""
    return b"%s-%x" % (_OWN, next(_numbers))


class Record:
    """One request, from its head to the end of its answer; whoever learns more of it writes it down here."""

    protocol = "none"
    """How the body is written."""

    visit: Visit | None = None
    """The caller's, once it is known who calls."""

    status = CLIENT_GONE
    """The answer's; CLIENT_GONE where nobody waited for it."""

    code: str | None = None
    """The problem's, if the answer is one."""

    graph = b""
    server_timing = ""
    received = sent = 0
    """The bytes of the bodies."""

    seconds = 0.0
    """How long it took, once it is over."""

    trace_id: str | None = None
    span: Any = None

    operation = "other"
    """What was asked for, by a name of which there are few."""

    def __init__(self, scope: Any) -> None:
        self.method: str = scope["method"]
        self.asked: Mapping[bytes, bytes] = dict(scope["headers"])
        """The request's headers. Of one that came twice, the last counts."""

        self.headers: list[Header] = []
        """What the answer tells besides."""

        self.usage = Usage()
        self.began_at = monotonic()
        self.raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        own = self.asked.get(b"x-request-id")
        self.request_id = own if own and REQUEST_ID.fullmatch(own) else new_name()
        """The request's name: the caller's own for it, if it is a sane one."""

    @property
    def path(self) -> str:
        """As it was sent, without the query."""
        return self.raw_path[:MAX_PATH].decode("ascii", "backslashreplace")

    client: str | None = None
    """Whence it came."""

    @property
    def has_failed(self) -> bool:
        """Whether the service could not answer."""
        return self.status >= 500

    @property
    def key(self) -> str | None:
        """The name of the caller's key."""
        return None if self.visit is None else self.visit.key

    def quota_headers(self) -> list[Header]:
        """What the answer tells of the caller's quota."""
        return [] if self.visit is None else self.visit.quota_headers()

    def end(self) -> None:
        """It is over."""
        self.seconds = monotonic() - self.began_at

    def tell_of(self, reply: Reply) -> None:
        """A worker has answered it."""
        self.graph, self.server_timing = reply.graph, reply.server_timing

    def tell_of_problem(self, body: bytes) -> None:
        """It is answered with a problem."""
        found = CODE.search(body)
        self.code = found[1].decode() if found else None

    def phases(self) -> list[tuple[str, float]]:
        """The seconds of each phase that it came through, in their order."""
        began = self.usage.began_at
        found = [] if began is None else [("queue", began - self.began_at)]
        return [*found, *_seconds_of(self.server_timing)]


@lru_cache(16)
def _seconds_of(server_timing: str) -> tuple[tuple[str, float], ...]:
    """Phases and their seconds; calls that were answered together have them in common."""
    parts = [part.split(PHASE) for part in server_timing.split(", ")] if server_timing else []
    return tuple((phase, float(milliseconds) * 1e-3) for phase, milliseconds in parts)
