"""Who may come in, and how often."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import NamedTuple

from cachetools import LRUCache

from pullback_schemas.problems import Unauthorized
from pullback_service.access.keys import Holder, Keys
from pullback_service.access.quotas import Allowance, Header
from pullback_service.settings import NO_QUOTA, Quota, Settings
from pullback_service.workers.base import Usage

CALLERS = 2**16
"""How many callers' allowances are kept, the latest."""


class Credentials(NamedTuple):
    """The headers that may hold a key, as they came."""

    authorization: bytes | None = None
    x_api_key: bytes | None = None

    def key(self) -> bytes | None:
        """The key, if there is one in a form that is known. Somebody in between may have set Authorization."""
        if self.x_api_key is not None:
            return self.x_api_key.strip()
        scheme, _, value = (self.authorization or b"").strip().partition(b" ")
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


class Guest(NamedTuple):
    """Who comes: the name of their key, who they are among those that take turns, and what they may ask for."""

    key: str | None
    caller: str
    allowance: Allowance | None


class Visit:
    """A request that comes in, until it is done."""

    __slots__ = ("_allowance", "_clock", "_headers", "caller", "key", "usage")

    def __init__(self, guest: Guest, usage: Usage, headers: list[Header], clock: Callable[[], float]) -> None:
        self.key, self.caller, self._allowance = guest
        self.usage = usage
        self._headers, self._clock = headers, clock

    def __enter__(self) -> Visit:
        """Raises QuotaExceeded."""
        if self._allowance is not None:
            now = self._clock()
            try:
                self._allowance.admit(now)
            finally:
                self._headers += self._allowance.headers(now)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._allowance is not None:
            self._allowance.leave(self.usage.computed_s, self._clock())


class Gate:
    """Lets requests in by their key, if keys are needed, and within a quota, if there is one."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        """Raises BadKeysError."""
        self._keys = Keys(settings)
        self._quota = settings.quota
        self._clock = clock
        self._allowances: LRUCache[str, Allowance] = LRUCache(CALLERS)

    @property
    def needs_keys(self) -> bool:
        """Whether nobody comes in without one."""
        return self._keys.are_needed

    def visit(self, credentials: Credentials, address: str, usage: Usage, headers: list[Header]) -> Visit:
        """A visit by whoever has this key, or comes from this address. Raises Unauthorized.

        It costs what `usage` tells in the end; `headers` are what its answer tells of its quota.
        """
        return Visit(self._guest(credentials, address), usage, headers, self._clock)

    def _guest(self, credentials: Credentials, address: str) -> Guest:
        if not self._keys.are_needed:
            return Guest(None, address, self._allowance(address, self._quota))
        name, quota = self.holder(credentials)
        caller = f"key {name}"
        return Guest(name, caller, self._allowance(caller, quota))

    def holder(self, credentials: Credentials) -> Holder:
        """Whose key it is. Raises Unauthorized."""
        key = credentials.key()
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
        known = self._allowances.get(caller)
        if known is None or known.quota != quota:
            self._allowances[caller] = known = Allowance(quota, self._clock())
        return known
