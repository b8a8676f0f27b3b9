"""A worker that was taken over sends what it likes; the HTTP process believes none of it unseen."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Callable, Sequence

import pytest

from pullback_service.workers.base import NEEDS_DEVICE, Call, Reply
from pullback_service.workers.frames import GREETING, NOTE, REPLY, GarbledReply
from pullback_service.workers.wire import Wire
from pullback_service.workers.worker import Worker

MAX_ANSWER_BYTES = 2**20
SHARED = 1


def packed(status: int, flags: int, timing_size: int, body_size: int) -> bytes:
    return REPLY.pack(status, flags, timing_size, body_size, bytes(32), 0)


def answered(*pieces: bytes, hold: Callable[[int], object] = lambda _: None, gpus: Sequence[str] = ()) -> Reply:
    """What comes of a reply that holds these bytes; `hold` gets the memory for answers first."""

    async def scenario() -> Reply:
        ours, theirs = socket.socketpair()
        with theirs:
            wire = await Wire.over(ours, 2**20)
            ending = asyncio.get_running_loop().create_future()
            worker = Worker(0, -1, ending, wire, gpus)
            theirs.sendall(GREETING.pack(2) + b"{}")
            await worker.greet()
            worker.send([Call("forward", b"{}")])
            task = asyncio.create_task(worker.receive())
            await asyncio.sleep(0)
            _, (memory,), _, _ = socket.recv_fds(theirs, 2**16, 1)
            held = hold(memory)
            theirs.sendall(b"".join(pieces))
            try:
                return await asyncio.wait_for(task, 5)
            finally:
                del held
                os.close(memory)
                wire.close()

    return asyncio.run(scenario())


def test_an_honest_reply_is_taken():
    body = b'{"outputs": {}}'
    assert answered(packed(200, 0, 12, len(body)), b"a;dur=1.0000", body) == Reply(200, body, "a;dur=1.0000")


@pytest.mark.parametrize(
    "pieces",
    [
        (packed(200, 0, 0, 2**40),),
        (packed(200, SHARED, 0, MAX_ANSWER_BYTES + 1),),
        (packed(204, 0, 0, 0),),
        (packed(302, 0, 0, 0),),
        (packed(65535, 0, 0, 0),),
        (packed(200, 0, 17, 0), b"a\r\nset-cookie: b=1"[:17]),
        (packed(200, 0, 2, 0), "é".encode()),
        (packed(200, 0, 9, 0), b"a;dur=nan"),
        (packed(200, 0, 13, 0), b"a;dur=-1.0000"),
        (packed(200, 0, 46 * 14 - 2, 0), b", ".join([b"a;dur=1.0000"] * 46)),
        (packed(200, SHARED, 0, 100),),
        (packed(0, 0, 0, 2), b"{}"),
        (packed(0, 0, 0, 12), b'{"nodes":[]}'),
        (packed(0, 0, 0, 13), b'{"nodes":[1]}'),
        (packed(0, 0, 0, 1), b"\xff"),
    ],
    ids=[
        *("a huge body", "a huge answer", "no content", "a redirect", "no status", "two headers", "no ASCII"),
        *("no number", "a time before time", "phases without end"),
        *("an answer that is not there", "no reason", "no node", "a number for a node", "no JSON"),
    ],
)
def test_a_reply_that_cannot_be_one_is_not_taken(pieces):
    with pytest.raises(GarbledReply):
        answered(*pieces)


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        (b"cuda", ()),
        (b"cuda:0", ()),
        (b"cuda:2", ("cuda:0", "cuda:1")),
        (b"cpu", ("cuda:0",)),
        (b"", ("cuda:0",)),
        (b"\xff", ("cuda:0",)),
    ],
)
def test_a_reply_that_names_a_device_that_there_is_not_is_not_taken(name, gpus):
    with pytest.raises(GarbledReply, match="device"):
        answered(packed(NEEDS_DEVICE, 0, 0, len(name)), name, gpus=gpus)


@pytest.mark.parametrize("name", [b"cuda", b"cuda:1"])
def test_a_reply_that_names_a_device_of_the_service_is_taken(name):
    reply = answered(packed(NEEDS_DEVICE, 0, 0, len(name)), name, gpus=("cuda:0", "cuda:1"))
    assert reply == Reply(NEEDS_DEVICE, name)


def test_an_answer_that_the_worker_could_still_change_is_not_taken():
    def hold(memory: int) -> mmap.mmap:
        os.pwrite(memory, b"x" * 100, NOTE.size)
        return mmap.mmap(memory, 0)

    with pytest.raises(GarbledReply, match="holds on"):
        answered(packed(200, SHARED, 0, 100), hold=hold)


def test_an_answer_in_memory_is_taken_whole():
    def hold(memory: int) -> None:
        os.pwrite(memory, bytes(range(100)), NOTE.size)

    answer = answered(packed(200, SHARED, 0, 100), hold=hold).shared
    assert answer is not None
    assert os.pread(answer.memory.descriptor, len(answer), answer.start) == bytes(range(100))
