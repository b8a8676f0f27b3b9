"""A real engine, the image built once, and the compose file brought up for these tests alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.docker.stack import (
    BUILD_S,
    HERE,
    ROOT,
    STAND_INS,
    Stack,
    await_that,
    default_images,
    docker,
    free_port,
    inspect,
    run,
)

NAME = f"pullback-test-{os.getpid()}"
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--init")


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """An engine with compose must answer: nothing here can be tested without."""
    for command in (("docker", "version"), ("docker", "compose", "version")):
        try:
            done = run(*command)
        except FileNotFoundError:
            pytest.exit("tests/docker needs Docker: there is no program `docker` here.", returncode=1)
        if done.returncode:
            told = (done.stderr or done.stdout).strip().splitlines()[-1]
            pytest.exit(f"tests/docker needs an engine with compose: `{' '.join(command)}` says: {told}", returncode=1)


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image, built as docs/deployment.md says."""
    tag = f"{NAME}:cpu"
    docker("build", "--tag", tag, ROOT, timeout=BUILD_S)
    yield tag
    docker("image", "rm", "--force", tag)


@pytest.fixture(scope="session")
def images_of_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """nginx and Prometheus: as they are here, pulled, or stand-ins of the same name, which are removed afterwards."""
    made = []
    for variable, folder in STAND_INS.items():
        name = default_images()[variable]
        if run("docker", "image", "inspect", name).returncode and run("docker", "pull", name).returncode:
            with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
                print(f"{name} can be neither found nor pulled: a stand-in takes its place.")
            docker("build", "--tag", name, HERE / "stand_ins" / folder, timeout=BUILD_S)
            made.append(name)
    yield
    for name in made:
        docker("image", "rm", "--force", name)


@pytest.fixture(scope="session")
def start_stack(image, images_of_others, tmp_path_factory) -> Iterator[Callable[..., Stack]]:
    """`start_stack("keys", PULLBACK_API_KEY="...")`: a project of its own that is up; all go down at the end."""
    started: list[Stack] = []

    def start(name: str, *files: Path, services: tuple[str, ...] = (), **variables: str) -> Stack:
        folder = tmp_path_factory.mktemp(name)
        stack = Stack(
            f"{NAME}-{name}", folder, {"PULLBACK_IMAGE": image, **variables}, (HERE / "impatient.yml", *files)
        )
        started.append(stack)
        stack.up(*services)
        return stack

    yield start
    for stack in started:
        stack.down()


@pytest.fixture(scope="session")
def stack(start_stack) -> Stack:
    """The project that most tests share: as shipped, but for little patience and few connections."""
    return start_stack(
        "shared",
        PULLBACK_HEAD_TIMEOUT_S="2",
        PULLBACK_CONNECTIONS_PER_ADDRESS="40",
        PROMETHEUS_PORT=str(free_port()),
    )


@pytest.fixture(scope="session")
def run_image(image) -> Iterator[Callable[..., str]]:
    """`run_image("-e", "PULLBACK_ANONYMOUS=anywhere")`: the image alone, hardened, ready; its container's name."""
    names = []

    def start(*options: str) -> str:
        name = f"{NAME}-alone-{len(names)}"
        names.append(name)
        docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::8000", *HARDENED, *options, image)
        await_that(lambda: is_ready(name), "the service is ready")
        return name

    yield start
    for name in names:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture(scope="session")
def alone(run_image) -> str:
    """The image alone, open to anybody: the name of a container that tests may share."""
    return run_image("--env", "PULLBACK_ANONYMOUS=anywhere")


def is_ready(name: str) -> bool:
    state = inspect(name)["State"]
    assert state["Running"], docker("logs", name)
    return run("docker", "exec", name, "python", "-m", "pullback_service.healthcheck").returncode == 0


@pytest.fixture(scope="session")
def url_of() -> Callable[[str], str]:
    """Where a container that `run_image` started is published."""
    return lambda name: "http://" + docker("port", name, "8000").splitlines()[0]


@pytest.fixture(scope="session")
def ask() -> Callable[..., httpx.Response]:
    """`ask(url)`: the answer to a small request for a gradient."""

    def call(url: str, **options: object) -> httpx.Response:
        body = {"graph": "y = (x * x).sum()", "inputs": {"x": [1, 2, 3]}}
        return httpx.post(f"{url}/v1/backward", json=body, timeout=60, **options)

    return call
