"""Whoever takes longer than a fixed time is told of; whoever does not has cost a dictionary's entry, and no timer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, Self

from typing_extensions import override

TICK_S = 0.001
"""Timers may ring so much too early."""


class Waiting(Protocol):
    """Who is told."""

    def on_overdue(self) -> None:
        """The time is over."""


class Patience:
    """Tells blocks that they have taken a fixed time, unless they ended before."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Waiting, float] = {}  # the oldest first, since all wait equally long
        self._is_armed = False

    def begin(self, block: Waiting) -> None:
        """Tell `block` after the time."""
        loop = asyncio.get_running_loop()
        self._waiting.pop(block, None)
        self._waiting[block] = at = loop.time() + self.seconds
        if not self._is_armed:
            self._is_armed = True
            loop.call_at(at, self._ring)

    def end(self, block: Waiting) -> None:
        """Do not, if it has not been told yet."""
        self._waiting.pop(block, None)

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            block, at = next(iter(self._waiting.items()))
            if at > loop.time() + TICK_S:
                loop.call_at(at, self._ring)
                return
            del self._waiting[block]
            block.on_overdue()
        self._is_armed = False


class AbstractInterruption(ABC):
    """A block that is told when its patience is over; interrupted, it is cancelled and raises `error()`."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def on_overdue(self) -> None:
        """The block takes longer."""

    @abstractmethod
    def error(self) -> Exception:
        """What an interrupted block raises."""

    def interrupt_in(self, seconds: float) -> None:
        """Cancel the block after so long, unless it ends or thinks better of it before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self.interrupt)

    def think_better_of_it(self) -> None:
        """Do not."""
        if self._timer is not None:
            self._timer.cancel()

    def interrupt(self) -> None:
        """Cancel the block now."""
        self._is_due = True
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._patience.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.think_better_of_it()
        self._patience.end(self)
        if self._is_due:
            self._task.uncancel()
            raise self.error() from None


class Deadline(AbstractInterruption):
    """A block that may not take longer than `seconds`, for which a timer runs only once the patience is over."""

    def __init__(self, patience: Patience, seconds: float, error: Callable[[], Exception]) -> None:
        super().__init__(patience)
        self._seconds = seconds
        self._error = error

    @override
    def on_overdue(self) -> None:
        self.interrupt_in(self._seconds - self._patience.seconds)

    @override
    def error(self) -> Exception:
        return self._error()

    @override
    def __enter__(self) -> Self:
        super().__enter__()
        if self._seconds <= self._patience.seconds:
            self._patience.end(self)
            self.interrupt_in(self._seconds)
        return self
