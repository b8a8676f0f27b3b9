"""The worker process, from its fork to its end: seals itself, then answers calls from one socket."""

from __future__ import annotations

import gc
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from socket import socket
from typing import TYPE_CHECKING

from pullback_schemas.problems import Quarantined
from pullback_service.forms import Coding
from pullback_service.settings import Settings
from pullback_service.workers.base import Call, Reply
from pullback_service.workers.control import Role
from pullback_service.workers.kernel import die_with, name_process
from pullback_service.workers.line import Line
from pullback_service.workers.sealing import seal
from pullback_service.workers.shared import INLINE_BYTES, SharedBytes

if TYPE_CHECKING:
    from pullback_service.engine import Engine

FIRST_TO_BE_KILLED = b"1000"


def become_worker(
    connection: socket,
    role: Role,
    build: Callable[[], Engine],
    settings: Settings,
    parent: int,
    gpus: Sequence[str] = (),
) -> None:
    """Answer until the HTTP process is gone, or once. Called in the worker's process; the caller ends it afterwards.

    `build` gives the engine, once nothing is open that is not the worker's own. `gpus` are those of other workers.
    """
    die_with(parent)
    _yield_to_the_service()
    _close_all_but(connection)
    line = Line(connection)
    engine = build()
    engine.settle(
        threads=settings.torch_threads,
        is_alone=role is Role.ALONE,
        gpus=gpus,
        admit=lambda graph: _admit(graph, line),
    )
    fences = seal(settings, has_gpu=engine.has_gpu)
    name_process(f"pullback-{'gpu' if engine.has_gpu else role.value}")  # from now on it is one
    try:
        line.greet(fences)
        while (calls := line.receive()) is not None:
            replies = engine.answer_all(calls)
            is_last = (
                role.is_single_use
                or not engine.is_sound
                or (_were_large(calls, replies) and not _has_room(settings.worker_memory_bytes // 2))
            )
            line.reply(replies, is_last=is_last)
            if is_last:
                return
            engine.practise()
            may_linger = _may_linger(calls, replies)
            del calls, replies  # they may be large, and the next call may be long in coming
            if may_linger:
                gc.collect()
    except ConnectionError:
        return


def _admit(digest: bytes, line: Line) -> None:
    """Called before a graph is even compiled."""
    line.note(digest)
    if digest in line.refused:
        raise Quarantined(
            "This graph ended the process that ran it, more than once; it is refused for a while.",
            pointer="/graph",
            hint="It makes PyTorch crash. Look for indices, lengths and sizes that are out of range.",
        )


def _were_large(calls: Sequence[Call], replies: Sequence[Reply]) -> bool:
    """Whether these calls may have left memory in pieces; a problem may be that of memory. Many at once are small."""
    return len(calls) == 1 and (
        isinstance(calls[0].body, SharedBytes) or replies[0].size > INLINE_BYTES or replies[0].status != 200
    )


def _may_linger(calls: Sequence[Call], replies: Sequence[Reply]) -> bool:
    """Whether much may be held on to: a problem and the frames that it came through hold one another, and the body."""
    call, status = calls[0], replies[0].status
    return status != 200 and (isinstance(call.body, SharedBytes) or call.forms.coding is not Coding.IDENTITY)


def _has_room(size: int) -> bool:
    """Whether so much memory could still be had. What large requests leave behind in pieces is never whole again."""
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        return False
    return True


def _yield_to_the_service() -> None:
    """When the machine runs out of memory, the kernel is to take this process rather than the service."""
    try:
        with open("/proc/self/oom_score_adj", "wb") as score:
            score.write(FIRST_TO_BE_KILLED)
    except OSError as error:
        print(f"oom_score_adj: {error}", file=sys.stderr)


def _close_all_but(connection: socket) -> None:
    keep = connection.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
