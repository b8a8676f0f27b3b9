"""The system calls that a sealed worker may make; the kernel refuses every other one with EPERM.

It has its memory, its threads, its clock, and the descriptors it holds already. It has no files, no sockets of its own,
no other process: not to start, not to signal, not to look at.
"""

from __future__ import annotations

import errno
import fcntl
import os

import pyseccomp as seccomp

_MEMORY = "brk mmap mremap munmap mprotect madvise mincore membarrier"
_THREADS = "futex futex_waitv set_robust_list get_robust_list rseq set_tid_address gettid exit exit_group sched_yield"
_SIGNALS = "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack restart_syscall"
_CLOCK = "clock_gettime clock_getres clock_nanosleep gettimeofday nanosleep time"
_DESCRIPTORS = """
read readv write writev pwrite64 recvfrom recvmsg sendto sendmsg close lseek fstat poll ppoll select pselect6
epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2
"""
_QUESTIONS = """
getpid getppid getuid geteuid getgid getegid getcpu getrandom getrusage getrlimit sched_getaffinity
sched_getparam sched_getscheduler sysinfo times uname
"""
_GPU = "mbind get_mempolicy set_mempolicy"
_IOCTL_KIND = 0xFF00
_GPU_IOCTLS = (0x4600, 0)
"""The kinds of requests that CUDA's drivers take, on descriptors that they have open; a terminal takes others."""

ALLOWED = " ".join((_MEMORY, _THREADS, _SIGNALS, _CLOCK, _DESCRIPTORS, _QUESTIONS)).split()

_CLONE_THREAD = 0x10000
_PR_SET_NAME, _PR_GET_NAME = 15, 16
_FCNTL = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_DUPFD_CLOEXEC)


def filter_syscalls(has_gpu: bool) -> None:
    """Refuse all but these from now on, in every thread. Raises OSError where that fails."""
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    rules.set_attr(seccomp.Attr.CTL_TSYNC, int(has_gpu))  # on the CPU there is one thread, and no need
    for name in [*ALLOWED, *(_GPU.split() if has_gpu else ())]:
        _allow(rules, name)
    for kind in _GPU_IOCTLS if has_gpu else ():
        _allow(rules, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, _IOCTL_KIND, kind))
    # Threads, not processes. clone3 hides its flags from the filter; the C library then falls back to clone.
    _allow(rules, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    # abort() and the like, to itself.
    _allow(rules, "tgkill", seccomp.Arg(0, seccomp.EQ, os.getpid()))
    # Reads its own limits, never sets them.
    _allow(rules, "prlimit64", seccomp.Arg(0, seccomp.EQ, 0), seccomp.Arg(2, seccomp.EQ, 0))
    for option in (_PR_SET_NAME, _PR_GET_NAME):
        _allow(rules, "prctl", seccomp.Arg(0, seccomp.EQ, option))
    # Not F_SETOWN and F_SETSIG, which send signals.
    for command in _FCNTL:
        _allow(rules, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    rules.load()


def _allow(rules: seccomp.SyscallFilter, name: str, *conditions: seccomp.Arg) -> None:
    try:
        rules.add_rule(seccomp.ALLOW, name, *conditions)
    except ValueError:  # not every architecture has every call
        return
