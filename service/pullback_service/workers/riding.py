"""Which calls may be sent to a worker together: small ones of one graph, of which a worker said so."""

from __future__ import annotations

from cachetools import LRUCache

from pullback_service.workers.base import Call, Reply

MOST_TOGETHER = 64
SMALL_BYTES = 2**12
REMEMBERED = 1024
OPERATION = "backward"


class Company:
    """What workers said of the graphs that they know.

    A graph is told by the bytes before the inputs, which nobody here understands: the worker finds out what really
    belongs together, and answers everything else one after the other.
    """

    def __init__(self) -> None:
        self._welcome: LRUCache[bytes, None] = LRUCache(REMEMBERED)

    def key_of(self, call: Call) -> bytes | None:
        """What calls have in common that may be sent together; None if this one goes alone."""
        part = _graph_part(call)
        return part if part in self._welcome else None

    def learn(self, call: Call, reply: Reply) -> None:
        """What a worker says with its reply holds for the next calls of the same graph."""
        part = _graph_part(call)
        if part is not None and reply.rides:
            self._welcome[part] = None
        elif part is not None:
            self._welcome.pop(part, None)


def _graph_part(call: Call) -> bytes | None:
    body = call.body
    if call.operation != OPERATION or not isinstance(body, bytes) or len(body) > SMALL_BYTES:
        return None
    end = body.rfind(b'"inputs"')
    return body[:end] if 0 <= body.find(b'"graph"') < end else None
