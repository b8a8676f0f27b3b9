"""One request and its answer at a connection, as an ASGI application has them."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from itertools import chain
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from pullback_service.forms import Piece

ABORT = "abort"
"""The scope's state has, under this name, what ends the connection without waiting for the client."""

START, BODY, SEND_FILE = "http.response.start", "http.response.body", "http.response.zerocopysend"
EXTENSIONS: dict[str, dict[object, object]] = {SEND_FILE: {}}
"""What the scope offers beyond the usual: a part of a file as a part of the body (an extension of ASGI's own)."""

JOINED_BYTES = 2**16
"""Up to here head and body go in one piece: each piece costs a packet, and wakes the client."""

FILE_BYTES = 2**19
"""Of a file, before others have their turn."""

WITHOUT_BODY = (204, 304)
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Exchange(RequestResponseCycle):
    """uvicorn sends the head of an answer by itself; here it waits for the first bytes of the body."""

    _head: bytes = b""
    _stuck: asyncio.Event | None = None

    def leave(self) -> None:
        """The client has gone."""
        self.disconnected = self.disconnected or not self.response_complete
        self.message_event.set()
        if self._stuck is not None:
            self._stuck.set()

    @override
    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if (kind == START) is self.response_started or self.response_complete:
            raise RuntimeError(f"a message of type {kind} comes at the wrong time")
        if kind == START:
            self._start(message)
            return
        if kind == BODY:
            self._write(message.get("body", b""), is_last=not message.get("more_body", False))
        elif kind == SEND_FILE:
            await self._send_file(message["file"], message["offset"], message["count"])
        else:
            raise RuntimeError(f"messages of type {kind} are not known")
        if not self.disconnected and not message.get("more_body", False):
            self._finish()

    def _start(self, message: Any) -> None:
        self.waiting_for_100_continue = False
        status, count = message["status"], 1
        lines = [STATUS_LINE[status]]
        for name, value in chain(self.default_headers, message.get("headers", ())):
            name = name.lower()
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                continue
            count += 1
            lines += name, b": ", value, b"\r\n"
        if not self.keep_alive:
            count += 1
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in WITHOUT_BODY:
            count += 1
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        self._head = b"".join(lines)
        if self._head.count(b"\n") != count or self._head.count(b"\r") != count or CONTROL.search(self._head):
            raise RuntimeError("a header holds a control character")
        self._head += b"\r\n"
        self.response_started = True

    def _write(self, body: Piece, *, is_last: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), bytes(body)) if body else b""
            body = chunk + b"0\r\n\r\n" if is_last else chunk
        else:
            self._count(len(body))
        if head and len(body) > JOINED_BYTES:
            self.transport.write(head)
            head = b""
        self.transport.write(head + body if head else body)

    def _count(self, size: int) -> None:
        self.expected_content_length -= size
        if self.expected_content_length < 0:
            raise RuntimeError("the body is longer than its head says")

    def _finish(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("the body is shorter than its head says")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        """The kernel takes it from where it is; whatever was written before goes first."""
        if self.scope["method"] == "HEAD":
            self._write(b"", is_last=True)
            return
        self._count(count)
        head, self._head = self._head, b""
        # A second descriptor of the connection, since the loop keeps the first for itself.
        with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as out:
            while self.transport.get_write_buffer_size() and not self.disconnected:
                await self._writable(out)
            try:
                while (head or count) and not self.disconnected:
                    try:
                        if head:
                            head = head[out.send(head, socket.MSG_MORE if count else 0) :]
                        else:
                            sent = os.sendfile(out.fileno(), file, offset, min(count, FILE_BYTES))
                            if not sent:
                                raise RuntimeError("the file is shorter than was said")
                            offset, count = offset + sent, count - sent
                            await asyncio.sleep(0)
                    except BlockingIOError:
                        await self._writable(out)
            except OSError:  # whatever the network says, nobody reads on
                self.disconnected = True
                self.transport.abort()

    async def _writable(self, connection: socket.socket) -> None:
        """Return when the connection would take some bytes, or has ended."""
        loop = asyncio.get_running_loop()
        self._stuck = asyncio.Event()
        loop.add_writer(connection, self._stuck.set)
        try:
            await self._stuck.wait()
        finally:
            loop.remove_writer(connection)
