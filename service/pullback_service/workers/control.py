"""What the HTTP process and the fork server say to each other, in packets on a control socket."""

from __future__ import annotations

from enum import Enum

READY = b"ready"
"""The fork server's first packet, and how many GPUs it sees. After it, each command, a role and a device, gets one
answer: the worker's pid, with its pidfd.

When a worker has ended, a packet without a descriptor tells its pid and the signal that ended it, 0 for none.
"""

NOT_FORKED = b"not forked"
"""The answer where there is no room for another process."""

PACKET = 64
"""More bytes than any packet has."""


class Role(Enum):
    """What a worker is for. The value stands in the command, sent with one end of a socket, and ends its name."""

    WORKER = "worker"
    """Answers call after call, but runs no isolated operator."""
    ONCE = "once"
    """The same for a single call, then ends."""
    ALONE = "alone"
    """Runs isolated operators, for a single call, then ends."""

    @property
    def is_single_use(self) -> bool:
        """Whether it ends after one reply."""
        return self is not Role.WORKER
