"""Who calls, as far as a request's head tells."""

from __future__ import annotations

import pytest

from pullback_service.addresses import Addresses
from pullback_service.http.head import address_of

PROXIES = Addresses.read("127.0.0.1, 10.0.0.0/8, fd00::/8")


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1, 10.0.0.1", "198.51.100.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("10.1.2.3", "198.51.100.1, 10.4.5.6", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("11.0.0.1", "198.51.100.1", "11.0.0.1"),
        ("", "198.51.100.1", ""),
        ("127.0.0.1", "x" * 1000, "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1:5001", "198.51.100.1"),
        ("127.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_proxy_is_believed_about_whom_it_speaks_for_and_nobody_else_is(client, forwarded, address):
    lines = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope = {"client": (client, 1234), "headers": lines}
    assert address_of(scope, dict(lines), PROXIES) == address


def test_what_a_proxy_adds_on_a_line_of_its_own_counts():
    lines = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"10.0.0.2")]
    assert address_of({"client": ("127.0.0.1", 1), "headers": lines}, dict(lines), PROXIES) == "198.51.100.1"
