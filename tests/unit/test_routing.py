"""Which worker a call runs on where there are GPUs, told by small processes that stand for the workers.

One on the CPU sends a call on to the device that its body names, unless it is "forward"; one on a GPU says its device.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from pullback_schemas.problems import WorkerDied
from pullback_service.settings import Settings
from pullback_service.workers import processes
from pullback_service.workers.base import Call, Reply, Terms, Usage
from pullback_service.workers.control import Role
from pullback_service.workers.devices import DeviceMissingError, refuse_missing, serving_gpus
from pullback_service.workers.processes import ProcessWorkers
from pullback_service.workers.wire import Wire
from pullback_service.workers.worker import Worker

SOON_S = 20
GPUS = ["cuda:0", "cuda:1"]
PARROT = """
import socket, sys
from pullback_service.workers.base import NEEDS_DEVICE, Reply
from pullback_service.workers.line import Line

line, device = Line(socket.socket(fileno=int(sys.argv[1]))), sys.argv[2]
line.greet({})
while (calls := line.receive()) is not None:
    if len(calls) > 1:
        sys.exit("together they end it")
    (call,) = calls
    if call.operation == "backward":
        reply = Reply(200, call.body, rides=True)
    elif device == "cpu":
        reply = Reply(200, b"cpu") if call.operation == "forward" else Reply(NEEDS_DEVICE, call.body)
    elif call.operation == "hangs":
        continue
    else:
        reply = Reply(200, device.encode())
    line.reply([reply], is_last=False)
"""


class Starter:
    """Starts such processes, as a fork server does workers."""

    gpus = GPUS
    is_failing = False

    def __init__(self, _: Settings) -> None:
        """As a fork server."""

    async def start(self) -> None:
        """It needs none."""

    async def up(self) -> None:
        """It is."""

    async def stop(self) -> None:
        """Its workers are ended by their pools."""

    async def fork(self, _: Role, device: str) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", PARROT, str(theirs.fileno()), device]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        process.returncode = 0  # nobody waits for it
        wire = await Wire.over(ours, 2**20)
        ending = asyncio.get_running_loop().create_future()
        ending.set_result(signal.SIGKILL)
        gpus = GPUS if device == "cpu" else ()
        return Worker(process.pid, os.pidfd_open(process.pid), ending, wire, gpus)


@pytest.fixture
def among(monkeypatch) -> Callable[[Callable[[ProcessWorkers], Coroutine[Any, Any, Any]]], Any]:
    """`among(scenario)`: what comes of a scenario with one worker on the CPU and one on each of two GPUs."""
    monkeypatch.setattr(processes, "ForkServer", Starter)

    async def run(scenario: Callable[[ProcessWorkers], Awaitable[Any]]) -> Any:
        workers = ProcessWorkers(Settings(workers=1))
        await workers.start()
        try:
            async with asyncio.timeout(SOON_S):
                return await scenario(workers)
        finally:
            await workers.stop()

    return lambda scenario: asyncio.run(run(scenario))


def sent(workers: ProcessWorkers, operation: str, body: bytes) -> Coroutine[Any, Any, Reply]:
    return workers.run(Call(operation, body), Terms("someone", SOON_S, Usage()))


def test_a_call_stays_on_the_cpu_unless_a_worker_there_sends_it_on(among):
    assert among(lambda workers: sent(workers, "forward", b"")).body == b"cpu"


@pytest.mark.parametrize("device", GPUS)
def test_a_call_that_is_sent_on_runs_on_the_device_that_was_named(among, device):
    assert among(lambda workers: sent(workers, "elsewhere", device.encode())) == Reply(200, device.encode())


@pytest.mark.parametrize(("busy", "free"), [GPUS, GPUS[::-1]])
def test_a_call_for_any_gpu_goes_where_fewest_are(among, busy, free):
    async def scenario(workers: ProcessWorkers) -> Reply:
        hanging = asyncio.create_task(sent(workers, "hangs", busy.encode()))
        await asyncio.sleep(0)  # it is before the other one on the CPU
        try:
            return await sent(workers, "elsewhere", b"cuda")
        finally:
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)

    assert among(scenario).body == free.encode()


def test_a_worker_that_names_a_device_that_there_is_not_is_lost(among):
    async def scenario(workers: ProcessWorkers) -> dict[str, int]:
        with pytest.raises(WorkerDied):
            await sent(workers, "elsewhere", b"cuda:9")
        assert (await sent(workers, "forward", b"")).body == b"cpu"
        return workers.counts()

    counts = among(scenario)
    assert counts["restarted"] == 2
    assert counts["busy"] == counts["waiting"] == 0


def test_calls_whose_worker_is_lost_to_all_of_them_together_are_each_answered_alone(among):
    bodies = [b'{"graph": "y = x", "inputs": {"x": %d}}' % number for number in range(6)]

    async def scenario(workers: ProcessWorkers) -> list[Reply]:
        await sent(workers, "backward", bodies[0])
        return await asyncio.gather(*(sent(workers, "backward", body) for body in bodies))

    assert [reply.body for reply in among(scenario)] == bodies


def test_the_devices_and_their_workers_are_told(among):
    async def scenario(workers: ProcessWorkers) -> tuple[dict[str, str], int]:
        for device in GPUS:
            await sent(workers, "elsewhere", device.encode())
        return workers.devices(), workers.counts()["ready"]

    assert among(scenario) == ({"cpu": "ok", "cuda:0": "ok", "cuda:1": "ok"}, 3)


@pytest.mark.parametrize(
    ("setting", "count", "gpus"),
    [
        ("auto", 0, []),
        ("auto", 2, ["cuda:0", "cuda:1"]),
        ("cpu", 2, []),
        ("cpu,cuda:1", 2, ["cuda:1"]),
        ("cuda:0", 1, ["cuda:0"]),
    ],
)
def test_the_gpus_that_serve_are_those_of_the_setting(setting, count, gpus):
    refuse_missing(setting, count)
    assert serving_gpus(setting, count) == gpus


def test_a_gpu_that_the_setting_names_and_that_is_not_there_is_told_with_what_is():
    with pytest.raises(DeviceMissingError, match="names cuda:2, cuda:3; what is there: cpu, cuda:0"):
        refuse_missing("cpu,cuda:0,cuda:2,cuda:3", 1)
