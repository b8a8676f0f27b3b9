"""What crosses between the HTTP process and a worker on a byte stream: sizes first, then the parts.

A worker greets once, when it can take calls; then replies follow calls. Whatever it sends is checked: a worker may have
been taken over by the request that it runs.
"""

from __future__ import annotations

import asyncio
import json
import struct
from socket import socket

from pullback_service.workers.base import NEEDS_ISOLATION, Call, Reply

ONE_PIECE = 2**16

_GREETING = struct.Struct("!H")
_CALL = struct.Struct("!BQ")
_REPLY = struct.Struct("!HHQ")
_STATUSES = {NEEDS_ISOLATION, *range(200, 600)}


class GarbledReply(ConnectionError):
    """A worker does not speak as one does; it is not to be trusted with another call."""


def send_greeting(connection: socket, fences: dict[str, str]) -> None:
    """Say that calls are welcome, and which fences stand."""
    text = json.dumps(fences).encode()
    connection.sendall(_GREETING.pack(len(text)) + text)


async def read_greeting(reader: asyncio.StreamReader) -> dict[str, str]:
    """The fences of a worker that is ready. Raises asyncio.IncompleteReadError when it ended before."""
    (size,) = _GREETING.unpack(await reader.readexactly(_GREETING.size))
    fences: dict[str, str] = json.loads(await reader.readexactly(size))
    return fences


def pack_call(call: Call) -> bytes:
    """A call's header; the operation and the body follow it."""
    operation = call.operation.encode()
    return _CALL.pack(len(operation), len(call.body)) + operation


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The next reply. Raises asyncio.IncompleteReadError when the worker is gone, GarbledReply when it is no reply."""
    status, timing, size = _REPLY.unpack(await reader.readexactly(_REPLY.size))
    server_timing = (await reader.readexactly(timing)).decode("ascii", "replace")
    if status not in _STATUSES or not (server_timing.isascii() and server_timing.isprintable()):
        raise GarbledReply("a worker sent what is no reply")
    return Reply(status, await reader.readexactly(size), server_timing)


def receive_call(connection: socket) -> Call | None:
    """The next call, None when the HTTP process is gone. A small one takes a single system call."""
    start = _receive(connection, b"", _CALL.size)
    if start is None:
        return None
    operation_size, body_size = _CALL.unpack_from(start)
    whole = _receive(connection, start, _CALL.size + operation_size + body_size)
    if whole is None:
        return None
    body_at = _CALL.size + operation_size
    return Call(whole[_CALL.size : body_at].decode(), whole[body_at:])


def send_reply(connection: socket, reply: Reply) -> None:
    """Send a reply whole, a small one in one piece: every piece wakes the HTTP process."""
    timing = reply.server_timing.encode()
    header = _REPLY.pack(reply.status, len(timing), len(reply.body)) + timing
    if len(reply.body) <= ONE_PIECE:
        connection.sendall(header + reply.body)
    else:
        connection.sendall(header)
        connection.sendall(reply.body)


def _receive(connection: socket, start: bytes, size: int) -> bytes | None:
    """At least `size` bytes, of which `start` came already. Calls never overlap, so what follows belongs to it."""
    if len(start) >= size:
        return start
    if size <= ONE_PIECE:
        more = connection.recv(ONE_PIECE)
        return _receive(connection, start + more, size) if more else None
    buffer = bytearray(size)
    buffer[: len(start)] = start
    view = memoryview(buffer)[len(start) :]
    while view:
        count = connection.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return bytes(buffer)
