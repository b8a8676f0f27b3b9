"""Network addresses that a setting names. Standard library only."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from typing_extensions import override

REMEMBERED = 4096
"""To look one up takes some microseconds."""


def split_list(text: str) -> list[str]:
    """What stands between commas."""
    return [part for part in (part.strip() for part in text.split(",")) if part]


class Addresses(Container[str]):
    """Single addresses and whole networks."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = networks
        self._holds = lru_cache(REMEMBERED)(self._look_up)

    @classmethod
    def read(cls, text: str) -> Addresses:
        """From a list like 127.0.0.1,10.0.0.0/8. Raises ValueError."""
        return cls([ip_network(part) for part in split_list(text)])

    @override
    def __contains__(self, address: object) -> bool:
        return bool(self._networks) and self._holds(str(address))

    def _look_up(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:  # a name, or a socket's path
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)


def is_address(text: str) -> bool:
    """Whether it is one of IPv4 or IPv6."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(REMEMBERED)
def client_of(address: str) -> str:
    """Who has an address: of IPv6 a whole network of 64 bits, since one client has as many addresses as it likes."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
