"""The one interface between the HTTP process and whatever computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pullback_schemas.problems import Busy
from pullback_service.forms import PLAIN, Forms, Piece
from pullback_service.workers.shared import SharedBytes

NEEDS_ISOLATION = 0
"""The status of a reply that is none: the call wants a process of its own. The body names the nodes, as JSON."""

NEEDS_DEVICE = 1
"""Likewise: the call wants another device. The body names it."""


NEEDS_ROOM = 2
"""Likewise: the call is to be answered alone, not beside others."""


class Call(NamedTuple):
    """An operation and the bytes it is about; large ones are shared, and sealed."""

    operation: str
    body: bytes | SharedBytes
    forms: Forms = PLAIN

    def buffer(self) -> bytes | memoryview:
        """The bytes, wherever they are."""
        return self.body.view() if isinstance(self.body, SharedBytes) else self.body


class Usage:
    """What a request has taken, as far as it has come."""

    __slots__ = ("_charge", "_sharers", "_since", "began_at", "computed_s")

    def __init__(self) -> None:
        self.began_at: float | None = None
        """When a worker first had it, by the monotonic clock."""
        self.computed_s = 0.0
        """Seconds of a worker's time; its share of them, where it was answered together with others."""
        self._since, self._sharers = 0.0, 0
        self._charge: Callable[[float], None] | None = None

    def charge(self, charge: Callable[[float], None]) -> None:
        """Call this with seconds of a worker's time when they are over, which may be after the caller has gone."""
        self._charge = charge

    def begin(self, now: float, sharers: int) -> None:
        """A worker has it, and as many requests in all."""
        self._since, self._sharers = now, sharers
        if self.began_at is None:
            self.began_at = now

    def end(self, now: float) -> None:
        """The worker has it no more."""
        if self._sharers:
            seconds = (now - self._since) / self._sharers
            self._sharers = 0
            self.computed_s += seconds
            if self._charge is not None:
                self._charge(seconds)


class Terms(NamedTuple):
    """Who calls, how many seconds they will wait, and where it is told what their request takes."""

    caller: str
    timeout_s: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a large reply: what a sealed memory file holds from `start` on."""

    memory: SharedBytes
    start: int

    def __len__(self) -> int:
        return len(self.memory) - self.start


class Reply(NamedTuple):
    """An HTTP status, the bytes of the answer, and how long its phases took.

    The body of a large answer is in `pieces` where it was made, which go as they are sent, and `shared` behind that.
    """

    status: int
    body: bytes
    server_timing: str = ""
    shared: Answer | None = None
    rides: bool = False
    """Calls like this one may be sent together: those that do not go through one run are sent back."""
    pieces: list[Piece] | None = None
    graph: bytes = b""
    """The SHA-256 of the graph's canonical form, if it came that far."""
    device_bytes: int = 0
    """What the worker holds of a GPU's memory."""

    @property
    def size(self) -> int:
        """The bytes of the body, or of its pieces."""
        return len(self.body) if self.pieces is None else sum(map(len, self.pieces))

    def joined(self) -> Reply:
        """The same, its body in one piece."""
        return self if self.pieces is None else self._replace(body=b"".join(self.pieces), pieces=None)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether calls are welcome, and if they are not, why."""

    status: Literal["ok", "starting", "failing", "full", "draining"]
    reason: str | None = None


def ends() -> Busy:
    """What callers are told that are not answered any more."""
    return Busy("The service is about to end.", hint="Another one may take over.")


class AbstractWorkers(ABC):
    """Something that answers calls, many at a time, and can tell how it is."""

    @abstractmethod
    async def start(self) -> None:
        """Begin to get ready; returns at once where readiness takes long."""

    @abstractmethod
    def drain(self) -> None:
        """Welcome no calls from now on; what was welcome is finished."""

    @abstractmethod
    def welcome(self) -> None:
        """Ask before a call's body is read. Raises Busy when calls are welcome no more."""

    @abstractmethod
    def give_up(self) -> None:
        """End what still runs and waits; its callers get Busy."""

    @abstractmethod
    async def stop(self) -> None:
        """End every process and thread that was started."""

    @abstractmethod
    async def run(self, call: Call, terms: Terms) -> Reply:
        """The answer to `call`. Cancelled, it gives up its place or its worker.

        Raises Busy when no worker can take it, WorkerDied when the worker ended twice in the middle of it,
        DeadlineExceeded when it took too long. Problems of the request itself come back as replies.
        """

    @abstractmethod
    def readiness(self) -> Readiness:
        """Whether a call would be taken now."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """How many workers are `ready` (idle or busy), `busy`, were ever `restarted`; how many calls are `waiting`."""

    @abstractmethod
    def devices(self) -> dict[str, str]:
        """The devices that serve, by name: "ok", "starting" or "failing"."""

    @abstractmethod
    def memory(self) -> dict[str, int]:
        """The bytes that workers hold of each device's memory."""

    @abstractmethod
    def fences(self) -> dict[str, str]:
        """The kernel's fences around a worker by name: "on", or why one is not; none before a worker is up."""
