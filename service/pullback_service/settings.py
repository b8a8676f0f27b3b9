"""Every setting of the service, from the environment (`PULLBACK_HOST`, ...)."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pullback_service.addresses import Addresses, split_list


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class Quota(NamedTuple):
    """How much one caller may ask for; 0 stands for as much as there is."""

    requests_per_second: int
    concurrent_requests: int
    compute_seconds_per_minute: int


NO_QUOTA = Quota(0, 0, 0)


class Settings(BaseSettings):
    """What an operator may choose. Sizes count bytes or elements, times seconds. An empty variable is one not set."""

    model_config = SettingsConfigDict(
        env_prefix="PULLBACK_", env_ignore_empty=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="the port to listen on; 0 picks a free one")
    api_key: SecretStr | None = Field(
        default=None, exclude=True, description="the key that every caller needs; its name is default"
    )
    api_keys_file: str | None = Field(
        default=None, exclude=True, description="a file of hashed keys, read again when it changes"
    )
    anonymous: Literal["loopback", "anywhere"] = Field(
        default="loopback", description="where the service may listen while it needs no key"
    )
    requests_per_second: int = Field(default=0, ge=0, description="quota of a key, without keys of an address; 0: none")
    concurrent_requests: int = Field(default=0, ge=0, description="likewise, of requests at a time")
    compute_seconds_per_minute: int = Field(default=0, ge=0, description="likewise, of a worker's time")
    trusted_proxies: str = Field(
        default="127.0.0.1,::1",
        description="addresses and networks of proxies in front, whose X-Forwarded-For tells callers apart; or none",
    )
    cors_origins: str = Field(
        default="", description="origins of web pages that may call, like https://a.example,https://b.example; or *"
    )
    metrics: Literal["key", "open", "off"] = Field(
        default="key", description="whether GET /metrics needs a key, where there are keys"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="how log lines are written")
    access_log: Literal["all", "failures", "none"] = Field(
        default="failures", description="which requests have a line in the log"
    )
    worker_kind: Literal["processes", "inline"] = Field(
        default="processes", description="inline computes in the HTTP process: for tests and notebooks"
    )
    torch_threads: int = Field(default=1, ge=1, description="threads of one worker; workers x threads <= cores")
    workers: int = Field(
        default_factory=lambda chosen: max(1, _cores() // chosen["torch_threads"]),
        ge=1,
        description="worker processes; by default one a core, fewer with several threads each",
    )
    devices: str = Field(
        default="auto",
        pattern=r"^(auto|(cpu|cuda:[0-9]+)(,(cpu|cuda:[0-9]+))*)$",
        description="where requests run: the CPU and every GPU, or a list like cpu,cuda:0; the CPU always serves",
    )
    gpu_memory_fraction: float = Field(
        default=0.9, gt=0, le=1, description="how much of a GPU's memory its worker may take"
    )
    worker_memory_bytes: int = Field(
        default=8 * 2**30, ge=2**27, description="bytes that one worker may take beyond what it starts with"
    )
    recycle_after: int = Field(default=10_000, ge=1, description="requests that one worker process answers")
    single_use: bool = Field(default=False, description="a fresh worker process for every request")
    deadline_s: float = Field(
        default=60, gt=0, description="longest time of one request, its wait included; a caller may ask for less"
    )
    grace_s: float = Field(default=30, ge=0, description="at the end, time for what still comes, waits and runs")
    notice_s: float = Field(
        default=0, ge=0, description="at the end, time between no longer being ready and no longer listening"
    )
    quarantine_s: float = Field(
        default=60, gt=0, description="how long a graph is refused that ended workers by native errors"
    )
    head_timeout_s: float = Field(default=20, gt=0, description="longest time in which a request's head arrives")
    body_timeout_s: float = Field(
        default=300, gt=0, description="longest time in which a body arrives, or a large answer is read"
    )
    keep_alive_s: int = Field(
        default=65, ge=1, description="how long a connection stays open that asks nothing; longer than clients wait"
    )
    max_connections: int = Field(default=4096, ge=1, description="connections that are open at one time")
    max_connections_per_client: int = Field(
        default=512, ge=1, description="of these from one address, or network of IPv6 (/64); trusted proxies are exempt"
    )
    max_waiting: int = Field(default=256, ge=0, description="requests that may wait for a worker")
    max_body_bytes: int = Field(default=256 * 2**20, ge=1, description="bytes of one request's body, inflated or not")
    max_held_bytes: int = Field(
        default=2 * 2**30, ge=1, description="bytes of all large bodies and answers that there are at one time"
    )
    max_answer_bytes: int = Field(default=2**30, ge=2**20, description="bytes of one answer")
    max_nodes: int = Field(default=10_000, ge=1, description="nodes of one graph")
    max_tensor_elements: int = Field(default=2**26, ge=1, description="elements of any one tensor")
    max_total_elements: int = Field(default=2**28, ge=1, description="elements of all values of a graph")
    max_touched_elements: int = Field(
        default=2**35, ge=1, description="elements that a run reads and writes, estimated before it"
    )
    max_flops: int = Field(
        default=2**42, ge=1, description="floating-point operations of products and linear algebra, estimated"
    )

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]{16,}", key.get_secret_value()):
            raise ValueError("a key has at least 16 characters, visible ASCII alone, no blanks")
        return key

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        for origin in split_list(text):
            if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
                raise ValueError(f"{origin} is no origin: it looks like https://a.example, without a path")
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        Addresses.read("" if text == "none" else text)
        return text

    @property
    def quota(self) -> Quota:
        """What a caller without a quota of its own may ask for."""
        return Quota(self.requests_per_second, self.concurrent_requests, self.compute_seconds_per_minute)

    @cached_property
    def proxies(self) -> Addresses:
        """The trusted proxies."""
        return Addresses.read("" if self.trusted_proxies == "none" else self.trusted_proxies)

    @cached_property
    def origins(self) -> list[str]:
        """Those of web pages, one by one."""
        return split_list(self.cors_origins)
