"""How much memory large bodies and large answers hold, all requests together."""

from __future__ import annotations

from pullback_schemas.problems import Busy


class Holdings:
    """A count of bytes with an upper bound."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def take(self, size: int) -> None:
        """Hold so many more, to be given back. Raises Busy beyond the bound."""
        if self._bytes + size > self._max_bytes:
            raise Busy(
                "Other requests' bodies and answers take all the memory there is for them.", hint="Try again soon."
            )
        self._bytes += size

    def give_back(self, size: int) -> None:
        """Hold so many less."""
        self._bytes -= size
