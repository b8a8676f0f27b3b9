"""Who runs next: as many calls as there are workers, a bounded number that wait, fair between callers and sizes."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque

from pullback_schemas.problems import Busy

Turn = asyncio.Future[None]


class Lane:
    """Calls that wait, each caller's in their order; callers take turns."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[Turn]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._callers)

    def join(self, caller: str, turn: Turn) -> None:
        """Wait behind the caller's other calls."""
        self._callers.setdefault(caller, deque()).append(turn)

    def next(self) -> tuple[str, Turn]:
        """The first call of the caller whose turn it is."""
        caller, turns = next(iter(self._callers.items()))
        turn = turns.popleft()
        self._callers.move_to_end(caller)
        if not turns:
            del self._callers[caller]
        return caller, turn

    def clear(self) -> list[Turn]:
        """Everyone leaves."""
        turns = [turn for queued in self._callers.values() for turn in queued]
        self._callers.clear()
        return turns

    def last_of(self, caller: str) -> Turn | None:
        """The caller's newest call."""
        return self._callers[caller][-1] if caller in self._callers else None

    def leave(self, caller: str, turn: Turn) -> bool:
        """Wait no longer; whether the call was waiting."""
        if turn not in self._callers.get(caller, ()):
            return False
        self._callers[caller].remove(turn)
        if not self._callers[caller]:
            del self._callers[caller]
        return True


class Queue:
    """Slots and the wait for them. Large calls never take the last slot but one, so that small ones get through.

    With a single slot, large and small ones that wait take turns.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._slots = slots
        self._max_large = max(1, slots - 1)
        self._max_waiting = max_waiting
        self._small, self._large = Lane(), Lane()
        self._waiting: Counter[str] = Counter()
        self._large_taken = 0
        self._large_is_next = False
        self.taken = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting.total()

    @property
    def is_full(self) -> bool:
        """Whether a call would be refused."""
        return self.taken >= self._slots and self.waiting >= self._max_waiting

    async def enter(self, caller: str, *, is_large: bool, deadline: float) -> None:
        """A slot, to be left again. Raises Busy when too many wait already, or none comes free before the deadline."""
        lane = self._large if is_large else self._small
        if not lane and self._is_open(is_large=is_large):
            self._take(is_large=is_large)
            return
        self._make_room(caller)
        turn: Turn = asyncio.get_running_loop().create_future()
        lane.join(caller, turn)
        self._waiting[caller] += 1
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if lane.leave(caller, turn):
                self._forget(caller)
            elif turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(is_large=is_large)  # the slot came in the very moment
            if isinstance(error, TimeoutError):
                raise Busy("No worker came free before the deadline.", hint="Try again soon.") from None
            raise

    def leave(self, *, is_large: bool) -> None:
        """The call is done."""
        self.taken -= 1
        self._large_taken -= is_large
        self._admit()

    def close(self) -> None:
        """Whoever waits gets Busy."""
        for lane in (self._small, self._large):
            for turn in lane.clear():
                if not turn.done():
                    turn.set_exception(Busy("The service is about to end.", hint="Another one may take over."))
        self._waiting.clear()

    def _is_open(self, *, is_large: bool) -> bool:
        return self.taken < self._slots and not (is_large and self._large_taken >= self._max_large)

    def _take(self, *, is_large: bool) -> None:
        self.taken += 1
        self._large_taken += is_large

    def _forget(self, caller: str) -> None:
        self._waiting[caller] -= 1
        if not self._waiting[caller]:
            del self._waiting[caller]

    def _admit(self) -> None:
        """Give free slots to those that wait; the two sizes take turns."""
        while True:
            may_run = [
                is_large for is_large in (False, True) if self._lane(is_large) and self._is_open(is_large=is_large)
            ]
            if not may_run:
                return
            is_large = self._large_is_next if self._large_is_next in may_run else may_run[0]
            self._large_is_next = not is_large
            caller, turn = self._lane(is_large).next()
            self._forget(caller)
            if not turn.done():
                self._take(is_large=is_large)
                turn.set_result(None)

    def _lane(self, is_large: bool) -> Lane:
        return self._large if is_large else self._small

    def _make_room(self, caller: str) -> None:
        """In a full queue, the newest call of whoever has most in it gives way to a caller with less."""
        if self.waiting < self._max_waiting:
            return
        greediest, count = self._waiting.most_common(1)[0] if self._waiting else ("", 0)
        if count <= self._waiting[caller] + 1:
            raise Busy("Every worker is busy and the queue is full.", hint="Try again soon.")
        for lane in (self._large, self._small):
            turn = lane.last_of(greediest)
            if turn is not None:
                lane.leave(greediest, turn)
                self._forget(greediest)
                if not turn.done():  # done: its client has gone this very moment
                    turn.set_exception(Busy("The queue is full, and others wait with fewer.", hint="Send fewer."))
                return
