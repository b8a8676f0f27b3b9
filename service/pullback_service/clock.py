"""How long the phases of a request take."""

from __future__ import annotations

import time


class Clock:
    """A lap timer: each lap is a phase."""

    def __init__(self) -> None:
        self._laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What ran since the last lap was `phase`."""
        now = time.perf_counter()
        self._laps[phase] = self._laps.get(phase, 0.0) + now - self._last
        self._last = now

    def milliseconds(self) -> dict[str, float]:
        """The phases so far."""
        return {phase: round(seconds * 1e3, 4) for phase, seconds in self._laps.items()}

    def json(self) -> bytes:
        """The same, written."""
        return b"{%b}" % ",".join([f'"{phase}":{seconds * 1e3:.4f}' for phase, seconds in self._laps.items()]).encode()

    def server_timing(self) -> str:
        """The value of a `Server-Timing` header."""
        return ", ".join([f"{phase};dur={seconds * 1e3:.4f}" for phase, seconds in self._laps.items()])
