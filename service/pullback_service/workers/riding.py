"""Which calls may be sent to a worker together: small ones of one graph, of which a worker said so."""

from __future__ import annotations

from pullback_schemas.safetensors import head_of
from pullback_service.forms import Coding, Form
from pullback_service.workers.base import Call, Reply

MOST_TOGETHER = 64
SMALL_BYTES = 2**12
REMEMBERED = 1024
OPERATIONS = ("forward", "backward")


Part = tuple[str, int, bytes]
"""What calls of one graph have in common: the operation, their forms, what they begin with."""


class Company:
    """What workers said of the graphs that they know.

    A graph is told by the bytes before the inputs, or before the data of a file, which nobody here understands: the
    worker finds out what really belongs together, and answers everything else one after the other.
    """

    def __init__(self) -> None:
        self._welcome: dict[Part, None] = {}

    def is_welcome(self, part: Part | None) -> bool:
        """Whether calls of this graph may be sent together."""
        return part in self._welcome

    def learn(self, part: Part | None, reply: Reply) -> None:
        """What a worker says with its reply holds for the next calls of the same graph."""
        if part is None or reply.rides == (part in self._welcome):
            return
        if reply.rides:
            if len(self._welcome) >= REMEMBERED:
                del self._welcome[next(iter(self._welcome))]
            self._welcome[part] = None
        else:
            del self._welcome[part]


def graph_part(call: Call) -> Part | None:
    """What tells that calls are of the same graph; None for a call that goes alone."""
    body, forms = call.body, call.forms
    if call.operation not in OPERATIONS or not isinstance(body, bytes) or len(body) > SMALL_BYTES:
        return None
    begin = head_of(body) if forms.sent is Form.SAFETENSORS else _before_inputs(body)
    return None if begin is None or forms.coding is not Coding.IDENTITY else (call.operation, forms.pack(), begin)


def _before_inputs(text: bytes) -> bytes | None:
    end = text.rfind(b'"inputs"')
    return text[:end] if 0 <= text.find(b'"graph"') < end else None
