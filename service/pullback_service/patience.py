"""Whoever takes longer than a fixed time is told of; whoever does not has cost a dictionary's entry, and no timer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from typing_extensions import override


class Patience:
    """Calls back after a fixed time, unless it was told before that the matter has ended."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Callable[[], None], float] = {}  # the oldest first, since all wait equally long
        self._is_armed = False

    def begin(self, act: Callable[[], None]) -> None:
        """Call `act` after the time."""
        loop = asyncio.get_running_loop()
        self._waiting[act] = at = loop.time() + self.seconds
        if not self._is_armed:
            self._is_armed = True
            loop.call_at(at, self._ring)

    def end(self, act: Callable[[], None]) -> None:
        """Do not, if it has not been called yet."""
        self._waiting.pop(act, None)

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        self._is_armed = False
        for act, at in list(self._waiting.items()):
            if at > loop.time():
                self._is_armed = True
                loop.call_at(at, self._ring)
                return
            del self._waiting[act]
            act()


class AbstractInterruption(ABC):
    """A block that is told when its patience is over; interrupted, it is cancelled and raises `error()`."""

    def __init__(self, patience: Patience, error: Callable[[], Exception]) -> None:
        self._patience = patience
        self._error = error
        self._is_due = False

    @abstractmethod
    def on_overdue(self) -> None:
        """The block takes longer."""

    def interrupt(self) -> None:
        """Cancel the block now."""
        self._is_due = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._patience.begin(self.on_overdue)

    def __exit__(self, *_: object) -> None:
        self._patience.end(self.on_overdue)
        if self._is_due:
            self._task.uncancel()
            raise self._error() from None


class Bounded(AbstractInterruption):
    """A block that may not take longer than its patience."""

    @override
    def on_overdue(self) -> None:
        self.interrupt()
