"""Processes that answer calls until one of them kills them."""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from pullback_fuzz.calls import Calls
from pullback_fuzz.steadiness import is_steady
from pullback_service.engine import Engine
from pullback_service.workers.base import Call

CPU_S = 4
WALL_S = 30
"""Far beyond the processor time: for a call that waits, on a machine that is busy."""
ADDRESSES = 3 * 2**30
GROWTH_KIB = 2**20
LIFE = 500
"""Calls of one process: after a late crash, what a block of memory may have been spoilt by."""

ORDER = struct.Struct("<q")
REPORT = struct.Struct("<H??")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: the status of its answer, or how the process ended; `harm` if it should not be so."""

    status: int
    harm: str = ""


class Child:
    """A forked process with limits on its time and memory, and the calls that it was given."""

    def __init__(self, engine: Engine, calls: Calls) -> None:
        self.history: list[int] = []
        order_end, self._orders = os.pipe()
        self._reports, report_end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._orders)
            os.close(self._reports)
            _serve(engine, calls, order_end, report_end)
        os.close(order_end)
        os.close(report_end)

    def run(self, number: int) -> Outcome:
        """Have call `number` made; the process has ended where the outcome is no answer."""
        self.history.append(number)
        os.write(self._orders, ORDER.pack(number))
        ready, _, _ = select.select([self._reports], [], [], WALL_S)
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
            return Outcome(0, "hang")
        report = os.read(self._reports, REPORT.size)
        if len(report) < REPORT.size:
            return Outcome(0, _cause(self._reap()))
        status, is_bloated, is_unsteady = REPORT.unpack(report)
        harm = "internal error" if status >= 500 else "memory" if is_bloated else "unsteady" if is_unsteady else ""
        return Outcome(status, harm)

    def stop(self) -> None:
        """End the process, if it has not ended itself."""
        os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        os.close(self._orders)
        os.close(self._reports)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _cause(exit_code: int) -> str:
    if exit_code == -signal.SIGXCPU:
        return "hang"
    return f"crash: {signal.Signals(-exit_code).name}" if exit_code < 0 else f"crash: exit {exit_code}"


def _serve(engine: Engine, calls: Calls, orders: int, reports: int) -> None:
    try:
        _settle()
        while order := os.read(orders, ORDER.size):
            os.write(reports, _answer(engine, calls, ORDER.unpack(order)[0]))
    finally:
        os._exit(77)


def _settle() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    gc.freeze()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(engine: Engine, calls: Calls, number: int) -> bytes:
    request = calls.request(number)
    call = Call(request.operation, request.encoded())
    before = resource.getrusage(resource.RUSAGE_SELF)
    spent = before.ru_utime + before.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + CPU_S + 1, resource.RLIM_INFINITY))
    reply = engine.answer(call).joined()
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss
    is_bloated = growth > GROWTH_KIB or b"not enough memory" in reply.body
    is_unsteady = reply.status == 200 and not is_steady(engine, call, reply)
    return REPORT.pack(reply.status, is_bloated, is_unsteady)
