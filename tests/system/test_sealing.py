"""What a sealed process cannot do, tried; and what the workers of a real service are sealed with."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

SEAL = """
import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, subprocess, sys, threading, time
from pullback_service.settings import Settings
from pullback_service.workers import sealing
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
THREADS, MEMORY = 2, 2**29
fences = sealing.seal(Settings(torch_threads=THREADS, worker_memory_bytes=MEMORY))
"""

REFUSED = {
    "read a file": "open('/etc/hostname')",
    "write a file": "open('sealed.txt', 'w')",
    "list a directory": "os.listdir('/')",
    "make a directory": "os.mkdir('sealed')",
    "remove a file": "os.unlink('sealed.txt')",
    "ask for a file": "os.stat('/etc/hostname')",
    "change its directory": "os.chdir('/')",
    "make an Internet socket": "socket.socket()",
    "make a pair of sockets": "socket.socketpair()",
    "make a local socket": "socket.socket(socket.AF_UNIX)",
    "fork": "os.fork()",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "execute": "os.execv('/bin/true', ['true'])",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "open another process": "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)",
    "trace": "call(-1 if libc.ptrace(16, os.getppid(), 0, 0) < 0 else 39)",
    "raise its limits": "resource.prlimit(0, resource.RLIMIT_NOFILE, (64, 64))",
    "limit another process": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
    "have a signal sent by a descriptor": "fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())",
    "become somebody else": "os.setuid(1)",
    "change the priority of others": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 10)",
    "move other processes": "os.sched_setaffinity(os.getppid(), {0})",
    "make an io_uring": "call(425, 8, 0)",
    "make a memory file": "os.memfd_create('x')",
}


def run_sealed(code: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SEAL + code], capture_output=True, text=True, timeout=60, cwd=directory
    )
    return f"{done.stdout.strip()}{'' if done.returncode == 0 else f' exit {done.returncode} {done.stderr}'}"


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_a_sealed_process_cannot(attempt, tmp_path):
    free = f"try:\n    {attempt}\n    print('done')\nexcept OSError as error:\n    print(error.errno)\n"
    assert run_sealed(free, tmp_path) == str(errno.EPERM)


def test_a_sealed_process_may_compute_in_threads_and_tell_the_time(tmp_path):
    code = """
results = []
thread = threading.Thread(target=lambda: results.append(sum(range(10))))
thread.start(); thread.join()
time.sleep(0); time.perf_counter(); os.urandom(8)
print(results)
"""
    assert run_sealed(code, tmp_path) == "[45]"


def test_a_sealed_process_gets_memory_up_to_its_limit_and_an_error_beyond(tmp_path):
    code = """
block = bytearray(MEMORY // 2)
try:
    bytearray(2 * MEMORY)
except MemoryError:
    print(len(block))
"""
    assert run_sealed(code, tmp_path) == str(2**28)


def test_a_sealed_process_may_still_abort(tmp_path):
    assert "exit -6" in run_sealed("os.abort()", tmp_path)


def beside_a_gpu(attempt: str, directory: Path) -> str:
    """The errno of what is tried where CUDA would run, in a thread that was there before."""
    code = f"""
may_try = threading.Event()
def try_it():
    may_try.wait()
    try:
        {attempt}
        print("done")
    except OSError as error:
        print(error.errno)
thread = threading.Thread(target=try_it)
thread.start()
sealing.seal(Settings(worker_memory_bytes=MEMORY), has_gpu=True)
may_try.set()
thread.join()
"""
    unsealed, _, _ = SEAL.partition("fences = ")
    done = subprocess.run(
        [sys.executable, "-P", "-c", unsealed + code], capture_output=True, text=True, timeout=60, cwd=directory
    )
    return done.stdout.strip() or done.stderr


TERMINAL = {
    "type on its terminal": "fcntl.ioctl(1, 0x5412, b'x')",
    "take a terminal": "fcntl.ioctl(1, 0x540E, 0)",
}


@pytest.mark.parametrize("attempt", [*REFUSED.values(), *TERMINAL.values()], ids=[*REFUSED, *TERMINAL])
def test_a_process_sealed_beside_a_gpu_cannot_either_in_any_thread(attempt, tmp_path):
    assert beside_a_gpu(attempt, tmp_path) == str(errno.EPERM)


@pytest.mark.parametrize("request_code", ["0xC020462A", "0x30000001"], ids=["resource manager", "unified memory"])
def test_a_process_sealed_beside_a_gpu_may_talk_to_the_drivers_of_cuda(request_code, tmp_path):
    """The descriptor here is no driver's, which the kernel answers by ENOTTY."""
    assert beside_a_gpu(f"fcntl.ioctl(0, {request_code}, 0)", tmp_path) == str(errno.ENOTTY)


def test_a_process_sealed_beside_a_gpu_has_a_bound_on_the_memory_that_it_writes(tmp_path):
    attempt = "block = mmap.mmap(-1, 2 * MEMORY, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)"
    assert beside_a_gpu(attempt, tmp_path) == str(errno.ENOMEM)


def test_landlock_alone_keeps_files_away(tmp_path):
    (tmp_path / "secret").write_text("secret")
    code = """
from pullback_service.workers import kernel
kernel.gain_no_privileges()
kernel.reach_nothing()
try:
    open("secret")
except OSError as error:
    print(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.strip() == str(errno.EACCES), done.stderr


def test_a_fence_that_the_system_lacks_is_told_and_the_others_stand(tmp_path):
    no_library = "import ctypes.util\nctypes.util.find_library = lambda name: None\n"
    code = no_library + SEAL + "print(json.dumps(fences))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    fences = json.loads(done.stdout)
    assert fences["seccomp"] == "off: Unable to find libseccomp"
    assert fences["limits"] == fences["no_new_privs"] == "on"


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_every_worker_of_a_service_is_sealed_and_holds_one_socket(own_service, processes_of):
    pid, _ = own_service(WORKERS="2")
    for worker in [*processes_of(pid, "worker", 2), *processes_of(pid, "alone", 1)]:
        status = status_of(worker)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert sorted(os.listdir(f"/proc/{worker}/fd"), key=int)[:3] == ["0", "1", "2"]
        assert len(os.listdir(f"/proc/{worker}/fd")) == 4
        assert Path(f"/proc/{worker}/oom_score_adj").read_text().strip() == "1000"
        limits = Path(f"/proc/{worker}/limits").read_text()
        assert "Max core file size        0                    0" in limits


def test_readiness_tells_which_fences_stand(real_url):
    fences = httpx.get(f"{real_url}/health/ready").json()["fences"]
    assert set(fences) == {"limits", "no_new_privs", "landlock", "seccomp"}
    assert fences["limits"] == fences["no_new_privs"] == fences["seccomp"] == "on"
