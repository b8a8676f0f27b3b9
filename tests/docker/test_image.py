"""What is in the image, and how one container of it behaves."""

from __future__ import annotations

import threading

import httpx
import pytest
from tests.docker.stack import BUILD_S, ROOT, await_that, docker, inspect, run

import pullback_service

TOOLS = ["cc", "gcc", "g++", "clang", "ld", "as", "make", "pip", "pip3", "curl", "wget", "git"]
ANYBODY = ("--env", "PULLBACK_ANONYMOUS=anywhere")


def in_image(image: str, *command: str) -> str:
    return docker("run", "--rm", "--network", "none", image, *command)


def test_it_runs_as_a_fixed_user_that_is_not_root(image):
    assert inspect(image)["Config"]["User"] == "10001:10001"
    assert in_image(image, "id", "-u") == "10001"


def test_it_says_what_it_is(image):
    labels = inspect(image)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "Pullback"
    assert labels[f"{prefix}description"]
    assert labels[f"{prefix}version"] == pullback_service.__version__


def test_it_does_not_take_anybody_by_itself(image):
    assert not [line for line in inspect(image)["Config"]["Env"] if line.startswith("PULLBACK_ANONYMOUS")]


def test_it_has_no_compiler_no_installer_and_no_client_of_the_web(image):
    found = in_image(image, "sh", "-c", f"for tool in {' '.join(TOOLS)}; do command -v $tool; done; true")
    assert found == ""


def test_it_has_no_caches_no_source_tree_and_nothing_to_compile_against(image):
    script = "find / -xdev \\( -name .cache -o -name '*.a' -o -name constraints.txt -o -path '*/torch/include' \\) "
    assert in_image(image, "sh", "-c", f"{script} 2>/dev/null; true") == ""
    assert run("docker", "run", "--rm", image, "python", "-m", "pip").returncode != 0


def test_a_module_in_the_folder_where_it_runs_is_not_imported(image):
    script = "cd /tmp && echo 'raise SystemExit(3)' >json.py && python -m pullback_service.healthcheck alive"
    assert run("docker", "run", "--rm", image, "sh", "-c", script).returncode == 2


def test_a_flavour_without_its_torch_is_not_built(image):
    done = run("docker", "build", "--build-arg", "FLAVOUR=cuda", str(ROOT), timeout=BUILD_S)
    assert done.returncode != 0
    assert "has no CUDA: give the index" in done.stderr


def test_an_unknown_flavour_is_not_built(image):
    done = run("docker", "build", "--build-arg", "FLAVOUR=rocm", str(ROOT), timeout=BUILD_S)
    assert done.returncode != 0
    assert "it is cpu or cuda" in done.stderr


def test_every_fence_stands_under_the_default_profile_of_the_engine(alone, url_of, ask):
    url = url_of(alone)
    fences = httpx.get(f"{url}/health/ready").json()["fences"]
    assert fences == {"limits": "on", "no_new_privs": "on", "landlock": "on", "seccomp": "on"}
    assert ask(url).json()["gradients"]["x"]["data"] == [2, 4, 6]


def test_its_root_is_read_only_and_it_has_no_capability(alone):
    assert run("docker", "exec", alone, "touch", "/opt/pullback/x").returncode != 0
    status = dict(line.split(":\t", 1) for line in docker("exec", alone, "cat", "/proc/1/status").splitlines())
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_its_health_check_says_healthy(alone):
    await_that(lambda: inspect(alone)["State"]["Health"]["Status"] == "healthy", "the container is healthy")


@pytest.mark.parametrize("init", [True, False], ids=["with an init", "as the first process"])
def test_told_to_end_it_finishes_what_runs(image, run_image, url_of, init):
    name = run_image(*ANYBODY, f"--init={str(init).lower()}", "--env", "PULLBACK_WORKERS=1")
    url, answers = url_of(name), []
    body = {"graph": "y = matrix_power(zeros([2500, 2500]) + x, 7).sum()", "inputs": {"x": 0.5}}
    asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/v1/forward", json=body, timeout=60)))
    asking.start()
    await_that(lambda: httpx.get(f"{url}/health/ready").json()["workers"]["busy"] == 1, "the request runs")
    docker("stop", "--time", "60", name)
    asking.join()
    assert answers[0].status_code == 200, answers[0].text
    assert inspect(name)["State"]["ExitCode"] == 0


def test_a_container_without_memory_left_loses_a_worker_and_not_the_service(run_image, url_of, ask):
    url = url_of(run_image(*ANYBODY, "--memory", "1g", "--memory-swap", "1g", "--env", "PULLBACK_WORKERS=1"))
    body = {"graph": "a = zeros([60000000], dtype='float64') + x; b = a + 1; y = (a * b).sum()", "inputs": {"x": 1}}
    answer = httpx.post(f"{url}/v1/forward", json=body, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (503, "worker_died"), answer.text
    await_that(lambda: ask(url).status_code == 200, "the next request is answered")
