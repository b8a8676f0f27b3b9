"""The one interface between the HTTP process and whatever computes. Standard library only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

NEEDS_ISOLATION = 0
"""The status of a reply that is none: the call wants a process of its own. The body names the nodes, as JSON."""


@dataclass(frozen=True, slots=True)
class Call:
    """An operation and the bytes it is about."""

    operation: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status, the bytes of the answer, and how long its phases took."""

    status: int
    body: bytes
    server_timing: str = ""


class AbstractWorkers(ABC):
    """Something that answers calls, many at a time, and can tell how it is."""

    @abstractmethod
    async def start(self) -> None:
        """Begin to get ready; returns at once where readiness takes long."""

    @abstractmethod
    async def stop(self) -> None:
        """End every process and thread that was started."""

    @abstractmethod
    async def run(self, call: Call) -> Reply:
        """The answer to `call`.

        Raises Busy when no worker can take it, WorkerDied when the worker ended twice in the middle of it,
        DeadlineExceeded when it took too long. Problems of the request itself come back as replies.
        """

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """How many workers are `ready` (idle or busy), `busy`, and were ever `restarted`."""

    @abstractmethod
    def fences(self) -> dict[str, str]:
        """The kernel's fences around a worker by name: "on", or why one is not; none before a worker is up."""
