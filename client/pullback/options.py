"""What a client is told once: where the service is, who calls, how patient it is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

import httpx

from pullback.wire import Wire

BASE_URL = "PULLBACK_BASE_URL"
API_KEY = "PULLBACK_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"

CONNECT_S = 10.0
ON_THE_WAY_S = 10.0
"""How much longer than the service may compute the client waits for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How requests are sent.

    `wire` is how tensors travel: "binary", as safetensors files, or "json", in base64.
    `timeout_s` is how long the service may take for one try, which it is told; None: as long as it likes.
    `max_retries` is how often a request is sent again that got no answer, or a 408, 429, 502, 503 or 504.
    `max_retry_after_s` is the longest wait that a service may ask for before that; a longer one is the caller's affair.
    """

    base_url: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float | None = 60.0
    max_retries: int = 2
    max_retry_after_s: float = 60.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    wire: Wire = "binary"
    progress: bool = True

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError("max_retries is a number of times, 0 or more")
        key = self.api_key or ""
        if not (key.isascii() and key.isprintable() and key == key.strip()):
            raise ValueError("api_key has characters that no header can carry")
        if self.timeout_s is not None and not 0 < self.timeout_s < math.inf:
            raise ValueError("timeout_s is a number of seconds above 0, or None")

    def url(self, path: str) -> str:
        """The address of `path` at the service."""
        return self.base_url.rstrip("/") + path

    @property
    def shown_url(self) -> str:
        """The base URL as it may be shown, without a name and a password."""
        return str(httpx.URL(self.base_url).copy_with(userinfo=b""))

    def sent_headers(self) -> dict[str, str]:
        """The headers of every request."""
        own = {name.lower(): value for name, value in self.headers.items()}
        headers = {"user-agent": "pullback-python"}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key}"
        headers |= own
        if self.timeout_s is not None:
            headers["pullback-timeout"] = f"{self.timeout_s:.3f}"
        return headers

    def http_timeout(self) -> httpx.Timeout:
        """How long the connection may be silent."""
        waits_s = None if self.timeout_s is None else self.timeout_s + ON_THE_WAY_S
        return httpx.Timeout(waits_s, connect=CONNECT_S)


class Chosen(TypedDict, total=False):
    """Options by name, where some are given."""

    api_key: str | None
    timeout_s: float | None
    max_retries: int
    max_retry_after_s: float
    headers: Mapping[str, str]
    wire: Wire
    progress: bool


class Changes(Chosen, total=False):
    """Options by name, the address too."""

    base_url: str


def settle(base_url: str | None, http: httpx.Client | httpx.AsyncClient | None, given: Chosen) -> Options:
    """The options as given; else the base URL of the caller's own HTTP client; else what the environment says."""
    own = "" if http is None else str(http.base_url)
    base_url = base_url or own or os.environ.get(BASE_URL) or DEFAULT_URL
    api_key = given.get("api_key") or os.environ.get(API_KEY) or None
    chosen: Changes = {**given, "base_url": base_url, "api_key": api_key}
    return Options(**chosen)
