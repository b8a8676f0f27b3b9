"""Servers under measurement: real processes on free ports of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

UP_IN_S = 60


@dataclass(frozen=True)
class Server:
    """A server that answers; it ends with the stack it was started on."""

    port: int
    pid: int


def service(stack: ExitStack, **settings: str) -> Server:
    """The service, with `settings` from the environment: `service(stack, WORKERS="2")`."""
    env = {f"PULLBACK_{name}": value for name, value in settings.items()}
    return _serve(stack, ["-m", "pullback_service"], "/health/ready", env)


def echo(stack: ExitStack) -> Server:
    """A bare FastAPI route that gives bodies back."""
    return _serve(stack, [str(Path(__file__).with_name("echo_server.py"))], "/docs", {})


def _serve(stack: ExitStack, command: list[str], path: str, env: dict[str, str]) -> Server:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **env, "PULLBACK_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    end = time.monotonic() + UP_IN_S
    while time.monotonic() < end:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200:
                return Server(port, process.pid)
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{command} did not come up")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
