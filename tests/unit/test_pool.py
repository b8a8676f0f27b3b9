"""What becomes of a worker whose process ends, told by a pool of small processes that answer without torch."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from pullback_service.workers.base import Call, Reply
from pullback_service.workers.control import Role
from pullback_service.workers.pool import Pool
from pullback_service.workers.wire import Wire
from pullback_service.workers.worker import LOST, Worker

SOON_S = 20
ANSWERS_ONCE = """
import socket, sys
from pullback_service.workers.base import Reply
from pullback_service.workers.line import Line

line = Line(socket.socket(fileno=int(sys.argv[1])))
line.greet({})
line.receive()
line.reply([Reply(200, b"done")], is_last=False)
"""


class Starter:
    """Starts such processes, as a fork server does workers."""

    async def fork(self, _: Role, __: str) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", ANSWERS_ONCE, str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        process.returncode = 0  # the test reaps it
        wire = await Wire.over(ours, 2**20)
        ending = asyncio.get_running_loop().create_future()
        ending.set_result(signal.SIGKILL)
        return Worker(process.pid, os.pidfd_open(process.pid), ending, wire)


def in_a_pool(role: Role, scenario: Callable[[Pool, Worker], Awaitable[None]]) -> int:
    """How many workers had to be replaced, by the pool's account, in a scenario with its first one."""

    async def run() -> int:
        pool = Pool(Starter(), role, 1, 100)  # type: ignore[arg-type]
        pool.start()
        async with asyncio.timeout(SOON_S):
            worker = await pool.take()
            try:
                await scenario(pool, worker)
                return pool.restarted
            finally:
                await pool.stop()

    return asyncio.run(run())


def await_end(worker: Worker) -> None:
    """Without letting the event loop know."""
    os.waitid(os.P_PID, worker.pid, os.WEXITED)


async def exchange(worker: Worker) -> Reply:
    worker.send([Call("forward", b"{}")])
    return await worker.receive()


async def answers_and_ends(pool: Pool, worker: Worker) -> None:
    """Reply and end are noticed in the very same moment."""
    task = asyncio.create_task(exchange(worker))
    await asyncio.sleep(0)
    await_end(worker)
    assert (await task).body == b"done"
    pool.give_back(worker)


def test_a_single_use_worker_that_ends_right_after_its_reply_is_no_restart():
    assert in_a_pool(Role.ONCE, answers_and_ends) == 0


def test_a_worker_for_many_calls_that_ends_right_after_its_reply_is_a_restart():
    assert in_a_pool(Role.WORKER, answers_and_ends) == 1


def test_a_worker_that_is_lost_in_a_call_is_a_restart_told_once():
    async def scenario(pool: Pool, worker: Worker) -> None:
        os.kill(worker.pid, signal.SIGKILL)
        await_end(worker)
        with pytest.raises(LOST):
            await exchange(worker)
        pool.discard(worker)
        await worker.ended()

    assert in_a_pool(Role.WORKER, scenario) == 1


def test_an_idle_worker_that_ends_is_replaced_before_anybody_asks():
    async def scenario(pool: Pool, worker: Worker) -> None:
        pool.give_back(worker)
        os.kill(worker.pid, signal.SIGKILL)
        await_end(worker)
        await worker.ended()
        assert await pool.take() is not worker

    assert in_a_pool(Role.WORKER, scenario) == 1


def test_a_reply_that_comes_when_its_caller_has_just_gone_is_still_there_for_whoever_comes_back():
    async def scenario(pool: Pool, worker: Worker) -> None:
        task = asyncio.create_task(exchange(worker))
        await asyncio.sleep(0)
        await_end(worker)  # it has replied
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.ended()  # the reply has been read meanwhile
        assert (await worker.receive()).body == b"done"
        pool.give_back(worker)

    assert in_a_pool(Role.ONCE, scenario) == 0
