"""The compose file as a person uses it, under a project, a port and images of the test's own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
STAND_INS = {"NGINX_IMAGE": "nginx", "PROMETHEUS_IMAGE": "prometheus"}
"""Folders under stand_ins/, by the variable that names the image."""
COMMAND_S, BUILD_S, CHANGED_IN_S = 120, 1200, 60
OURS = re.compile(r"^(PULLBACK|OTEL|COMPOSE|NGINX|PROMETHEUS|GRAFANA|TORCH)_")


def environment() -> dict[str, str]:
    """This process's, less what would change what the compose file says."""
    return {name: value for name, value in os.environ.items() if not OURS.match(name)}


def run(*command: str | Path, timeout: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
    """Run a command; whatever its exit status is."""
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def docker(*arguments: str | Path, timeout: float = COMMAND_S) -> str:
    """What `docker ...` prints; it must succeed."""
    done = run("docker", *arguments, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def inspect(name: str) -> Any:
    """All that the engine knows of a container or an image."""
    return json.loads(docker("inspect", name))[0]


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def default_images() -> dict[str, str]:
    """The images of others that the compose file names, by variable."""
    return dict(re.findall(r"image: \$\{(\w+_IMAGE):-([^}]+)\}", (ROOT / "docker-compose.yml").read_text()))


def await_that(is_so, what: str) -> None:
    """Return once it is so, and fail if that takes too long."""
    bound = time.monotonic() + CHANGED_IN_S
    while not is_so():
        assert time.monotonic() < bound, f"not within {CHANGED_IN_S} s: {what}"


@dataclass
class Stack:
    """One project of the compose file, with these variables in its `.env`."""

    name: str
    folder: Path
    variables: dict[str, str]
    files: tuple[Path, ...] = ()
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where nginx is published."""
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, timeout: float = COMMAND_S) -> str:
        """What `docker compose ...` prints; it must succeed."""
        return docker("compose", *self._options(), *arguments, timeout=timeout)

    def up(self, *services: str) -> None:
        """Start, and wait until everything is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", *services)

    def down(self) -> None:
        """Leave nothing behind."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.name}-{service}-1"

    def execute(self, service: str, *command: str) -> str:
        """What a command within a container prints."""
        return docker("exec", self.container(service), *command)

    def logs(self, service: str) -> list[str]:
        """What a service has logged, a line each."""
        done = run("docker", "logs", self.container(service))
        return (done.stdout + done.stderr).splitlines()

    def is_healthy(self, service: str) -> bool:
        """What the container's health check says."""
        return bool(inspect(self.container(service))["State"]["Health"]["Status"] == "healthy")

    def _options(self) -> list[str]:
        self.folder.mkdir(exist_ok=True)
        env = self.folder / ".env"
        variables = {"PULLBACK_PUBLISH_PORT": str(self.port), **self.variables}
        env.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        files = [ROOT / "docker-compose.yml", *self.files]
        return [
            "--project-name",
            self.name,
            "--project-directory",
            str(ROOT),
            "--env-file",
            str(env),
            *(word for file in files for word in ("--file", str(file))),
        ]
