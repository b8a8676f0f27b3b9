"""`python -m pullback_service.healthcheck`, beside a real service."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest


def check(port: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pullback_service.healthcheck", *arguments],
        env={**os.environ, "PULLBACK_PORT": port, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


@pytest.mark.parametrize("question", [[], ["ready"], ["live"]])
def test_a_service_that_answers_is_healthy(real_url, question):
    done = check(port_of(real_url), *question)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_a_service_that_listens_everywhere_is_asked_on_loopback(real_url, host):
    assert check(port_of(real_url), PULLBACK_HOST=host).returncode == 0


def test_proxies_of_the_environment_are_not_asked(real_url):
    assert check(port_of(real_url), HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9").returncode == 0


def test_a_service_that_drains_is_live_and_not_ready(start_service, stop_service):
    process, url = start_service(WORKERS="1", NOTICE_S="30", GRACE_S="0")
    process.terminate()
    done = check(port_of(url))
    while done.returncode == 0:
        done = check(port_of(url))
    assert json.loads(done.stdout)["status"] == "draining"
    assert check(port_of(url), "live").returncode == 0
    stop_service(process)


def test_where_nothing_listens_it_says_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        port = str(taken.getsockname()[1])
        done = check(port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} does not answer" in done.stderr


def test_a_question_that_there_is_not_is_told_what_there_is():
    done = check("8000", "alive")
    assert done.returncode == 2
    assert "[live|ready]" in done.stderr
