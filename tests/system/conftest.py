"""The processes under a real service."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CHANGED_IN_S = 30


def _name_of(pid: int) -> str:
    """Nothing for a process that has ended, reaped or not."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if rest.split()[0] == "Z" else name


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [below for child in children for below in _descendants(child)]


@pytest.fixture(scope="session")
def processes_of() -> Callable[..., list[int]]:
    """`processes_of(pid, "worker", 2)`: the pids below a service's named pullback-worker, once there are two.

    Without a name all processes below it, at once.
    """

    def find(pid: int, name: str = "", count: int = 0) -> list[int]:
        bound = time.monotonic() + CHANGED_IN_S
        while True:
            found = [below for below in _descendants(pid) if not name or _name_of(below) == f"pullback-{name}"]
            if len(found) == count or not count:
                return found
            assert time.monotonic() < bound, f"{len(found)} processes are pullback-{name} instead of {count}"

    return find


@pytest.fixture(scope="session")
def await_end() -> Callable[[int], None]:
    """`await_end(pid)` returns when the process has ended, and fails when it does not."""

    def wait(pid: int) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ended = poll.poll(CHANGED_IN_S * 1000)
        os.close(descriptor)
        assert ended, f"process {pid} ({_name_of(pid)}) lives on"

    return wait
