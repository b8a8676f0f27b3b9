"""Keys: who is let in, and that keys are told nowhere."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from pullback import AnswerError, Client

KEY = "pb_" + "a1B2c3D4" * 5
OTHER = "pb_" + "z9Y8x7W6" * 5
BODY = {"graph": "y = x * x", "inputs": {"x": 3}}
READ_AGAIN_IN_S = 30


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def guarded(start_service, stop_service):
    """The URL and the pid of a service with a key."""
    process, url = start_service(API_KEY=KEY, WORKERS="1")
    yield url, process.pid
    stop_service(process)


def asked(url: str, headers: dict[str, str], path: str = "/v1/backward") -> httpx.Response:
    return httpx.post(url + path, json=BODY, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": KEY},
        {"x-api-key": KEY, "authorization": "Digest of a proxy"},
        basic("", KEY),
        basic("anybody", KEY),
        basic(KEY, ""),
    ],
)
def test_a_key_lets_in_however_it_is_sent(guarded, headers):
    response = asked(guarded[0], headers)
    assert response.status_code == 200, response.text
    assert response.json()["gradients"]["x"]["data"] == 6


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": KEY},
        {"authorization": f"Bearer {OTHER}"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Token {KEY}"},
        {"authorization": "Basic %%%"},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        {"x-api-key": ""},
        {"x-api-key": OTHER, "authorization": f"Bearer {KEY}"},
        basic(KEY, OTHER),
        {"authorization": f"Bearer {sha256(KEY.encode()).hexdigest()}"},
        {"authorization": "Bearer " + "x" * 10_000},
    ],
)
def test_nothing_else_lets_in(guarded, headers):
    response = asked(guarded[0], headers)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert response.headers["www-authenticate"].startswith("Bearer ")
    assert 'Basic realm="' in response.headers["www-authenticate"]
    assert KEY not in response.text
    assert OTHER not in response.text


@pytest.mark.parametrize("path", ["/v1/ops", "/v1/ops/relu", "/metrics"])
def test_what_is_read_needs_a_key_too(guarded, path):
    assert httpx.get(guarded[0] + path).status_code == 401
    assert httpx.get(guarded[0] + path, headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/openapi.json", "/docs"])
def test_health_and_documentation_need_none(guarded, path):
    assert httpx.get(guarded[0] + path).status_code == 200


def test_the_client_sends_its_key(guarded, monkeypatch):
    with Client(guarded[0], api_key=KEY) as client:
        assert client.backward(BODY["graph"], {"x": 3.0}).gradients["x"] == 6
    monkeypatch.setenv("PULLBACK_API_KEY", KEY)
    with Client(guarded[0]) as client:
        assert client.backward(BODY["graph"], {"x": 3.0}).gradients["x"] == 6
    monkeypatch.delenv("PULLBACK_API_KEY")
    with Client(guarded[0]) as client, pytest.raises(AnswerError) as refused:
        client.backward(BODY["graph"], {"x": 3.0})
    assert refused.value.code == "unauthorized"


def test_a_key_within_the_address_lets_in(guarded):
    scheme, rest = guarded[0].split("://")
    response = httpx.post(f"{scheme}://:{KEY}@{rest}/v1/backward", json=BODY)
    assert response.status_code == 200


def test_no_process_but_the_one_that_asks_for_keys_has_one(guarded, processes_of):
    below = processes_of(guarded[1])
    assert len(below) >= 3
    for child in below:
        told = Path(f"/proc/{child}/environ").read_bytes() + Path(f"/proc/{child}/cmdline").read_bytes()
        assert KEY.encode() not in told


def keys_file(path: Path, **holders: list[str]) -> None:
    """Written beside and moved, as secrets are when they are mounted."""
    tables = []
    for name, keys in holders.items():
        digests = ", ".join(f'"{sha256(key.encode()).hexdigest()}"' for key in keys)
        tables.append(f"[keys.{name}]\nsha256 = [{digests}]\n")
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(tables))
    fresh.rename(path)


def until(status: int, url: str, key: str) -> None:
    bound = time.monotonic() + READ_AGAIN_IN_S
    while asked(url, {"x-api-key": key}).status_code != status:
        assert time.monotonic() < bound, f"{status} never came"


def test_keys_are_rotated_without_a_restart(own_service, tmp_path):
    path = tmp_path / "keys.toml"
    keys_file(path, alice=[KEY])
    _, url = own_service(API_KEYS_FILE=str(path))
    until(200, url, KEY)
    assert asked(url, {"x-api-key": OTHER}).status_code == 401
    keys_file(path, alice=[KEY, OTHER])
    until(200, url, OTHER)
    assert asked(url, {"x-api-key": KEY}).status_code == 200
    keys_file(path, alice=[OTHER])
    until(401, url, KEY)
    assert asked(url, {"x-api-key": OTHER}).status_code == 200
    path.write_text("[keys.alice\n")
    assert asked(url, {"x-api-key": OTHER}).status_code == 200
    path.write_text("")
    until(401, url, OTHER)
    path.unlink()
    assert asked(url, {"x-api-key": OTHER}).status_code == 401


def test_a_new_key_is_shown_once_and_only_its_hash_is_to_be_kept():
    done = subprocess.run(
        [sys.executable, "-m", "pullback_service.access", "alice"], capture_output=True, text=True, check=True
    )
    key = done.stderr.rstrip().rpartition(" ")[2]
    assert len(key) > 40
    assert key not in done.stdout
    assert done.stdout == f'[keys.alice]\nsha256 = "{sha256(key.encode()).hexdigest()}"\n'


@pytest.mark.parametrize("arguments", [[], ["a b"], ["a", "b"], ["../a"]])
def test_a_name_that_cannot_stand_in_the_file_gets_no_key(arguments):
    done = subprocess.run([sys.executable, "-m", "pullback_service.access", *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert "usage" in done.stderr


def started(**settings: str) -> subprocess.CompletedProcess[str]:
    """A service that must not start."""
    env = {**os.environ, "PULLBACK_PORT": "0", **{f"PULLBACK_{name}": value for name, value in settings.items()}}
    return subprocess.run(
        [sys.executable, "-m", "pullback_service"], env=env, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_it_listens_to_this_machine_alone(host):
    done = started(HOST=host)
    assert done.returncode == 1
    assert "PULLBACK_API_KEY" in done.stderr
    assert "PULLBACK_ANONYMOUS=anywhere" in done.stderr


@pytest.mark.parametrize("allowing", [{"ANONYMOUS": "anywhere"}, {"API_KEY": KEY}])
def test_with_keys_or_told_so_it_listens_anywhere(own_service, allowing):
    _, url = own_service(HOST="0.0.0.0", **allowing)
    assert asked(url, {"x-api-key": KEY}).status_code == 200


def test_that_anybody_may_call_opens_nothing_where_there_is_a_key(own_service):
    _, url = own_service(ANONYMOUS="anywhere", API_KEY=KEY)
    assert asked(url, {}).status_code == 401


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("[keys.alice", "no TOML"),
        (f'[keys.alice]\nsha256 = "{KEY}"', "keys.alice.sha256"),
        ("[keys.alice]", "keys.alice.sha256"),
        (f'[keys."a b"]\nsha256 = "{"0" * 64}"', "keys.a b"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nrequests = 3', "keys.alice.requests"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nconcurrent_requests = -1', "keys.alice.concurrent_requests"),
        (f'[keys.alice]\nsha256 = "{sha256(b"").hexdigest()}"', "hash of nothing"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\n[keys.bob]\nsha256 = "{"0" * 64}"', "the same key"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_told_at_the_start(tmp_path, text, told):
    path = tmp_path / "keys.toml"
    if text is not None:
        path.write_text(text)
    done = started(API_KEYS_FILE=str(path))
    assert done.returncode == 1
    assert told in done.stderr
    assert KEY not in done.stderr


@pytest.mark.parametrize("key", ["swordfish", f" {KEY}", f"{KEY}\n", f"{KEY[:20]} {KEY[20:]}", f"{KEY}ü"])
def test_a_key_that_cannot_be_one_is_not_taken_nor_told_back(key):
    done = started(API_KEY=key)
    assert done.returncode == 1
    assert "PULLBACK_API_KEY" in done.stderr
    assert key.strip()[:9] not in done.stderr


@pytest.mark.parametrize(
    ("holders", "told"),
    [
        ({"default": [OTHER]}, "default is the name of the key in PULLBACK_API_KEY"),
        ({"alice": [KEY]}, "the same key"),
    ],
)
def test_the_key_in_the_environment_and_its_name_are_in_no_file(tmp_path, holders, told):
    path = tmp_path / "keys.toml"
    keys_file(path, **holders)
    done = started(API_KEY=KEY, API_KEYS_FILE=str(path))
    assert done.returncode == 1
    assert told in done.stderr


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 70, "x..y"])
def test_a_host_that_is_none_is_told_of(host):
    done = started(HOST=host)
    assert done.returncode == 1
    assert "is no address of this machine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("origins", ["https://a.example/", "a.example", "https://a.example https://b.example"])
def test_what_is_no_origin_is_told_of(origins):
    done = started(CORS_ORIGINS=origins)
    assert done.returncode == 1
    assert "is no origin" in done.stderr
