"""Imports point downwards, and the HTTP process stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service/pullback_service"
OURS = {"pullback_schemas", "pullback", "pullback_service"}
LIBRARIES = {"torch", "fastapi", "starlette", "uvicorn", "httpx", "numpy", "orjson", "pydantic"}
CODECS = {"simdjson", "pybase64", "backports", "compression"}
TELLING = {"prometheus_client", "opentelemetry", "pythonjsonlogger"}
WATCHED = {*LIBRARIES, *CODECS, *TELLING, *OURS}

MAY_IMPORT = {
    # package: third parties, and which rooms of the service
    "schemas/pullback_schemas": ({"pydantic", "pullback_schemas"}, set()),
    "client/pullback": (
        # torch and opentelemetry: for programs that have them
        {"pydantic", "httpx", "numpy", "torch", "opentelemetry", "pullback_schemas", "pullback"},
        set(),
    ),
    "service/pullback_service/http": (
        {"fastapi", "starlette", "uvicorn", "pydantic", "pullback_schemas"},
        {"http", "access", "addresses", "telemetry", "forms", "patience", "settings", "workers.base", "workers.shared"},
    ),
    "service/pullback_service/access": ({"pydantic", "pullback_schemas"}, {"access", "settings", "workers.base"}),
    "service/pullback_service/telemetry": (
        {"prometheus_client", "opentelemetry", "pythonjsonlogger", "pullback_schemas"},
        {"", "telemetry", "access", "settings", "workers.base"},
    ),
    "service/pullback_service/protocols": (
        {
            "numpy",
            "orjson",
            "torch",
            "pydantic",
            "simdjson",
            "pybase64",
            "backports",
            "compression",
            "pullback_schemas",
        },
        {"protocols", "forms", "program.types"},
    ),
    "service/pullback_service/program": ({"torch", "numpy", "pullback_schemas"}, {"program"}),
    "service/pullback_service/derivatives": ({"torch", "pullback_schemas"}, {"derivatives", "program"}),
    "service/pullback_service/operations": (
        {"torch", "numpy", "orjson", "pydantic", "pullback_schemas"},
        {"operations", "forms", "derivatives", "program", "protocols", "library", "clock"},
    ),
    "service/pullback_service/workers": (
        {"cachetools", "pydantic", "pullback_schemas"},
        # engine, gpu: inside functions only, see below
        {"workers", "forms", "patience", "settings", "telemetry.logs", "engine", "gpu"},
    ),
}


def imports(path: Path) -> list[tuple[str, bool]]:
    """The dotted names a module imports, each with whether it does so at import time."""
    tree = ast.parse(path.read_text())
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, id(node) not in late))
        elif isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in late) for alias in node.names]
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_downward(package):
    third_parties, rooms = MAY_IMPORT[package]
    for path in (ROOT / package).rglob("*.py"):
        for name, _ in imports(path):
            root = name.split(".")[0]
            if root == "pullback_service":
                room = name.removeprefix("pullback_service").lstrip(".")
                allowed = any(room == r or room.startswith(r + ".") for r in rooms)
                assert allowed, f"{path.relative_to(ROOT)} may not import {name}"
            elif root in WATCHED:
                assert root in third_parties, f"{path.relative_to(ROOT)} may not import {name}"


def test_only_what_serves_torch_users_imports_torch_in_the_client():
    needing = {
        path.name
        for path in (ROOT / "client/pullback").rglob("*.py")
        if any(name.split(".")[0] == "torch" for name, _ in imports(path))
    }
    assert needing == {"tracing.py", "recording.py", "lifting.py", "torch_arrays.py", "torch_function.py"}


def test_workers_import_what_has_torch_inside_the_worker_only():
    for path in (SERVICE / "workers").rglob("*.py"):
        early = {name for name, at_import in imports(path) if at_import}
        assert early.isdisjoint({"pullback_service.engine", "pullback_service.gpu"}), path.name


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_http_process_never_imports_torch():
    loaded = modules_after(
        "from pullback_service.app import create_app; from pullback_service.settings import Settings; "
        "import pullback_service.__main__; create_app(Settings()).openapi()"
    )
    assert loaded.isdisjoint({"torch", "numpy", "simdjson", "pullback_service.program", "pullback_service.engine"})


def test_both_clients_have_the_same_methods():
    import inspect

    from pullback import AsyncClient, Client

    def methods(kind: type) -> dict[str, inspect.Signature]:
        public = {name: method for name, method in inspect.getmembers(kind, callable) if not name.startswith("_")}
        return {name: inspect.signature(method) for name, method in public.items()}

    waiting, awaited = methods(Client), methods(AsyncClient)
    assert waiting.pop("close") == awaited.pop("aclose")
    for name in ("torch_function", "jax_function", "scipy_objective"):  # those libraries call, and wait
        waiting.pop(name)
    assert waiting == awaited
    assert {"forward", "backward", "jvp", "jacobian", "hvp", "hessian", "check", "gradcheck", "ops", "health"} <= {
        *waiting
    }


def test_the_client_imports_no_torch_and_no_web_framework():
    heavy = {"torch", "jax", "scipy", "tqdm", "opentelemetry", "fastapi", "starlette", "pullback_service"}
    assert modules_after("import pullback, pullback.cli").isdisjoint(heavy)


@pytest.mark.parametrize("package", ["pullback_schemas", "pullback"])
def test_public_names_are_sorted_and_exist(package):
    module = __import__(package)
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_three_distributions_have_one_version():
    import tomllib

    projects = [
        tomllib.loads((ROOT / d / "pyproject.toml").read_text())["project"] for d in ("schemas", "client", "service")
    ]
    versions = {project["version"] for project in projects}
    pins = {dep for project in projects for dep in project["dependencies"] if dep.startswith("pullback")}
    assert len(versions) == 1
    assert pins == {f"pullback-schemas=={versions.pop()}"}
    assert {__import__(m).__version__ for m in sorted(OURS)} == {projects[0]["version"]}
