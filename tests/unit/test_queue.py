"""Who runs next when several callers wait, told by the order in which they get their turn."""

from __future__ import annotations

import asyncio

import pytest

from pullback_schemas.problems import Busy
from pullback_service.workers.base import Call, Reply, Usage
from pullback_service.workers.queue import Queue, Stranded, Turn
from pullback_service.workers.shared import SharedBytes

SOON_S = 5


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Crowd:
    """Callers of one queue, who note the order in which they are let in."""

    def __init__(self, slots: int, max_waiting: int = 100) -> None:
        self.queue = Queue(slots, max_waiting)
        self.order: list[str] = []

    async def call(self, caller: str, *, is_large: bool = False, seconds: float = SOON_S) -> None:
        body = SharedBytes.empty() if is_large else b""
        async with asyncio.timeout(seconds):
            await self.queue.enter(Turn(Call("forward", body), caller, Usage()))
        self.order.append(caller)

    async def come(self, *callers: str, is_large: bool = False) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.call(caller, is_large=is_large)) for caller in callers]
        await settle()
        return tasks


def test_callers_take_turns_however_many_calls_one_of_them_has():
    async def scenario() -> list[str]:
        crowd = Crowd(1)
        tasks = await crowd.come("greedy", "greedy", "greedy", "greedy", "modest")
        for _ in range(4):
            crowd.queue.leave(is_large=False)
            await settle()
        await asyncio.gather(*tasks)
        return crowd.order

    assert asyncio.run(scenario()) == ["greedy", "greedy", "modest", "greedy", "greedy"]


def test_large_calls_leave_a_slot_to_small_ones():
    async def scenario() -> list[str]:
        crowd = Crowd(2)
        large = await crowd.come("a", "b", "c", is_large=True)
        small = await crowd.come("small")
        for task in [*large, *small]:
            task.cancel()
        return crowd.order

    assert asyncio.run(scenario()) == ["a", "small"]


def test_with_one_slot_large_and_small_calls_take_turns():
    async def scenario() -> list[str]:
        crowd = Crowd(1)
        tasks = await crowd.come("first")
        tasks += await crowd.come("large 1", "large 2", is_large=True)
        tasks += await crowd.come("small 1", "small 2")
        is_large = False
        for _ in range(4):
            crowd.queue.leave(is_large=is_large)
            await settle()
            is_large = crowd.order[-1].startswith("large")
        await asyncio.gather(*tasks)
        return [name.split()[0] for name in crowd.order]

    order = asyncio.run(scenario())[1:]
    assert order in (["small", "large", "small", "large"], ["large", "small", "large", "small"])


def test_in_a_full_queue_the_greediest_callers_newest_call_gives_way():
    async def scenario() -> tuple[list[bool], int]:
        crowd = Crowd(1, max_waiting=3)
        first = await crowd.come("greedy", "greedy", "greedy", "greedy")
        modest = await crowd.come("modest")
        refused = [task.done() and isinstance(task.exception(), Busy) for task in first]
        for task in [*first, *modest]:
            task.cancel()
        return refused, crowd.queue.waiting

    assert asyncio.run(scenario()) == ([False, False, False, True], 3)


def test_a_full_queue_refuses():
    async def scenario() -> None:
        crowd = Crowd(1, max_waiting=1)
        tasks = await crowd.come("a", "b")
        try:
            assert crowd.queue.is_full
            await crowd.call("c")
        finally:
            for task in tasks:
                task.cancel()

    with pytest.raises(Busy):
        asyncio.run(scenario())


def test_a_call_that_gives_up_leaves_its_place():
    async def scenario() -> tuple[int, list[str]]:
        crowd = Crowd(1)
        tasks = await crowd.come("running", "leaves", "stays")
        tasks[1].cancel()
        await settle()
        waiting = crowd.queue.waiting
        crowd.queue.leave(is_large=False)
        await tasks[2]
        return waiting, crowd.order

    assert asyncio.run(scenario()) == (1, ["running", "stays"])


def test_a_slot_that_comes_in_the_moment_of_giving_up_goes_to_the_next():
    async def scenario() -> list[str]:
        crowd = Crowd(1)
        tasks = await crowd.come("running", "leaves", "stays")
        crowd.queue.leave(is_large=False)  # "leaves" has its turn, and has not noticed
        tasks[1].cancel()
        await asyncio.wait_for(tasks[2], SOON_S)
        return crowd.order

    assert asyncio.run(scenario()) == ["running", "stays"]


def test_whoever_is_told_to_wait_no_longer_is_gone():
    async def scenario() -> int:
        crowd = Crowd(1)
        await crowd.call("running")
        with pytest.raises(TimeoutError):
            await crowd.call("late", seconds=0.01)
        return crowd.queue.waiting

    assert asyncio.run(scenario()) == 0


class Together:
    """Calls of one graph that wait for the only slot."""

    def __init__(self) -> None:
        self.queue = Queue(1, 100)

    async def begin(self) -> None:
        """One of them has the slot."""
        _, running = self.join()
        await running

    def join(self, caller: str = "a", key: bytes | None = b"graph") -> tuple[Turn, asyncio.Task[object]]:
        turn = Turn(Call("backward", b""), caller, Usage())
        turn.key = key
        return turn, asyncio.create_task(self.queue.enter(turn))


def test_calls_of_one_graph_get_the_slot_together_whoever_sent_them_and_others_wait():
    async def scenario() -> None:
        crowd = Together()
        await crowd.begin()
        first, second, other, third = crowd.join(), crowd.join("b"), crowd.join(key=b"other"), crowd.join()
        await settle()
        crowd.queue.leave(is_large=False)
        assert await first[1] == [second[0], third[0]]
        assert (crowd.queue.waiting, crowd.queue.taken) == (1, 1)
        assert not other[1].done()
        second[0].settle(Reply(200, b"its answer"))
        assert await second[1] == Reply(200, b"its answer")
        third[0].settle(Stranded())
        with pytest.raises(Stranded):
            await third[1]
        crowd.queue.leave(is_large=False)
        assert await other[1] == []

    asyncio.run(scenario())


def test_a_call_whose_caller_has_gone_is_in_nobodys_company():
    async def scenario() -> None:
        crowd = Together()
        await crowd.begin()
        first, second = crowd.join(), crowd.join()
        await settle()
        second[1].cancel()
        crowd.queue.leave(is_large=False)
        assert await first[1] == []
        assert crowd.queue.waiting == 0

    asyncio.run(scenario())


def test_whoever_waits_with_a_call_whose_caller_goes_as_its_turn_comes_is_told_to_go_alone():
    async def scenario() -> None:
        crowd = Together()
        await crowd.begin()
        first, second = crowd.join(), crowd.join()
        await settle()
        crowd.queue.leave(is_large=False)
        first[1].cancel()
        with pytest.raises(Stranded):
            await asyncio.wait_for(second[1], SOON_S)
        assert crowd.queue.taken == 0

    asyncio.run(scenario())
