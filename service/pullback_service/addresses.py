"""Network addresses that a setting names. Standard library only."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

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
        address = _parsed(text)
        return address is not None and any(address in network for network in self._networks)


def is_address(text: str) -> bool:
    """Whether it is one of IPv4 or IPv6."""
    return _parsed(text) is not None


@lru_cache(REMEMBERED)
def client_of(address: str) -> str:
    """Who has an address: of IPv6 a whole network of 64 bits, since one client has as many addresses as it likes."""
    parsed = _parsed(address)
    if parsed is None:
        return address
    return str(parsed if isinstance(parsed, IPv4Address) else IPv6Address(int(parsed) >> 64 << 64))


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address, IPv4 also where IPv6 is wrapped around it; None where it is a name, or a socket's path."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
