"""Who runs next: as many calls as there are workers, a bounded number that wait, fair between callers and sizes."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from itertools import islice

from pullback_schemas.problems import Busy
from pullback_service.workers.base import Call, Reply, Usage, ends
from pullback_service.workers.riding import MOST_TOGETHER, Part, graph_part
from pullback_service.workers.shared import SharedBytes


class Stranded(Exception):
    """The call was to be answered with others, and was not; it may still be answered alone."""


class Turn:
    """A call on its way. Those of one `key` may run together with the first of them, in its slot."""

    __slots__ = ("call", "caller", "granted", "has_begun", "is_large", "key", "part", "usage")

    def __init__(self, call: Call, caller: str, usage: Usage) -> None:
        self.call = call
        self.caller = caller
        self.usage = usage
        self.is_large = isinstance(call.body, SharedBytes)
        self.part = graph_part(call)
        self.key: Part | None = None
        self.has_begun = False
        """Whether a worker has had it."""
        self.granted: asyncio.Future[list[Turn] | Reply] | None = None
        """What it waits for: the slot, with those that run with this call; or the reply, if it ran with another one."""

    def settle(self, outcome: list[Turn] | Reply | Exception) -> None:
        """What has become of it, unless nobody waits for it any more."""
        if self.granted is None or self.granted.done():  # nobody waits
            return
        if isinstance(outcome, Exception):
            self.granted.set_exception(outcome)
        else:
            self.granted.set_result(outcome)

    @property
    def is_waiting(self) -> bool:
        """Whether somebody still waits for what becomes of it."""
        return self.granted is not None and not self.granted.done()

    @property
    def slot(self) -> list[Turn] | None:
        """The calls that run with this one, if it was given a slot."""
        granted = self.granted
        if granted is None or not granted.done() or granted.cancelled() or granted.exception() is not None:
            return None
        found = granted.result()
        return None if isinstance(found, Reply) else found


class Lane:
    """Calls that wait, each caller's in their order; callers take turns."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, dict[Turn, None]] = OrderedDict()
        self._alike: dict[Part, dict[Turn, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._callers)

    def __contains__(self, turn: Turn) -> bool:
        return turn in self._callers.get(turn.caller, ())

    def join(self, turn: Turn) -> None:
        """Wait behind the caller's other calls."""
        self._callers.setdefault(turn.caller, {})[turn] = None
        if turn.key is not None:
            self._alike.setdefault(turn.key, {})[turn] = None

    def next(self) -> Turn:
        """The first call of the caller whose turn it is, which still waits."""
        caller, turns = next(iter(self._callers.items()))
        self._callers.move_to_end(caller)
        return next(iter(turns))

    def alike(self, turn: Turn, most: int) -> list[Turn]:
        """Others that may run with this one, which still wait."""
        return [] if turn.key is None else list(islice(self._alike.get(turn.key, ()), most))

    def clear(self) -> list[Turn]:
        """Everyone leaves."""
        turns = [turn for queued in self._callers.values() for turn in queued]
        self._callers.clear()
        self._alike.clear()
        return turns

    def last_of(self, caller: str) -> Turn | None:
        """The caller's newest call."""
        return next(reversed(self._callers[caller])) if caller in self._callers else None

    def leave(self, turn: Turn) -> None:
        """Wait no longer."""
        turns = self._callers[turn.caller]
        del turns[turn]
        if not turns:
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
        self._counts: Counter[str] = Counter()
        self._large_taken = 0
        self._large_is_next = False
        self.waiting = 0
        """How many wait."""
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Whether a call would be refused."""
        return self.taken >= self._slots and self.waiting >= self._max_waiting

    def enter_at_once(self, turn: Turn) -> bool:
        """Whether there was a slot, which is to be left again."""
        if self._lane(turn.is_large) or not self._is_open(is_large=turn.is_large):
            return False
        self._take(is_large=turn.is_large)
        return True

    async def enter(self, turn: Turn) -> list[Turn] | Reply:
        """A slot, to be left again, and the calls that run with this one; or the reply, if it ran with another.

        Cancelled, it waits no longer. Raises Busy when too many wait already, Stranded when it was to run with another
        and did not.
        """
        if self.enter_at_once(turn):
            return []
        self._make_room(turn.caller)
        lane = self._lane(turn.is_large)
        turn.granted = asyncio.get_running_loop().create_future()
        lane.join(turn)
        self._counts[turn.caller] += 1
        self.waiting += 1
        try:
            return await turn.granted
        except BaseException:
            if turn in lane:
                self._leave(lane, turn)
            elif (companions := turn.slot) is not None:  # it came in the very moment
                for companion in companions:
                    companion.settle(Stranded())
                self.leave(is_large=turn.is_large)
            raise

    def leave(self, *, is_large: bool) -> None:
        """The call is done."""
        self.taken -= 1
        self._large_taken -= is_large
        if self.waiting:
            self._admit()

    def close(self) -> None:
        """Whoever waits gets Busy."""
        for lane in (self._small, self._large):
            for turn in lane.clear():
                turn.settle(ends())
        self._counts.clear()
        self.waiting = 0

    def _is_open(self, *, is_large: bool) -> bool:
        return self.taken < self._slots and not (is_large and self._large_taken >= self._max_large)

    def _take(self, *, is_large: bool) -> None:
        self.taken += 1
        self._large_taken += is_large

    def _leave(self, lane: Lane, turn: Turn) -> None:
        lane.leave(turn)
        self.waiting -= 1
        self._counts[turn.caller] -= 1
        if not self._counts[turn.caller]:
            del self._counts[turn.caller]

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
            lane = self._lane(is_large)
            turn = lane.next()
            self._leave(lane, turn)
            if turn.is_waiting:
                self._take(is_large=is_large)
                turn.settle(self._company_of(lane, turn))

    def _company_of(self, lane: Lane, turn: Turn) -> list[Turn]:
        others = lane.alike(turn, MOST_TOGETHER - 1)
        for other in others:
            self._leave(lane, other)
        return [other for other in others if other.is_waiting]

    def _lane(self, is_large: bool) -> Lane:
        return self._large if is_large else self._small

    def _make_room(self, caller: str) -> None:
        """In a full queue, the newest call of whoever has most in it gives way to a caller with less."""
        if self.waiting < self._max_waiting:
            return
        greediest, count = self._counts.most_common(1)[0] if self._counts else ("", 0)
        if count <= self._counts[caller] + 1:
            raise Busy("Every worker is busy and the queue is full.", hint="Try again soon.")
        for lane in (self._large, self._small):
            turn = lane.last_of(greediest)
            if turn is not None:
                self._leave(lane, turn)
                turn.settle(Busy("The queue is full, and others wait with fewer.", hint="Send fewer."))
                return
