"""Who runs next: as many calls as there are workers, a bounded number that wait, fair between callers and sizes."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice

from pullback_schemas.problems import Busy
from pullback_service.workers.base import Call, Reply
from pullback_service.workers.riding import MOST_TOGETHER


class Stranded(Exception):
    """The call was to be answered with others, and was not; it may still be answered alone."""


@dataclass(eq=False, slots=True)
class Turn:
    """A call that waits. `key`: calls of one key may run together with the first of them, in its slot.

    `granted` is the slot, with those that run with this call; or the reply, if it ran with another one.
    """

    call: Call
    caller: str
    is_large: bool
    key: bytes | None = None
    granted: asyncio.Future[list[Turn] | Reply] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, outcome: list[Turn] | Reply | Exception) -> None:
        """What has become of it, unless nobody waits for it any more."""
        if self.granted.done():
            return
        if isinstance(outcome, Exception):
            self.granted.set_exception(outcome)
        else:
            self.granted.set_result(outcome)


class Lane:
    """Calls that wait, each caller's in their order; callers take turns."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._alike: dict[bytes, dict[Turn, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._callers)

    def join(self, turn: Turn) -> None:
        """Wait behind the caller's other calls."""
        self._callers.setdefault(turn.caller, deque()).append(turn)
        if turn.key is not None:
            self._alike.setdefault(turn.key, {})[turn] = None

    def next(self) -> Turn:
        """The first call of the caller whose turn it is."""
        caller, turns = next(iter(self._callers.items()))
        turn = turns.popleft()
        self._callers.move_to_end(caller)
        self._forget(turn)
        return turn

    def company(self, turn: Turn, most: int) -> list[Turn]:
        """Calls that may run with this one, which wait no longer."""
        if turn.key is None:
            return []
        others = list(islice(self._alike.get(turn.key, ()), most))
        for other in others:
            self.leave(other)
        return others

    def clear(self) -> list[Turn]:
        """Everyone leaves."""
        turns = [turn for queued in self._callers.values() for turn in queued]
        self._callers.clear()
        self._alike.clear()
        return turns

    def last_of(self, caller: str) -> Turn | None:
        """The caller's newest call."""
        return self._callers[caller][-1] if caller in self._callers else None

    def leave(self, turn: Turn) -> bool:
        """Wait no longer; whether the call was waiting."""
        turns = self._callers.get(turn.caller, deque())
        if turn not in turns:
            return False
        turns.remove(turn)
        self._forget(turn)
        return True

    def _forget(self, turn: Turn) -> None:
        if not self._callers[turn.caller]:
            del self._callers[turn.caller]
        if turn.key is not None:
            alike = self._alike[turn.key]
            del alike[turn]
            if not alike:
                del self._alike[turn.key]


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

    async def enter(self, turn: Turn, *, deadline: float) -> list[Turn] | Reply:
        """A slot, to be left again, and the calls that run with this one; or the reply, if it ran with another.

        Raises Busy when too many wait already, or none comes free before the deadline; Stranded when it was to run
        with another and did not.
        """
        lane = self._lane(turn.is_large)
        if not lane and self._is_open(is_large=turn.is_large):
            self._take(is_large=turn.is_large)
            return []
        self._make_room(turn.caller)
        lane.join(turn)
        self._waiting[turn.caller] += 1
        try:
            async with asyncio.timeout_at(deadline):
                return await turn.granted
        except BaseException as error:
            if lane.leave(turn):
                self._forget(turn.caller)
            elif has_slot(turn):
                self.leave(is_large=turn.is_large)  # it came in the very moment
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
                turn.settle(Busy("The service is about to end.", hint="Another one may take over."))
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
            turn = self._lane(is_large).next()
            self._forget(turn.caller)
            if not turn.granted.done():
                self._take(is_large=is_large)
                turn.settle(self._company(turn))

    def _company(self, turn: Turn) -> list[Turn]:
        others = self._small.company(turn, MOST_TOGETHER - 1)
        for other in others:
            self._forget(other.caller)
        return others

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
                lane.leave(turn)
                self._forget(greediest)
                turn.settle(Busy("The queue is full, and others wait with fewer.", hint="Send fewer."))
                return


def has_slot(turn: Turn) -> bool:
    """Whether the call was given a slot."""
    granted = turn.granted
    is_given = granted.done() and not granted.cancelled() and granted.exception() is None
    return is_given and not isinstance(granted.result(), Reply)
