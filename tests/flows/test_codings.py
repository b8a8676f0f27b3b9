"""Compressed bodies: gzip and zstd, in both forms; crooked ones are refused, a bomb costs no more than the bound."""

from __future__ import annotations

import gzip
import json
import resource
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback_schemas.problems import BodyTooLarge, InvalidCoding
from pullback_service.forms import Coding
from pullback_service.protocols.codings import MAX_MEMBERS, inflate

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = json.dumps({"graph": "y = x * x", "inputs": {"x": [1.0, 2.0]}, "grad_tensors": {"y": [1, 1]}}).encode()
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
LIMIT = 2**20


@pytest.fixture(scope="session")
def send(service: Any) -> Callable[..., Any]:
    def call(coding: str, body: bytes, **headers: str) -> Any:
        named = {"content-type": "application/json", "content-encoding": coding}
        return service.post("/v1/backward", content=body, headers=named | headers)

    return call


@pytest.mark.parametrize(("coding", "name"), [("gzip", "gzip"), ("zstd", "zstd"), ("gzip", "x-gzip"), ("gzip", "GZIP")])
def test_a_compressed_request_is_answered_like_any_other(send, coding, name):
    assert send(name, COMPRESS[coding](BODY)).json()["gradients"]["x"]["data"] == [2.0, 4.0]


@pytest.mark.parametrize("coding", COMPRESS)
def test_a_compressed_file_of_tensors_is_answered_too(send, coding):
    request = {"graph": "y = x.sum()", "inputs": {"x": {"tensor": "x"}}}
    body = safetensors.torch.save({"x": torch.ones(100_000)}, {"request": json.dumps(request)})
    answer = send(coding, COMPRESS[coding](body), **{"content-type": "application/vnd.safetensors"})
    assert answer.json()["outputs"]["y"]["data"] == 100_000


CROOKED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "not compressed": lambda _: BODY,
    "cut off": lambda packed: packed[:-5],
    "a head alone": lambda packed: packed[:6],
    "followed by garbage": lambda packed: packed + b"garbage",
    "followed by a zero": lambda packed: packed + b"\0",
    "a flipped bit": lambda packed: packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
}


@pytest.mark.parametrize("coding", COMPRESS)
@pytest.mark.parametrize("name", CROOKED)
def test_a_crooked_body_is_a_bad_request(send, coding, name):
    compressed = gzip.compress(BODY) if coding == "gzip" else _with_checksum(BODY)
    problem = send(coding, CROOKED[name](compressed)).json()
    assert (problem["status"], problem["code"]) == (400, "invalid_coding"), problem


def _with_checksum(body: bytes) -> bytes:
    return zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1})


@pytest.mark.parametrize("other", ["br", "deflate", "gzip, gzip", "gzip, zstd", ""])
def test_another_coding_is_unsupported(send, other):
    problem = send(other, gzip.compress(BODY)).json()
    assert (problem["status"], problem["code"]) == (415, "unsupported_media_type")


pieces = st.lists(st.binary(max_size=200).map(lambda some: some * 50), max_size=4)


@pytest.mark.parametrize("coding", list(COMPRESS))
def test_members_one_after_the_other_are_one_body(coding):
    @settings(max_examples=50)
    @given(pieces)
    def check(bodies):
        compressed = b"".join(map(COMPRESS[coding], bodies)) or COMPRESS[coding](b"")
        assert inflate(memoryview(compressed), Coding(coding), LIMIT) == b"".join(bodies)

    check()


@pytest.mark.parametrize("coding", list(COMPRESS))
def test_a_body_of_just_the_bound_passes_and_one_more_byte_does_not(coding):
    body = bytes(LIMIT)
    assert inflate(COMPRESS[coding](body), Coding(coding), LIMIT) == body
    with pytest.raises(BodyTooLarge):
        inflate(COMPRESS[coding](body + b"\0"), Coding(coding), LIMIT)


def test_a_bomb_costs_no_more_than_the_bound():
    """A gibibyte of zeros in each; the process's peak tells what was taken."""
    compressor = zlib.compressobj(9, wbits=31)
    chunks = [compressor.compress(bytes(2**24)) for _ in range(64)]
    bombs = {
        Coding.GZIP: b"".join([*chunks, compressor.flush()]),
        Coding.ZSTD: zstd.compress(bytes(2**24)) * 64,
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for coding, bomb in bombs.items():
        with pytest.raises(BodyTooLarge):
            inflate(bomb, coding, LIMIT)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2**10


@pytest.mark.parametrize("coding", list(COMPRESS))
def test_members_that_hold_nothing_may_be_many_but_not_without_end(coding):
    nothing = COMPRESS[coding](b"")
    assert inflate(nothing * MAX_MEMBERS, Coding(coding), LIMIT) == b""
    with pytest.raises(InvalidCoding, match="members"):
        inflate(nothing * (MAX_MEMBERS + 1), Coding(coding), LIMIT)


def test_a_window_beyond_what_http_allows_is_refused():
    long = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    frame = long.compress(bytes(2**20), long.CONTINUE) + long.flush()
    with pytest.raises(InvalidCoding):
        inflate(frame, Coding.ZSTD, 2**28)


def test_a_worker_inflates_behind_its_seal_and_the_bound_is_that_of_bodies(start_service, stop_service):
    import httpx

    process, url = start_service(WORKERS="1", MAX_BODY_BYTES=str(LIMIT))
    try:
        for coding, compress in COMPRESS.items():
            headers = {"content-type": "application/json", "content-encoding": coding}
            good = httpx.post(f"{url}/v1/backward", content=compress(BODY), headers=headers)
            assert good.json()["gradients"]["x"]["data"] == [2.0, 4.0]
            large = httpx.post(f"{url}/v1/backward", content=compress(bytes(2**26)), headers=headers)
            assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    finally:
        assert stop_service(process) == 0
