"""The HTTP process's end of the control socket: asks for workers, and hears how each of them ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

from pullback_service.workers.control import NOT_FORKED, PACKET, Role

Forked = tuple[int, int, "asyncio.Future[int]"]
"""A worker's pid, its pidfd, and the signal that ended it, once it has."""


class Link:
    """One question at a time; the ends of workers are told in between."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Forked] | None = None
        self._endings: dict[int, asyncio.Future[int]] = {}
        self._loop.add_reader(control.fileno(), self._hear)

    async def ask(self, role: Role, device: str, connection: socket.socket) -> Forked:
        """A new process for the worker's end of a socket. Raises ConnectionError when the fork server has ended."""
        self._answer = self._loop.create_future()
        socket.send_fds(self._control, [f"{role.value} {device}".encode()], [connection.fileno()])
        return await self._answer

    def close(self) -> None:
        """The fork server has ended, and every worker with it."""
        self._loop.remove_reader(self._control.fileno())
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the fork server ended"))
        for ending in self._endings.values():
            ending.set_result(signal.SIGKILL)
        self._endings.clear()

    def _hear(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._control, PACKET, 1)
        except BlockingIOError:
            return
        if not packet:
            self.close()
        elif packet == NOT_FORKED:
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(OSError("the fork server could not fork"))
        elif descriptors:
            self._on_forked(int(packet), descriptors[0])
        else:
            pid, cause = map(int, packet.split())
            self._endings.pop(pid).set_result(cause)

    def _on_forked(self, pid: int, pidfd: int) -> None:
        ending = self._endings[pid] = self._loop.create_future()
        if self._answer is None or self._answer.done():  # whoever asked has gone, and has the fork server killed
            os.close(pidfd)
        else:
            self._answer.set_result((pid, pidfd, ending))


async def readable(descriptor: int) -> None:
    """Return when a read of `descriptor` would not block; a pidfd is readable once its process has ended."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
