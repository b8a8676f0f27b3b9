"""A part of a file on its way to the client: the kernel takes it from where it is."""

from __future__ import annotations

import asyncio
import os
import socket

TURN_BYTES = 2**19
"""Before others have their turn."""


class SentFile:
    """Goes behind what was written before, and behind a head of its own."""

    def __init__(self, transport: asyncio.Transport, head: bytes, file: int, offset: int, count: int) -> None:
        self._transport = transport
        self._head, self._file, self._offset, self._count = head, file, offset, count
        self._stuck = asyncio.Event()
        self._is_left = False

    def leave(self) -> None:
        """The client has gone."""
        self._is_left = True
        self._stuck.set()

    async def send(self) -> bool:
        """Whether all of it was sent; else nobody reads on. Raises RuntimeError when the file is too short."""
        # A second descriptor of the connection, since the loop keeps the first for itself.
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as out:
            while self._transport.get_write_buffer_size() and not self._is_left:
                await self._writable(out)
            try:
                while (self._head or self._count) and not self._is_left:
                    try:
                        self._send_some(out)
                    except BlockingIOError:
                        await self._writable(out)
                    else:
                        await asyncio.sleep(0)
            except OSError:  # whatever the network says
                return False
        return not self._is_left

    def _send_some(self, out: socket.socket) -> None:
        if self._head:
            sent = out.send(self._head, socket.MSG_MORE if self._count else 0)
            self._head = self._head[sent:]
            if self._head:
                return
        if self._count:
            sent = os.sendfile(out.fileno(), self._file, self._offset, min(self._count, TURN_BYTES))
            if not sent:
                raise RuntimeError("the file is shorter than was said")
            self._offset, self._count = self._offset + sent, self._count - sent

    async def _writable(self, out: socket.socket) -> None:
        """Return when the connection would take some bytes, or has ended."""
        loop = asyncio.get_running_loop()
        self._stuck.clear()
        if self._is_left:
            return
        loop.add_writer(out, self._stuck.set)
        try:
            await self._stuck.wait()
        finally:
            loop.remove_writer(out)
