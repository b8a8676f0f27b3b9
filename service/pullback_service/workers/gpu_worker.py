"""A worker on a GPU: a program of its own, since neither CUDA nor autograd's threads for it survive a fork."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from socket import socket
from typing import TYPE_CHECKING, NoReturn

from pullback_service.settings import Settings
from pullback_service.telemetry.logs import configure_logging
from pullback_service.workers.child import become_worker
from pullback_service.workers.control import Role

if TYPE_CHECKING:
    from pullback_service.engine import Engine

VISIBLE = "CUDA_VISIBLE_DEVICES"
PREPARED = {"CUDA_MODULE_LOADING": "EAGER", "USE_PYTORCH_KERNEL_CACHE": "0"}
"""A sealed process reads no more files: all kernels are loaded before, and those that are compiled are not kept."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """How many GPUs there are, and the environment of a process that sees them."""

    count: int
    environment: Mapping[str, str]


def hide_gpus() -> dict[str, str]:
    """The environment of a process that sees them; this one, which is to fork, sees none from now on."""
    environment = dict(os.environ)
    os.environ[VISIBLE] = ""
    return environment | PREPARED


def become_gpu_worker(
    connection: socket, role: Role, device: str, settings: Settings, parent: int, environment: Mapping[str, str]
) -> NoReturn:
    """Called in the forked process, which this program takes over."""
    connection.set_inheritable(True)
    program = [sys.executable, "-P", "-m", "pullback_service.workers.gpu_worker"]
    told = [str(connection.fileno()), role.value, device, str(parent), settings.model_dump_json()]
    os.execve(sys.executable, [*program, *told], environment)


def main(descriptor: int, role: Role, device: str, parent: int, settings: Settings) -> None:
    """Start CUDA, warm up, and answer."""
    configure_logging(settings)
    warnings.simplefilter("ignore")

    def build() -> Engine:
        from pullback_service.engine import build_engine

        engine = build_engine(settings, device)
        gc.collect()
        gc.freeze()  # so that it takes no time to look for what a request left on the GPU
        return engine

    with socket(fileno=descriptor) as connection:
        become_worker(connection, role, build, settings, parent)


if __name__ == "__main__":
    main(int(sys.argv[1]), Role(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Settings.model_validate_json(sys.argv[5]))
