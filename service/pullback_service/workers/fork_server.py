"""The process that has torch loaded and warm, and forks a worker whenever it is told to.

It never sees a request. It has one thread and no CUDA, since neither survives a fork: a worker on a GPU is a program of
its own. When its control socket closes,
it ends, and every worker before it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import warnings
from typing import TYPE_CHECKING

from pullback_service.settings import Settings
from pullback_service.telemetry.logs import configure_logging
from pullback_service.workers import sealing
from pullback_service.workers.child import become_worker
from pullback_service.workers.control import NOT_FORKED, PACKET, READY, Role
from pullback_service.workers.devices import CPU, serving_gpus
from pullback_service.workers.gpu_worker import Gpus, become_gpu_worker, hide_gpus
from pullback_service.workers.kernel import die_with, name_process

if TYPE_CHECKING:
    from pullback_service.engine import Engine

log = logging.getLogger("pullback_service.workers.fork_server")  # __name__ is __main__ here

GARBAGE = 20_000
"""New objects before the collector looks at them: some dozens of small requests."""


class Forker:
    """Forks on command, and reaps."""

    def __init__(self, control: socket.socket, engine: Engine, settings: Settings, gpus: Gpus) -> None:
        self._control = control
        self._engine = engine
        self._settings = settings
        self._gpus = gpus
        self._pids: dict[int, int] = {}
        self._poll = select.poll()

    def serve(self) -> None:
        """Obey until the HTTP process is gone, then leave no process behind."""
        self._poll.register(self._control, select.POLLIN)
        self._control.sendall(b"%s %d" % (READY, self._gpus.count))
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._control.fileno():
                    self._reap(descriptor)
                elif not self._obey():
                    self._end_all()
                    return

    def _obey(self) -> bool:
        try:
            word, descriptors, _, _ = socket.recv_fds(self._control, PACKET, 1)
        except ConnectionResetError:  # it ended with something of ours unread
            return False
        if not word:
            return False
        with socket.socket(fileno=descriptors[0]) as connection:
            role, device = word.decode().split()
            try:
                pid = self._fork(connection, Role(role), device)
            except OSError as error:  # the machine has no room for another process now
                log.error("a worker could not be forked: %s", error)
                self._control.sendall(NOT_FORKED)
                return True
        pidfd = os.pidfd_open(pid)  # it cannot be another process: nobody has reaped this one
        self._pids[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        socket.send_fds(self._control, [str(pid).encode()], [pidfd])
        return True

    def _fork(self, connection: socket.socket, role: Role, device: str) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._become(connection, role, device, parent)
                status = 0
            except BaseException:
                log.exception("a worker failed")
            finally:
                os._exit(status)  # never back into the server's loop
        return pid

    def _become(self, connection: socket.socket, role: Role, device: str, parent: int) -> None:
        if device != CPU:
            become_gpu_worker(connection, role, device, self._settings, parent, self._gpus.environment)
        gpus = [] if role is Role.ALONE else serving_gpus(self._settings.devices, self._gpus.count)
        become_worker(connection, role, lambda: self._engine, self._settings, parent, gpus)

    def _reap(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        pid = self._pids.pop(pidfd)
        os.close(pidfd)
        assert result is not None
        cause = 0 if result.si_code == os.CLD_EXITED else result.si_status
        if cause not in (0, signal.SIGKILL):
            log.warning("worker %d ended by signal %d", pid, cause)  # of any number: a worker may signal itself
        with contextlib.suppress(OSError):  # nobody listens any more
            self._control.sendall(f"{pid} {cause}".encode())

    def _end_all(self) -> None:
        for pidfd in list(self._pids):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            self._reap(pidfd)


def main(descriptor: int, parent: int, settings: Settings) -> None:
    """Load, warm up, and serve."""
    die_with(parent)
    name_process("pullback-forks")
    configure_logging(settings)
    warnings.simplefilter("ignore")
    from pullback_service.engine import build_engine
    from pullback_service.gpu import count_gpus

    gpus = Gpus(count_gpus(), hide_gpus())
    engine = build_engine(settings)
    sealing.syscall_filter()
    # torch's own objects live as long as the process, and a request leaves few cycles. Frozen pages stay shared.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    with socket.socket(fileno=descriptor) as control:
        Forker(control, engine, settings, gpus).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Settings.model_validate_json(sys.argv[3]))
