"""Bytes that processes share by descriptor instead of copying them through a socket."""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from threading import Thread

INLINE_BYTES = 2**18
"""Up to this size a copy through a socket is cheaper than a memory file."""

SOON_FREED = 2**24
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class SharedBytes:
    """An anonymous memory file: written by appending, then sealed, after which no process can change it.

    The descriptor is closed with the object, or before. The memory lives until every process has closed it.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self._size = size
        self._closing = weakref.finalize(self, os.close, descriptor)
        self._closing.atexit = False

    @classmethod
    def empty(cls) -> SharedBytes:
        """A new memory file. Raises OSError."""
        return cls(os.memfd_create("pullback", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), 0)

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes | memoryview) -> None:
        """Write at the end. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]
        self._size += len(data)

    def seal(self) -> None:
        """Let nobody change it any more. Raises OSError while some process has it mapped for writing."""
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def sized(self, size: int) -> SharedBytes:
        """The same file, of which another process wrote `size` bytes."""
        self._size = size
        return self

    def view(self) -> memoryview:
        """The bytes themselves, only of what is sealed, since a shrunken file kills its readers.

        Whoever writes to them gets copies of their own, as kernels in untrusted hands may.
        """
        return memoryview(mmap.mmap(self.descriptor, self._size, access=mmap.ACCESS_COPY))

    def close(self) -> None:
        """Give the descriptor back now; in a thread if that takes long: the kernel frees some 4 GiB a second."""
        if self._size > SOON_FREED:
            Thread(target=self._closing).start()
        else:
            self._closing()
