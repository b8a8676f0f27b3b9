"""Who may come in, and how often."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from time import monotonic
from types import TracebackType

from cachetools import LRUCache

from pullback_schemas.problems import Unauthorized
from pullback_service.access.keys import Holder, Keys
from pullback_service.access.quotas import Allowance, Header
from pullback_service.settings import NO_QUOTA, Quota, Settings
from pullback_service.workers.base import Usage

CALLERS = 2**16
"""How many callers' allowances are kept, the latest."""


Headers = Mapping[bytes, bytes]


def key_in(headers: Headers) -> bytes | None:
    """The key, if there is one in a form that is known. Somebody in between may have set Authorization."""
    own = headers.get(b"x-api-key")
    found = _authorised(headers.get(b"authorization", b"")) if own is None else own.strip()
    return found or None


def _authorised(authorization: bytes) -> bytes | None:
    scheme, _, value = authorization.strip().partition(b" ")
    match scheme.lower():
        case b"bearer":
            return value.strip()
        case b"basic":
            return _password(value.strip())
    return None


def _password(value: bytes) -> bytes | None:
    """Of HTTP Basic; or the user's name, where an address has no more than that."""
    try:
        name, _, password = base64.b64decode(value, validate=True).partition(b":")
    except binascii.Error:
        return None
    return password or name


class Visit:
    """A request that comes in, until it is done. What `usage` tells is charged to its caller."""

    __slots__ = ("_allowance", "caller", "key", "usage")

    def __init__(self, key: str | None, caller: str, usage: Usage, allowance: Allowance | None) -> None:
        self.key = key
        """The name of its key."""
        self.caller = caller
        """Who takes turns with others: the holder of a key, or an address."""
        self.usage = usage
        self._allowance = allowance

    def __enter__(self) -> Visit:
        """Raises QuotaExceeded."""
        if self._allowance is not None:
            self._allowance.admit(monotonic())
            self.usage.charge(self._allowance.charge)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._allowance is not None:
            self._allowance.leave()

    def quota_headers(self) -> list[Header]:
        """What its answer tells of its quota."""
        return [] if self._allowance is None else self._allowance.headers(monotonic())


class Gate:
    """Lets requests in by their key, if keys are needed, and within a quota, if there is one."""

    def __init__(self, settings: Settings) -> None:
        """Raises BadKeysError."""
        self._keys = Keys(settings)
        self._quota = settings.quota
        self._allowances: LRUCache[tuple[str, Quota], Allowance] = LRUCache(CALLERS)

    @property
    def needs_keys(self) -> bool:
        """Whether nobody comes in without one."""
        return self._keys.are_needed

    def visit(self, headers: Headers, address: str, usage: Usage) -> Visit:
        """A visit by whoever has the key in these headers, or comes from this address. Raises Unauthorized."""
        if not self._keys.are_needed:
            return Visit(None, address, usage, self._allowance(address, self._quota))
        name, quota = self.holder(headers)
        caller = f"key {name}"
        return Visit(name, caller, usage, self._allowance(caller, quota))

    def holder(self, headers: Headers) -> Holder:
        """Whose key is in these headers. Raises Unauthorized."""
        key = key_in(headers)
        holder = None if key is None else self._keys.holder(key)
        if holder is None:
            raise Unauthorized(
                "No key came with the request." if key is None else "The key is none that this service knows.",
                expected="Authorization: Bearer <key>, X-API-Key: <key>, or HTTP Basic with the key as password",
                hint="Whoever runs the service gives out keys.",
            )
        return holder

    def _allowance(self, caller: str, quota: Quota) -> Allowance | None:
        if quota == NO_QUOTA:
            return None
        known = self._allowances.get((caller, quota))
        if known is None:
            self._allowances[caller, quota] = known = Allowance(quota, monotonic())
        return known
