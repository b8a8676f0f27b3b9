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
    """The next call, None when the HTTP process is gone."""
    header = _receive(connection, _CALL.size)
    if header is None:
        return None
    operation_size, body_size = _CALL.unpack(header)
    operation = _receive(connection, operation_size)
    body = _receive(connection, body_size)
    return None if operation is None or body is None else Call(operation.decode(), body)


def send_reply(connection: socket, reply: Reply) -> None:
    """Send a reply whole, a small one in one piece: every piece wakes the HTTP process."""
    timing = reply.server_timing.encode()
    header = _REPLY.pack(reply.status, len(timing), len(reply.body)) + timing
    if len(reply.body) <= ONE_PIECE:
        connection.sendall(header + reply.body)
    else:
        connection.sendall(header)
        connection.sendall(reply.body)


def _receive(connection: socket, size: int) -> bytes | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return bytes(buffer)
