"""Servers under measurement: real processes on free ports of loopback, each with one thread for torch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

UP_IN_S = 60
PEERS = Path(__file__).parents[1] / "peers"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A server is not installed, or did not answer in time."""


@dataclass(frozen=True)
class Server:
    """A server that answers; it ends with the stack it was started on."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Seconds of CPU that all its processes have taken, those included that have ended."""
        return sum(_ticks(pid) for pid in [self.pid, *descendants(self.pid)]) / TICKS_PER_S


@dataclass(frozen=True)
class _Program:
    command: list[str]
    ready: str = "/docs"
    env: dict[str, str] = field(default_factory=dict)


_Chosen = Callable[[int, Path], _Program]
"""The program for a port, with a folder for what it writes."""


def service(stack: ExitStack, **settings: str) -> Server:
    """The service, with `settings` from the environment: `service(stack, WORKERS="2")`."""
    env = {f"PULLBACK_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "pullback_service"]
    return _start(stack, lambda port, _: _Program(command, "/health/ready", {"PULLBACK_PORT": str(port), **env}))


def echo(stack: ExitStack) -> Server:
    """A bare FastAPI route that gives bodies back."""
    return _start(stack, _script(sys.executable, "fastapi_echo.py"))


def starters(peers: Path) -> dict[str, Callable[[ExitStack], Server]]:
    """How each server is started, by name; those of others run in the virtual environment `peers`."""
    programs = {
        "naive": _script(sys.executable, "naive.py"),
        "asgi": _script(sys.executable, "asgi_echo.py"),
        "umbridge": _script(str(peers / "bin/python"), "umbridge_model.py", ready="/Info"),
        "tesseract": _tesseract(peers, "tesseract_plain.py"),
        "tesseract, recipe": _tesseract(peers, "tesseract_recipe.py"),
    }
    others = {name: partial(_start, program=program) for name, program in programs.items()}
    return {"pullback": service, "echo": echo, **others}


def _script(python: str, name: str, ready: str = "/docs") -> _Chosen:
    return lambda port, _: _Program([python, str(PEERS / name)], ready, {"PORT": str(port)})


def _tesseract(peers: Path, api: str) -> _Chosen:
    """Its own server. It keeps a folder of logs for every request: they go where nobody keeps them."""

    def choose(port: int, output: Path) -> _Program:
        return _Program(
            [str(peers / "bin/tesseract-runtime"), "serve", "--port", str(port)],
            "/health",
            {"TESSERACT_API_PATH": str(PEERS / api), "TESSERACT_OUTPUT_PATH": str(output)},
        )

    return choose


def _start(stack: ExitStack, program: _Chosen) -> Server:
    output = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    port = _free_port()
    chosen = program(port, Path(output))
    env = {**os.environ, "OMP_NUM_THREADS": "1", **chosen.env}
    try:
        process = subprocess.Popen(chosen.command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise DidNotStart("it is not installed") from None
    stack.callback(process.wait)
    stack.callback(process.terminate)
    end = time.monotonic() + UP_IN_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}{chosen.ready}").raise_for_status()
            return Server(port, process.pid)
        time.sleep(0.1)
    raise DidNotStart("it did not come up")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()
        ]
        return children + [below for child in children for below in descendants(child)]
    return []


def _ticks(pid: int) -> int:
    """Of the process, in user and kernel mode, and of its children that were waited for."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0
