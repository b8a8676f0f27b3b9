"""The devices of a service by name: which of them serve, and what a worker says of a call that belongs on another."""

from __future__ import annotations

from collections.abc import Collection

from pullback_service.workers.frames import GarbledReply

CPU, ANY_GPU = "cpu", "cuda"


class DeviceMissingError(Exception):
    """The settings name a device that is not there."""


def serving_gpus(setting: str, count: int) -> list[str]:
    """The GPUs that serve where there are so many; `setting` is that of the devices."""
    there = [f"cuda:{index}" for index in range(count)]
    return there if setting == "auto" else [name for name in there if name in setting.split(",")]


def named_gpus(setting: str) -> list[str]:
    """The GPUs that must be there."""
    return [name for name in setting.split(",") if name.startswith("cuda")]


def refuse_missing(setting: str, count: int) -> None:
    """Raise DeviceMissingError if a GPU that must be there is not among so many."""
    missing = sorted({*named_gpus(setting)} - {*serving_gpus("auto", count)})
    if missing:
        there = ", ".join([CPU, *serving_gpus("auto", count)])
        raise DeviceMissingError(f"PULLBACK_DEVICES names {', '.join(missing)}; what is there: {there}")


def read_device(body: bytes, gpus: Collection[str]) -> str:
    """The GPU that a worker named, or ANY_GPU. Raises GarbledReply if it is none of these."""
    name = body.decode("ascii", "replace")
    if name in gpus or (name == ANY_GPU and gpus):
        return name
    raise GarbledReply(f"a worker names a device that there is not: {name[:32]!r}")
