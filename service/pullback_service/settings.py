"""Every setting of the service, from the environment (`PULLBACK_HOST`, ...)."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class Settings(BaseSettings):
    """What an operator may choose. Sizes count bytes or elements, times seconds."""

    model_config = SettingsConfigDict(env_prefix="PULLBACK_", frozen=True, allow_inf_nan=False)

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="the port to listen on; 0 picks a free one")
    trusted_proxies: str = Field(
        default="127.0.0.1,::1",
        description="addresses of proxies in front, whose X-Forwarded-For tells callers apart; empty: none",
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
    grace_s: float = Field(default=30, ge=0, description="at the end, time for what still runs and waits")
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

    @cached_property
    def proxies(self) -> frozenset[str]:
        """The trusted proxies, one by one."""
        return frozenset(filter(None, (address.strip() for address in self.trusted_proxies.split(","))))
