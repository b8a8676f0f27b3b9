"""The fences around a worker, raised before it sees the first byte of a request and never lowered.

Each stands for itself: where the kernel lacks one, the others are raised all the same, and the worker says which.
"""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable
from pathlib import Path

from pullback_service.settings import Settings
from pullback_service.workers import kernel
from pullback_service.workers.frames import NOTE

THREAD_BYTES = 160 * 2**20
"""Address space that a thread reserves without using it: its stack and its heap."""

DESCRIPTORS, GPU_DESCRIPTORS = 32, 1024
SIZE, DATA = 0, 5
"""Columns of `statm`."""

ON = "on"
BESIDE_GPU = {
    "address_space": "off: CUDA reserves far more than it takes",
    "threads": "off: CUDA starts its own, those of before without Landlock",
}


def seal(settings: Settings, *, has_gpu: bool = False) -> dict[str, str]:
    """Raise every fence: ON, or the reason why it is not, by name. Everything must be imported by now.

    With a GPU, CUDA must run by now: it has threads, and its device open.
    """
    filter_syscalls = syscall_filter()
    limit = limit_beside_gpu if has_gpu else limit_resources
    return {
        "limits": _raised(lambda: limit(settings)),
        "no_new_privs": _raised(kernel.gain_no_privileges),
        "landlock": _raised(kernel.reach_nothing),
        "seccomp": _raised(lambda: filter_syscalls(has_gpu)),
        **(BESIDE_GPU if has_gpu else {}),
    }


def syscall_filter() -> Callable[[bool], None]:
    """The seccomp fence, or what tells why there is none. The fork server imports it once for all workers."""
    try:
        from pullback_service.workers.syscalls import filter_syscalls
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error)

        def tell(_: bool) -> None:
            raise OSError(reason)

        return tell
    return filter_syscalls


def limit_resources(settings: Settings) -> None:
    """Bound what the process may take: memory beyond what it has, answers, descriptors, processes; no core files."""
    threads = settings.torch_threads - 1
    _limit(resource.RLIMIT_AS, _pages(SIZE) + settings.worker_memory_bytes + threads * THREAD_BYTES)
    _limit_files(settings, DESCRIPTORS)
    if not threads:
        _limit(resource.RLIMIT_NPROC, 0)  # it counts threads too


def limit_beside_gpu(settings: Settings) -> None:
    """The same where CUDA runs: memory is what the process may write, whatever else it maps."""
    _limit(resource.RLIMIT_DATA, _pages(DATA) + settings.worker_memory_bytes)
    _limit_files(settings, GPU_DESCRIPTORS)


def _limit_files(settings: Settings, descriptors: int) -> None:
    _limit(resource.RLIMIT_FSIZE, NOTE.size + settings.max_answer_bytes)  # the memory file for answers
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, descriptors)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _pages(column: int) -> int:
    """Bytes of the process's memory, by the column of `statm`."""
    return int(Path("/proc/self/statm").read_text().split()[column]) * mmap.PAGESIZE


def _raised(fence: Callable[[], object]) -> str:
    try:
        fence()
    except (OSError, ValueError) as error:
        return f"off: {error}"
    return ON
