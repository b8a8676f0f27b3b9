"""`docker compose up`, and what people do to it afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import httpx
import numpy as np
import pytest
from tests.docker.stack import ROOT, Stack, await_that, docker, environment, inspect, run

from pullback import Client

SERVICES = ["cpu", "nginx"]
SUITES = ["tests/docs/test_docs_run.py", "tests/system/test_examples.py"]
ASKS_FOR_METRICS = "tests/docs/test_docs_run.py::test_every_block_of_a_page_is_run_and_says_what_is_so[api.md]"
"""Which nginx does not pass on."""

WORK = {"graph": "y = matrix_power(zeros([3200, 3200]) + x, 1023).sum()", "inputs": {"x": 0.0003125}}
"""Several seconds of a core: eighteen products of matrices, whose elements stay as they are."""
ELEMENTS = 13_000_000
"""100 MB of float64."""


def configured(tmp_path, **variables: str) -> dict:
    """The compose file with these variables, as compose itself reads it."""
    stack = Stack("config", tmp_path, variables)
    return json.loads(stack.compose("--profile", "*", "config", "--format", "json"))


def test_what_the_documentation_prints_works_through_nginx(stack):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--url", stack.url, *SUITES, "--deselect", ASKS_FOR_METRICS],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert " passed" in done.stdout


def test_the_client_sends_and_gets_a_hundred_megabytes(stack):
    x = np.arange(ELEMENTS, dtype=np.float64)
    with Client(stack.url) as client:
        answer = client.backward("y = (x * x).sum()", {"x": x})
    assert np.array_equal(answer.gradients["x"], 2 * x)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_do_nothing_that_it_need_not(stack, service):
    host = inspect(stack.container(service))["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["PidsLimit"] > 0
    assert host["Memory"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"].keys() == {"max-size", "max-file"}
    status = dict(line.split(":\t", 1) for line in stack.execute(service, "cat", "/proc/self/status").splitlines())
    assert int(status["CapBnd"], 16) == 0
    assert "0" not in status["Uid"].split()
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_writes_to_nothing_but_its_temporary_files(stack, service):
    mounts = inspect(stack.container(service))["Mounts"]
    assert {mount["Destination"] for mount in mounts if mount["RW"]} <= {"/var/cache/nginx"}
    assert run("docker", "exec", stack.container(service), "touch", "/etc/x", "/opt/x", "/x").returncode != 0


def test_every_fence_stands(stack):
    fences = httpx.get(f"{stack.url}/health/ready").json()["fences"]
    assert set(fences.values()) == {"on"}


def test_nothing_leaves_the_network_of_the_service(stack):
    assert json.loads(docker("network", "inspect", f"{stack.name}_inside"))[0]["Internal"]
    assert list(inspect(stack.container("cpu"))["NetworkSettings"]["Networks"]) == [f"{stack.name}_inside"]


def test_a_worker_that_is_killed_is_replaced_and_the_next_request_answered(stack, ask):
    def restarted() -> int:
        return httpx.get(f"{stack.url}/health/ready").json()["workers"]["restarted"]

    before = restarted()
    find = "grep -lx 'Name:\tpullback-worker' /proc/[0-9]*/status | head -n 1 | cut -d/ -f3"
    worker = stack.execute("cpu", "sh", "-c", find)
    stack.execute("cpu", "sh", "-c", f"kill -9 {worker}")
    assert ask(stack.url).status_code == 200
    await_that(lambda: restarted() > before, "the worker is replaced")


def test_a_service_that_is_started_again_is_found(stack, ask):
    docker("restart", stack.container("cpu"))
    await_that(lambda: ask(stack.url).status_code == 200, "requests are answered again")


def test_told_to_stop_they_finish_what_runs(start_stack):
    stack, answers = start_stack("stop"), []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{stack.url}/v1/forward", json=WORK, timeout=60))
    )
    asking.start()
    await_that(lambda: httpx.get(f"{stack.url}/health/ready").json()["workers"]["busy"] == 1, "the request runs")
    stack.compose("stop")
    asking.join()
    assert answers[0].status_code == 200, answers[0].text
    assert [inspect(stack.container(service))["State"]["ExitCode"] for service in SERVICES] == [0, 0]


def test_every_request_has_a_line_of_json_in_the_log(stack):
    httpx.get(f"{stack.url}/v1/ops/relu", headers={"x-request-id": "looked-for"})
    await_that(lambda: any('"looked-for"' in line for line in stack.logs("cpu")), "it is logged")
    lines = [json.loads(line) for line in stack.logs("cpu")]
    [found] = [line for line in lines if line.get("request_id") == "looked-for"]
    assert (found["path"], found["status"]) == ("/v1/ops/relu", 200)


@pytest.mark.parametrize("address", [None, "127.0.0.1", "0.0.0.0"])
def test_anybody_may_call_only_where_nobody_chose_an_address(tmp_path, address):
    variables = {} if address is None else {"PULLBACK_PUBLISH_ADDRESS": address}
    services = configured(tmp_path, **variables)["services"]
    expected = "anywhere" if address is None else "loopback"
    assert [services[name]["environment"]["PULLBACK_ANONYMOUS"] for name in ("cpu", "gpu")] == [expected, expected]
    assert {port["host_ip"] for port in services["nginx"]["ports"]} == {address or "127.0.0.1"}


def test_metrics_are_published_on_loopback_whatever_else_is(tmp_path):
    services = configured(tmp_path, PULLBACK_PUBLISH_ADDRESS="0.0.0.0")["services"]
    for name in ("prometheus", "grafana"):
        assert {port["host_ip"] for port in services[name]["ports"]} == {"127.0.0.1"}


def test_the_profile_for_gpus_has_a_gpu_and_the_flavour_for_it(tmp_path):
    services = configured(tmp_path)["services"]
    [device] = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services["gpu"]["build"]["args"]["FLAVOUR"] == "cuda"
    assert services["nginx-gpu"]["environment"]["PULLBACK_UPSTREAM"] == "gpu"
    assert list(services["nginx-gpu"]["depends_on"]) == ["gpu"]


@pytest.mark.parametrize("profiles", [[], ["gpu"], ["metrics"], ["gpu", "metrics"]])
@pytest.mark.parametrize("file", ["/dev/null", ".env.example"])
def test_every_choice_of_profiles_is_valid(profiles, file):
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    docker("compose", "--env-file", ROOT / file, *chosen, "config", "--quiet")


def test_callers_without_keys_have_a_quota_each_though_all_come_through_nginx(start_stack):
    stack = start_stack("quota", PULLBACK_COMPUTE_SECONDS_PER_MINUTE="1")
    path = "/v1/ops/relu"

    def is_refused() -> bool:
        return httpx.get(stack.url + path).status_code == 429

    assert httpx.post(f"{stack.url}/v1/forward", json=WORK, timeout=60).status_code == 200
    assert is_refused()  # and stays so for a minute for each second beyond the first
    script = f"from urllib.request import urlopen; print(urlopen('http://nginx:8080{path}').status)"
    another = ("run", "--rm", "--network", f"{stack.name}_outside", "python:3.11-slim", "python", "-c", script)
    assert docker(*another) == "200"
    assert is_refused()
