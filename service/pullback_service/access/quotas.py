"""How much each caller may ask for: requests a second, requests at a time, seconds of computing a minute.

What a request costs is known once it is done, so a bucket may be in debt; who is, waits until it is paid. (The
libraries for rate limits refuse a cost that a window has no room for, after the work is done.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from time import monotonic

from pullback_schemas.problems import QuotaExceeded
from pullback_service.settings import Quota

SOON_S = 1
"""When to try again where only the end of another request tells."""

Header = tuple[bytes, bytes]


class Bucket:
    """Fills steadily, within `period_s` to its size."""

    def __init__(self, size: int, period_s: float, now: float) -> None:
        self.size, self._period_s = size, period_s
        self._level, self._at = float(size), now

    def level(self, now: float) -> float:
        """What is in it; less than nothing when it is in debt."""
        self._level = min(self.size, self._level + (now - self._at) * self.size / self._period_s)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take so much out, even if it is not in it."""
        self._level = self.level(now) - amount

    def wait_s(self, amount: float, now: float) -> float:
        """Until there is so much in it."""
        return max(0.0, amount - self.level(now)) * self._period_s / self.size


class Allowance:
    """What one caller has left of a quota."""

    def __init__(self, quota: Quota, now: float) -> None:
        self.quota = quota
        self._requests = Bucket(quota.requests_per_second, 1, now) if quota.requests_per_second else None
        self._compute = Bucket(quota.compute_seconds_per_minute, 60, now) if quota.compute_seconds_per_minute else None
        self._running = 0
        self._policy = ", ".join(_policy(quota)).encode()

    def admit(self, now: float) -> None:
        """Begin a request, which is to `leave` again. Raises QuotaExceeded."""
        quota = self.quota
        if quota.concurrent_requests and self._running >= quota.concurrent_requests:
            raise _exceeded(f"{quota.concurrent_requests} requests at a time", SOON_S)
        if self._compute is not None and (wait_s := self._compute.wait_s(0, now)):
            raise _exceeded(f"{quota.compute_seconds_per_minute} seconds of computing a minute", wait_s)
        if self._requests is not None:
            if wait_s := self._requests.wait_s(1, now):
                raise _exceeded(f"{quota.requests_per_second} requests a second", wait_s)
            self._requests.take(1, now)
        self._running += 1

    def leave(self) -> None:
        """A request that was admitted is done."""
        self._running -= 1

    def charge(self, computed_s: float) -> None:
        """A worker has computed so long for this caller, who may have gone meanwhile."""
        if self._compute is not None:
            self._compute.take(computed_s, monotonic())

    def headers(self, now: float) -> list[Header]:
        """The fields RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", ", ".join(self._left(now)).encode())]

    def _left(self, now: float) -> Iterator[str]:
        for name, bucket in (("requests", self._requests), ("compute", self._compute)):
            if bucket is not None:
                left, full_in_s = max(0, math.floor(bucket.level(now))), math.ceil(bucket.wait_s(bucket.size, now))
                yield f'"{name}";r={left};t={full_in_s}'
        if self.quota.concurrent_requests:
            yield f'"concurrent";r={max(0, self.quota.concurrent_requests - self._running)}'


def _policy(quota: Quota) -> Iterator[str]:
    if quota.requests_per_second:
        yield f'"requests";q={quota.requests_per_second};w=1'
    if quota.compute_seconds_per_minute:
        yield f'"compute";q={quota.compute_seconds_per_minute};w=60;qu="compute-seconds"'
    if quota.concurrent_requests:
        yield f'"concurrent";q={quota.concurrent_requests};qu="concurrent-requests"'


def _exceeded(what: str, wait_s: float) -> QuotaExceeded:
    return QuotaExceeded(
        f"The quota is {what}.",
        retry_after_s=(seconds := max(1, math.ceil(wait_s))),
        hint=f"Try again in {seconds} s. Whoever runs the service sets quotas.",
    )
