"""The HTTP process's side of the fork server: starts it, starts it again, and asks it for workers."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys

from pullback_service.settings import Settings
from pullback_service.workers.control import PACKET, READY, Role
from pullback_service.workers.devices import CPU, refuse_missing, serving_gpus
from pullback_service.workers.link import Forked, Link, readable
from pullback_service.workers.wire import Wire
from pullback_service.workers.worker import Worker

log = logging.getLogger(__name__)

INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Large tensors are always new memory, of which the kernel else clears and maps every 4 KiB by themselves."""

GPU_CHOICE = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
LONG_LIFE_S = 30
SHORT_LIVES = 4
STARTED_IN_S = 120
FORKED_IN_S = 5
ENDED_IN_S = 5


class ForkServer:
    """A fork server process that is kept up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gpus: list[str] = []
        """Those that serve, once it is up."""
        self._link: Link | None = None
        self._gpu_count = 0
        self._short_lives = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._is_up = asyncio.Event()
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to start it; returns at once."""
        self._keeper = asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        """End it, and with it every worker."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def up(self) -> None:
        """Await that it is up. Raises DeviceMissingError where a GPU is not there that must be."""
        await self._is_up.wait()
        refuse_missing(self._settings.devices, self._gpu_count)

    async def fork(self, role: Role, device: str) -> Worker:
        """A new worker that nobody watches yet; waits for the fork server. Raises ConnectionError if that ends."""
        await self._is_up.wait()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                async with self._turn, asyncio.timeout(FORKED_IN_S):
                    pid, pidfd, ending = await self._ask(role, device, theirs)
            wire = await Wire.over(ours, self._settings.max_answer_bytes)
        except BaseException:
            ours.close()
            raise
        may_send_on = device == CPU and role is not Role.ALONE
        gpus = self.gpus if may_send_on else ()
        return Worker(pid, pidfd, ending, wire, gpus)

    async def _ask(self, role: Role, device: str, connection: socket.socket) -> Forked:
        """The pid and pidfd of a new process, and what will tell how it ended."""
        link = self._link
        if link is None:
            raise ConnectionError("the fork server is not up")
        try:
            return await link.ask(role, device, connection)
        except BaseException:
            # It hangs, or its answer would be taken for that to the next question.
            self._kill()
            raise

    @property
    def is_failing(self) -> bool:
        """Whether one fork server after the other ended soon after its start."""
        return self._short_lives >= SHORT_LIVES

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def _keep_up(self) -> None:
        """Run one fork server after another; pause longer each time one did not live long."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._run_one()
            except OSError as error:
                log.error("the fork server cannot be started: %s", error)
            self._short_lives = 0 if loop.time() - began > LONG_LIFE_S else self._short_lives + 1
            pause = min(SHORTEST_PAUSE_S * 2 ** max(self._short_lives - 1, 0), LONGEST_PAUSE_S)
            log.error("the fork server ended; the next one starts in %g s", pause)
            await asyncio.sleep(pause)

    async def _run_one(self) -> None:
        """Start one and wait for its end. Cancelled, it ends the process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = self._process = self._popen(theirs)
        ours.setblocking(False)
        pidfd = os.pidfd_open(process.pid)
        try:
            count = await _greeted(ours)
            if count is None:
                return
            self._gpu_count, self.gpus = count, serving_gpus(self._settings.devices, count)
            self._link = Link(ours)
            self._is_up.set()
            await readable(pidfd)
        finally:
            patience = ENDED_IN_S if self._is_up.is_set() else 0
            self._is_up.clear()
            if self._link is not None:
                self._link.close()
                self._link = None
            ours.close()
            await _end(process, pidfd, patience)

    def _popen(self, control: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "pullback_service.workers.fork_server"),
                *(str(control.fileno()), str(os.getpid()), self._settings.model_dump_json()),
            ],
            pass_fds=[control.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(self._settings),
        )


def _environment(settings: Settings) -> dict[str, str]:
    """What the fork server is to know of this process's own."""
    wanted = INHERITED if settings.devices == CPU else (*INHERITED, *GPU_CHOICE)
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if settings.devices == CPU else {}
    known = {name: os.environ[name] for name in wanted if name in os.environ}
    return known | hidden | HUGE_PAGES | {"OMP_NUM_THREADS": str(settings.torch_threads)}


async def _greeted(control: socket.socket) -> int | None:
    """How many GPUs the fork server sees; None if it did not come up."""
    try:
        async with asyncio.timeout(STARTED_IN_S):
            await readable(control.fileno())
    except TimeoutError:
        return None
    greeting, _, count = control.recv(PACKET).partition(b" ")
    return int(count) if greeting == READY else None


async def _end(process: subprocess.Popen[bytes], pidfd: int, patience_s: float) -> None:
    """Let a process end by itself for a while, or else kill it; reap it and close its pidfd."""
    try:
        async with asyncio.timeout(patience_s):
            await readable(pidfd)
    except TimeoutError:
        process.kill()
    await asyncio.to_thread(process.wait)
    os.close(pidfd)
