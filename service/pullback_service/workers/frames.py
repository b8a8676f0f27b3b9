"""Calls and replies on a byte stream between the HTTP process and a worker: sizes first, then the parts."""

from __future__ import annotations

import asyncio
import struct
from socket import socket

from pullback_service.workers.base import Call, Reply

READY = b"R"
"""What a worker sends, once, when it can take calls."""

ONE_PIECE = 2**16

_CALL = struct.Struct("!BQ")
_REPLY = struct.Struct("!HHQ")


def pack_call(call: Call) -> bytes:
    """A call's header; the operation and the body follow it."""
    operation = call.operation.encode()
    return _CALL.pack(len(operation), len(call.body)) + operation


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The next reply. Raises asyncio.IncompleteReadError when the worker is gone."""
    status, timing, size = _REPLY.unpack(await reader.readexactly(_REPLY.size))
    server_timing = (await reader.readexactly(timing)).decode()
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
