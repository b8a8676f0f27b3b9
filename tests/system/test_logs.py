"""What the service tells of requests: names, log lines, metrics, traces; never a key, never a number of a tensor."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pullback import Client

KEY = "pb_" + "q1W2e3R4" * 5
NUMBER = 0.7234567891
CHANGED_IN_S = 60
GRAPH = "y = x * x"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def told(own: dict[str, str], ask: Any) -> tuple[str, Any]:
    """All that a service with these settings writes while it is asked, and what it answered."""
    env = {**os.environ, "PULLBACK_PORT": "0", "PULLBACK_WORKERS": "1", **own}
    process = subprocess.Popen([sys.executable, "-m", "pullback_service"], env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    try:
        url = ""
        while not url:
            line = process.stderr.readline()
            assert line, "the service ended before it was ready: " + "".join(lines)
            lines.append(line)
            found = re.search(r"running on (http://[0-9.:]+)", line)
            url = found[1] if found else ""
        rest = threading.Thread(target=lambda: lines.extend(process.stderr))
        rest.start()
        bound = time.monotonic() + CHANGED_IN_S
        while httpx.get(f"{url}/health/ready").status_code != 200:
            assert time.monotonic() < bound, "it never became ready: " + "".join(lines)
        answered = ask(url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    rest.join()
    process.stderr.close()
    return "".join(lines), answered


EXPECTING = (
    b"POST /v1/backward HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n"
)
LARGE = b'{"graph": "y = ones([2000000], dtype=\'float64\') * x", "inputs": {"x": 1.0}}'
UNREAD = b"POST /v1/forward HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(LARGE) + LARGE


@pytest.mark.parametrize("sent", [EXPECTING, UNREAD, UNREAD[:-1]], ids=["crooked", "unread", "half"])
def test_whatever_a_client_does_the_log_has_no_traceback(sent):
    def ask(url: str) -> None:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
            connection.sendall(sent)
            while " 2.0" in httpx.get(f"{url}/metrics").text.split("pullback_requests_in_progress")[-1]:
                pass  # it is given up

    text, _ = told({"PULLBACK_BODY_TIMEOUT_S": "1"}, ask)
    assert "Traceback" not in text
    assert "ERROR" not in text


def asking(url: str) -> dict[str, httpx.Response]:
    secret = {"authorization": f"Bearer {KEY}"}
    basic = {"authorization": "Basic " + base64.b64encode(f":{KEY}".encode()).decode()}
    body = {"graph": GRAPH, "inputs": {"x": NUMBER}}
    with httpx.Client(base_url=url) as client:
        return {
            "right": client.post("/v1/backward", json=body, headers={**secret, "x-request-id": "mine-1"}),
            "again": client.post("/v1/backward", json=body, headers=basic),
            "traced": client.post(
                "/v1/forward", json=body, headers={**secret, "traceparent": f"00-{TRACE}-{PARENT}-01"}
            ),
            "wrong": client.post("/v1/backward", json={**body, "grad_tensors": {"y": [NUMBER]}}, headers=secret),
            "broken": client.post("/v1/backward", content=f"{KEY} {NUMBER}", headers=secret),
            "keyless": client.post("/v1/backward", json=body, headers={"x-api-key": KEY + "x"}),
            "nowhere": client.get(f"/v1/{'x' * 300}?key={KEY}", headers=secret),
            "odd": client.get("/v1/%0aINFO%20forged", headers={**secret, "x-request-id": "a b"}),
            "metrics": client.get("/metrics", headers=secret),
        }


@pytest.fixture(scope="module")
def json_log() -> tuple[str, dict[str, httpx.Response]]:
    return told({"PULLBACK_API_KEY": KEY, "PULLBACK_LOG_FORMAT": "json", "PULLBACK_ACCESS_LOG": "all"}, asking)


@pytest.fixture(scope="module")
def lines(json_log) -> list[dict[str, Any]]:
    found = json_log[0].splitlines()
    assert [line for line in found if not line.startswith("{")] == []
    return [json.loads(line) for line in found]


def line_of(lines: list[dict[str, Any]], response: httpx.Response) -> dict[str, Any]:
    (found,) = [line for line in lines if line.get("request_id") == response.headers["x-request-id"]]
    return found


def test_each_line_is_json_with_time_level_and_logger(lines):
    assert len(lines) > 10
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)


def test_a_request_is_told_with_its_name_its_key_s_name_and_its_graph(lines, json_log):
    response = json_log[1]["right"]
    line = line_of(lines, response)
    assert line["request_id"] == "mine-1"
    assert line["key"] == "default"
    assert line["operation"] == "backward"
    assert line["protocol"] == "json"
    assert line["status"] == 200
    assert line["graph"] == response.json()["meta"]["graph_sha256"]
    assert line["received"] == len(response.request.content)
    assert line["sent"] == len(response.content)
    assert 0 < line["computed_s"] < line["seconds"]


def test_a_failure_is_told_with_its_code_and_the_graph_if_there_is_one(lines, json_log):
    responses = json_log[1]
    wrong = line_of(lines, responses["wrong"])
    assert (wrong["status"], wrong["code"]) == (422, "shape_mismatch")
    assert wrong["graph"] == responses["right"].json()["meta"]["graph_sha256"]
    broken = line_of(lines, responses["broken"])
    assert (broken["status"], broken["code"]) == (400, "not_json")
    assert "graph" not in broken
    keyless = line_of(lines, responses["keyless"])
    assert (keyless["status"], keyless["code"]) == (401, "unauthorized")
    assert "key" not in keyless


def test_neither_keys_nor_numbers_are_told(json_log):
    text, responses = json_log
    assert KEY not in text
    assert base64.b64encode(f":{KEY}".encode()).decode() not in text
    assert str(NUMBER) not in text
    assert str(NUMBER)[2:] not in responses["metrics"].text
    assert KEY not in responses["metrics"].text


def test_an_address_cannot_forge_a_line(lines, json_log):
    line = line_of(lines, json_log[1]["odd"])
    assert line["path"] == "/v1/%0aINFO%20forged"
    assert len(line_of(lines, json_log[1]["nowhere"])["path"]) <= 256


def test_a_name_that_is_no_sane_one_is_replaced(json_log):
    assert json_log[1]["odd"].headers["x-request-id"] != "a b"
    names = [response.headers["x-request-id"] for response in json_log[1].values()]
    assert len({*names}) == len(names)


def test_the_line_is_part_of_the_caller_s_trace(lines, json_log):
    assert line_of(lines, json_log[1]["traced"])["trace_id"] == TRACE


def test_as_text_failures_alone_are_told_unless_more_is_wanted():
    text, responses = told({"PULLBACK_API_KEY": KEY}, asking)
    assert KEY not in text
    assert str(NUMBER) not in text
    assert responses["right"].headers["x-request-id"] not in text
    assert "POST /v1/backward 422 shape_mismatch from 127.0.0.1 default in" in text
    assert responses["wrong"].headers["x-request-id"] in text


def samples(text: str) -> dict[str, dict[str, float]]:
    """Metrics by name and labels."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for name, labels, value in re.findall(r"^(\w+)(\{.*\})? (\S+)$", text, re.MULTILINE):
        found[name][labels] = float(value)
    return found


def test_metrics_count_requests_phases_bytes_workers_and_memory(json_log):
    responses = json_log[1]
    found = samples(responses["metrics"].text)
    requests = found["pullback_requests_total"]
    assert requests['{operation="backward",protocol="json",status="200"}'] == 2
    assert requests['{operation="backward",protocol="json",status="422"}'] == 1
    assert requests['{operation="backward",protocol="none",status="401"}'] == 1
    assert requests['{operation="other",protocol="none",status="404"}'] == 2
    assert found["pullback_refusals_total"]['{code="not_json"}'] == 1
    phases = found["pullback_phase_seconds_count"]
    assert phases['{phase="queue"}'] == 5  # what was refused at the door has none
    assert phases['{phase="decode"}'] >= 3
    assert phases['{phase="encode"}'] >= 3
    assert found["pullback_request_seconds_count"]['{operation="backward"}'] == 5
    assert found["pullback_received_bytes_total"][""] == sum(
        len(responses[name].request.content) for name in ("right", "again", "traced", "wrong", "broken")
    )
    assert found["pullback_requests_in_progress"][""] == 1
    assert found["pullback_queue_waiting"][""] == 0
    assert found["pullback_workers"] == {'{state="idle"}': 1, '{state="busy"}': 0}
    assert found["pullback_worker_restarts_total"][""] == 0
    assert found["pullback_device_memory_bytes"]['{device="cpu"}'] > 2**26
    assert found["pullback_ready"][""] == 1
    assert found["process_resident_memory_bytes"][""] > 2**24


def test_a_worker_that_is_replaced_is_counted(own_service, processes_of):
    pid, url = own_service()
    (worker,) = processes_of(pid, "worker", 1)
    os.kill(worker, signal.SIGKILL)
    bound = time.monotonic() + CHANGED_IN_S
    while samples(httpx.get(f"{url}/metrics").text)["pullback_worker_restarts_total"][""] != 1:
        assert time.monotonic() < bound, "nobody noticed"
    assert processes_of(pid, "worker", 1) != [worker]


@pytest.mark.parametrize(
    "accept", ["text/plain;version=abc", "text/plain; version=0.0.4", "*/*;q=x", "", "application/openmetrics-text"]
)
def test_metrics_are_told_whatever_is_accepted(real_url, accept):
    response = httpx.get(f"{real_url}/metrics", headers={"accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(accept.split(";")[0] if "open" in accept else "text/plain")
    assert "pullback_ready 1.0" in response.text


def test_what_a_connection_refuses_is_named_counted_and_told():
    def ask(url: str) -> tuple[bytes, str]:
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(2**16), b""))
        return answer, httpx.get(f"{url}/metrics").text

    text, (answer, metrics) = told({"PULLBACK_LOG_FORMAT": "json"}, ask)
    assert answer.startswith(b"HTTP/1.1 400 ")
    (name,) = re.findall(rb"x-request-id: (\S+)", answer)
    (line,) = [line for line in map(json.loads, text.splitlines()) if line.get("request_id") == name.decode()]
    assert (line["status"], line["code"], line["client"]) == (400, "not_http", "127.0.0.1")
    assert samples(metrics)["pullback_refusals_total"]['{code="not_http"}'] == 1
    assert "Invalid HTTP request" not in text


def test_a_log_that_nobody_reads_keeps_nobody_waiting():
    env = {**os.environ, "PULLBACK_PORT": "0", "PULLBACK_WORKERS": "1", "PULLBACK_API_KEY": KEY}
    process = subprocess.Popen([sys.executable, "-m", "pullback_service"], env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        url = next(found[1] for line in process.stderr if (found := re.search(r"running on (http://[0-9.:]+)", line)))
        with httpx.Client(base_url=url) as client:
            for _ in range(300):
                assert client.get("/v1/ops").status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stderr.close()


def test_metrics_may_be_open_where_keys_are_needed_or_not_there_at_all(own_service):
    _, url = own_service(API_KEY=KEY, METRICS="open")
    assert httpx.get(f"{url}/metrics").status_code == 200
    _, url = own_service(METRICS="off")
    assert httpx.get(f"{url}/metrics").status_code == 404


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Span]]]:
    """Somewhere to send traces, and the spans that came."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            message = ExportTraceServiceRequest()
            message.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()
        thread.join()


def test_a_request_is_a_span_of_the_caller_s_trace_with_a_span_for_each_phase(collector):
    endpoint, spans = collector
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "PULLBACK_API_KEY": KEY}
    _, responses = told(settings, asking)
    mine = [span for span in spans if span.trace_id.hex() == TRACE]
    (root,) = [span for span in mine if span.parent_span_id.hex() == PARENT]
    assert root.name == "POST forward"
    assert root.kind == Span.SPAN_KIND_SERVER
    attributes = {a.key: a.value.string_value or a.value.int_value for a in root.attributes}
    assert attributes["http.response.status_code"] == 200
    assert attributes["pullback.graph"] == responses["traced"].json()["meta"]["graph_sha256"]
    phases = [span for span in mine if span.parent_span_id == root.span_id]
    assert [span.name for span in phases][:2] == ["queue", "decode"]
    assert all(root.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in phases)
    assert responses["traced"].headers["traceresponse"] == f"00-{TRACE}-{root.span_id.hex()}-01"
    assert KEY not in str(spans)
    assert str(NUMBER) not in str(spans)


def test_the_client_passes_its_trace_on(collector):
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("a caller")

    def ask(url: str) -> int:
        with Client(url) as client, tracer.start_as_current_span("caller") as span:
            client.forward(GRAPH, {"x": 1.0})
        return span.get_span_context().trace_id

    _, trace_id = told({"OTEL_EXPORTER_OTLP_ENDPOINT": collector[0]}, ask)
    assert f"{trace_id:032x}" in {span.trace_id.hex() for span in collector[1]}


def test_traces_that_cannot_be_written_as_asked_are_told_at_the_start():
    done = subprocess.run(
        [sys.executable, "-m", "pullback_service"],
        env={**os.environ, "PULLBACK_PORT": "0", "OTEL_TRACES_EXPORTER": "zipkin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "zipkin" in done.stderr


def test_web_pages_may_call_only_where_they_are_named(own_service):
    def preflight(url: str, origin: str) -> httpx.Response:
        headers = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,authorization",
        }
        return httpx.options(f"{url}/v1/backward", headers=headers)

    _, closed = own_service()
    assert "access-control-allow-origin" not in preflight(closed, "https://a.example").headers
    _, url = own_service(CORS_ORIGINS="https://a.example, https://b.example")
    allowed = preflight(url, "https://b.example")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://b.example"
    assert "access-control-allow-origin" not in preflight(url, "https://c.example").headers
    body = {"graph": GRAPH, "inputs": {"x": 1}}
    answered = httpx.post(f"{url}/v1/backward", json=body, headers={"origin": "https://a.example"})
    assert answered.headers["access-control-allow-origin"] == "https://a.example"
    assert "X-Request-ID" in answered.headers["access-control-expose-headers"]


def test_a_page_of_another_site_cannot_even_make_the_service_compute(own_service):
    def sent(url: str, **headers: str) -> int:
        text = json.dumps({"graph": GRAPH, "inputs": {"x": 1}})
        return httpx.post(f"{url}/v1/backward", content=text, headers=headers).status_code

    foreign = {"sec-fetch-site": "cross-site", "origin": "https://a.example"}
    _, closed = own_service()
    assert sent(closed, **foreign) == 403
    assert sent(closed, **{"sec-fetch-site": "same-origin", "origin": closed}) == 200
    _, url = own_service(CORS_ORIGINS="https://a.example")
    assert sent(url, **foreign) == 200
    assert sent(url, **{**foreign, "origin": "https://b.example"}) == 403


@pytest.mark.parametrize("path", ["/v1/backward", "/health/live", "/metrics", "/nowhere", "/openapi.json"])
def test_no_browser_is_to_run_or_keep_an_answer(real_url, path):
    headers = httpx.get(real_url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_the_page_of_the_documentation_loads_nothing_from_elsewhere(real_url):
    page = httpx.get(f"{real_url}/docs")
    assert not re.search(r"(src|href)=.(https?:)?//", page.text)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 2
    for address in loaded:
        assert httpx.get(real_url + address).status_code == 200
    policy = page.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert base64.b64encode(sha256(script.encode()).digest()).decode() in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
