"""The client as people install it: two built wheels in a fresh environment, without torch and without the service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys

import numpy as np

import pullback

client = pullback.Client()
answer = client.backward("y = relu(x)", {"x": np.array([-1.0, 2.0])}, {"y": np.ones(2)})
assert answer.gradients["x"].tolist() == [0.0, 1.0]

g = pullback.Graph()
x = g.input("x")
assert client.jacobian((x * x).sum(), {"x": [1, 2]}).jacobians["y"]["x"].tolist() == [2.0, 4.0]
assert client.scipy_objective("y = (x ** 2).sum()", {"x": [1.0, 3.0]}).jac([1.0, 3.0]).tolist() == [2.0, 6.0]

heavy = {"torch", "fastapi", "starlette", "uvicorn", "jax", "scipy", "pullback_service"}
assert heavy.isdisjoint(sys.modules), heavy & sys.modules.keys()
import importlib.util

assert not [name for name in heavy if importlib.util.find_spec(name)]
for absent in (lambda: pullback.trace, lambda: client.torch_function("y = x"), lambda: client.jax_function("y = x")):
    try:
        absent()
    except ModuleNotFoundError as error:
        assert error.name in heavy
    else:
        raise AssertionError("it worked without its library")
print("done")
"""


def run(*command: str | Path, **environment: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        list(map(str, command)), env=env | environment, capture_output=True, text=True, timeout=300, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The programs of an environment that holds the client and what it needs, nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("schemas", "client"):
        code = f"import os; os.chdir({str(ROOT / name)!r}); from hatchling.cli import hatchling; hatchling()"
        run(sys.executable, "-c", code, "build", "-t", "wheel", "-d", folder / "wheels")
    run(sys.executable, "-m", "venv", folder / "venv")
    programs = folder / "venv" / "bin"
    wheels = sorted((folder / "wheels").glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["pullback", "pullback_schemas"]
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(programs / "python", *install, "--constraint", ROOT / "constraints.txt", *wheels)
    return programs


def test_the_client_alone_works_against_a_running_service(installed, real_url):
    assert run(installed / "python", "-c", PROGRAM, PULLBACK_BASE_URL=real_url) == "done\n"


def test_so_does_its_command(installed, real_url):
    arguments = ["backward", "y = relu(x)", "-i", "x=-1,2", "-g", "y=ones"]
    assert "[0. 1.]" in run(installed / "pullback", *arguments, PULLBACK_BASE_URL=real_url)


def test_what_the_service_is_for_is_said_where_it_is_not_installed(installed):
    command = [installed / "pullback", "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install pullback-service" in done.stderr
