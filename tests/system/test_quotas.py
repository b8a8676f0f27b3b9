"""Quotas: how much a caller may ask for, and what it is told of that."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import pytest

ALICE, BOB = "alice's long key", "bob's longer key"
SMALL = {"graph": "y = x * x", "inputs": {"x": 3}}
LONG = {"graph": "y = svd(rand([300, 300], dtype='float64') * x).S.sum()", "inputs": {"x": 1}}
ENDLESS = {"graph": "y = svd(rand([3000, 3000], dtype='float64') * x).S.sum()", "inputs": {"x": 1}}


def post(url: str, body: object, key: str = "", **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/forward", json=body, headers={"x-api-key": key, **headers}, timeout=60)


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.toml"

    def write(alice: str) -> str:
        alice_table = f'[keys.alice]\nsha256 = "{sha256(ALICE.encode()).hexdigest()}"\n{alice}\n'
        path.write_text(f'{alice_table}[keys.bob]\nsha256 = "{sha256(BOB.encode()).hexdigest()}"\n')
        return str(path)

    return write


def test_beyond_its_requests_a_second_a_key_is_told_when_to_come_back(own_service, keys):
    _, url = own_service(API_KEYS_FILE=keys("requests_per_second = 2"))
    with httpx.Client() as client:
        responses = [client.post(f"{url}/v1/forward", json=SMALL, headers={"x-api-key": ALICE}) for _ in range(60)]
    assert {response.status_code for response in responses} == {200, 429}
    for response in responses:
        assert response.headers["ratelimit-policy"] == '"requests";q=2;w=1'
        assert re.fullmatch(r'"requests";r=[012];t=[01]', response.headers["ratelimit"])
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.json()["code"] == "quota_exceeded"
    assert refused.headers["retry-after"] == "1"
    assert '"requests";r=0' in refused.headers["ratelimit"]
    assert post(url, SMALL, BOB).status_code == 200
    assert "ratelimit" not in post(url, SMALL, BOB).headers


def test_computing_is_paid_for_afterwards_and_whoever_is_in_debt_waits(own_service, keys):
    _, url = own_service(API_KEYS_FILE=keys("compute_seconds_per_minute = 1"), WORKERS="2")
    served = post(url, LONG, ALICE)
    assert served.status_code == 200
    assert served.headers["ratelimit-policy"] == '"compute";q=1;w=60;qu="compute-seconds"'
    exhausting = post(url, ENDLESS, ALICE, **{"pullback-timeout": "2"})
    assert exhausting.status_code == 504
    refused = post(url, SMALL, ALICE)
    assert refused.status_code == 429
    assert 30 < int(refused.headers["retry-after"]) <= 180
    assert post(url, SMALL, BOB).status_code == 200


def test_whoever_does_not_wait_for_an_answer_pays_for_it_too(own_service, keys):
    _, url = own_service(API_KEYS_FILE=keys("compute_seconds_per_minute = 1"))
    statuses = [post(url, ENDLESS, ALICE, **{"pullback-timeout": "0.02"}).status_code for _ in range(40)]
    assert 504 in statuses
    assert statuses[-1] == 429


def test_more_at_a_time_than_a_quota_has_is_refused_and_not_counted(own_service, keys):
    _, url = own_service(API_KEYS_FILE=keys("concurrent_requests = 1"), WORKERS="2")
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(post, url, ENDLESS, ALICE, **{"pullback-timeout": "3"}) for _ in range(2)]
        statuses = sorted(future.result().status_code for future in running)
    assert statuses == [429, 504]
    later = post(url, SMALL, ALICE)
    assert later.status_code == 200
    assert later.headers["ratelimit"] == '"concurrent";r=0'


def test_without_keys_each_address_has_the_quota(own_service):
    _, url = own_service(REQUESTS_PER_SECOND="1")

    def sent(address: str) -> list[int]:
        with httpx.Client(headers={"x-forwarded-for": address}) as client:
            return [client.post(f"{url}/v1/forward", json=SMALL).status_code for _ in range(30)]

    first, second = sent("192.0.2.1"), sent("192.0.2.2")
    assert first[0] == second[0] == 200
    assert 429 in first
    assert 429 in second


def test_a_key_may_be_freed_of_the_quota_of_all(own_service, keys):
    _, url = own_service(API_KEYS_FILE=keys("requests_per_second = 0"), REQUESTS_PER_SECOND="1")
    with httpx.Client() as client:
        for key, expected in ((ALICE, {200}), (BOB, {200, 429})):
            answered = [
                client.post(f"{url}/v1/forward", json=SMALL, headers={"x-api-key": key}).status_code for _ in range(30)
            ]
            assert set(answered) == expected
