"""How long the phases of a request take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Whatever runs inside belongs to the phase `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def milliseconds(self) -> dict[str, float]:
        """The phases so far."""
        return {name: round(seconds * 1e3, 4) for name, seconds in self.seconds.items()}

    def server_timing(self) -> str:
        """The value of a `Server-Timing` header."""
        return ", ".join(f"{name};dur={duration}" for name, duration in self.milliseconds().items())
