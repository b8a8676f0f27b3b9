"""Who counts as one client, and how many connections one may have."""

from __future__ import annotations

import pytest

from pullback_schemas.problems import Busy
from pullback_service.addresses import client_of
from pullback_service.http.limits import ConnectionLimits
from pullback_service.settings import Settings


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::7", "2001:db8:1:2::"),
        ("2001:db8:1:3::7", "2001:db8:1:3::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("a socket file", "a socket file"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(address, client):
    assert client_of(address) == client


def test_who_leaves_makes_room():
    limits = ConnectionLimits(Settings(max_connections=3, max_connections_per_client=2, trusted_proxies="192.0.2.1"))
    places = [limits.admit("192.0.2.7"), limits.admit("192.0.2.7")]
    with pytest.raises(Busy):
        limits.admit("192.0.2.7")
    limits.admit("192.0.2.1")
    with pytest.raises(Busy):
        limits.admit("192.0.2.1")
    limits.leave(places.pop())
    limits.admit("192.0.2.7")
