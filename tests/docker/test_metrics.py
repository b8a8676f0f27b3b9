"""Prometheus within the compose file, and the dashboard."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from tests.docker.stack import ROOT, await_that, default_images, docker

CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/pullback.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VALUES = {"$__rate_interval": "1m", "$service": "cpu"}


def promtool(*arguments: str, mount: str) -> str:
    image = default_images()["PROMETHEUS_IMAGE"]
    return docker("run", "--rm", "--volume", mount, "--entrypoint", "promtool", image, *arguments)


def filled(expression: str) -> str:
    for variable, value in VALUES.items():
        expression = expression.replace(variable, value)
    return expression


@pytest.fixture(scope="module")
def prometheus(stack, ask) -> str:
    """Where Prometheus of the compose file is published, once it has scraped the service."""
    stack.up("prometheus")
    url = f"http://127.0.0.1:{stack.variables['PROMETHEUS_PORT']}"
    ask(stack.url)

    def is_scraped() -> bool:
        try:
            return bool(values(url, 'up{job="pullback",service="cpu"} == 1'))
        except httpx.TransportError:
            return False

    await_that(is_scraped, "the service is scraped")
    return url


def values(url: str, expression: str) -> list[dict]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def test_the_configuration_is_valid(images_of_others):
    told = promtool("check", "config", "/p.yml", mount=f"{CONFIGURATION}:/p.yml:ro")
    assert "SUCCESS" in told


def test_every_expression_of_the_dashboard_is_one(images_of_others, tmp_path):
    rules = [{"record": f"r:{number}", "expr": filled(expression)} for number, expression in enumerate(EXPRESSIONS)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    tmp_path.chmod(0o755)
    file.chmod(0o644)
    assert f"{len(rules)} rules found" in promtool("check", "rules", "/r.yml", mount=f"{file}:/r.yml:ro")


def test_what_prometheus_scrapes_is_what_was_asked(prometheus):
    await_that(
        lambda: values(prometheus, 'pullback_requests_total{operation="backward",status="200"} >= 1'),
        "the request is counted",
    )


def test_every_metric_of_the_dashboard_is_one_of_the_service(prometheus):
    shown = {name for expression in EXPRESSIONS for name in re.findall(r"\b(?:pullback|process)_\w+", expression)}
    series = httpx.get(f"{prometheus}/api/v1/label/__name__/values").json()["data"]
    kept = {name for name in series if name.startswith(("pullback_", "process_"))}
    not_yet = {"pullback_refusals_total"}  # has no series before the first refusal
    assert shown - not_yet <= kept
    assert len(shown) > 10
