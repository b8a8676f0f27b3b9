"""What a stranger tries against whatever evaluates: names and texts that mean something elsewhere mean nothing here."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

EVALUATED = "1337"
"""What 7 * 191 is, wherever somebody evaluates it."""


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._file),)


def texts(file: Path) -> list[str]:
    """Each would make this file, tell 1337, or show what is none of a caller's business."""
    python = f"__import__('os').mkdir('{file}')"
    return [
        # Python
        python,
        f'eval("{python}")',
        "__class__.__mro__[1].__subclasses__()",
        "os.environ",
        "builtins.exec",
        "subprocess.Popen",
        "torch.hub.load",
        "torch.utils.cpp_extension.load_inline",
        "torch._C._jit_compile",
        "torch.classes.load_library",
        "torch.ops.aten.relu.__globals__",
        "pullback_service.settings.Settings",
        "__main__",
        "__builtins__",
        # Templates and formats
        "{{7*191}}",
        "${7*191}",
        "#{7*191}",
        "<%= 7*191 %>",
        "{0.__class__.__init__.__globals__}",
        "%(x)s%n%n%s%s%s",
        "{x!r:>1000000000}",
        "${jndi:ldap://127.0.0.1:1/x}",
        # Shell
        f"$(touch {file})",
        f"`touch {file}`",
        f"; touch {file} #",
        f"| touch {file}",
        "$((7*191))",
        # SQL, LDAP, XML
        "' OR 1=1; DROP TABLE ops; --",
        "*)(uid=*))(|(uid=*",
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        # Files and addresses
        "../../../../etc/passwd",
        "file:///etc/passwd",
        "/proc/self/environ",
        "\\\\127.0.0.1\\share",
        "http://127.0.0.1:1/",
        "data:application/json,{}",
        # JavaScript
        "__proto__",
        "constructor.prototype",
        "<script>fetch('/v1/ops')</script>",
        # Others' serialisation
        base64.b64encode(pickle.dumps(Exploit(file))).decode(),
        "!!python/object/apply:os.mkdir ['x']",
        'O:8:"stdClass":0:{}',
        "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA==",
        # Terminals and logs
        "x\u001b]0;owned\u0007",
        "x\r\nINFO pullback: all is well",
        "\u202ex",
    ]


X = {"x": [1.0, 2.0]}


def one(**node: Any) -> dict[str, Any]:
    return {"graph": {"nodes": [{"id": "y", "op": "relu", "args": ["$x"], **node}]}, "inputs": X}


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a graph": lambda text: {"graph": text, "inputs": X},
    "an operator": lambda text: one(op=text),
    "a call": lambda text: {"graph": f"y = {text}", "inputs": X},
    "a node": lambda text: one(id=text),
    "a reference": lambda text: one(args=["$" + text]),
    "an argument": lambda text: one(op="div", args=["$x", "$x"], kwargs={"rounding_mode": text}),
    "an argument's name": lambda text: one(kwargs={text: 1}),
    "a tensor": lambda text: one(args=[text]),
    "a field of a node": lambda text: one(**{text: 1}),
    "an input": lambda text: {"graph": "y = relu(x)", "inputs": {**X, text: [1.0]}},
    "an input's data": lambda text: {"graph": "y = relu(x)", "inputs": {"x": text}},
    "an element": lambda text: {"graph": "y = relu(x)", "inputs": {"x": [text]}},
    "base64": lambda text: {
        "graph": "y = relu(x)",
        "inputs": {"x": {"dtype": "float64", "shape": [1], "encoding": "base64", "data": text}},
    },
    "a dtype": lambda text: {"graph": "y = relu(x)", "inputs": {"x": {"dtype": text, "data": [1.0]}}},
    "a tensor's encoding": lambda text: {"graph": "y = relu(x)", "inputs": {"x": {"encoding": text, "data": "AA=="}}},
    "a file's tensor": lambda text: {"graph": "y = relu(x)", "inputs": {"x": {"tensor": text}}},
    "an output": lambda text: {**one(), "grad_tensors": {text: [1.0]}},
    "wrt": lambda text: {**one(), "wrt": [text], "grad_tensors": {"y": [1.0, 1.0]}},
    "a device": lambda text: {**one(), "device": text},
    "an encoding": lambda text: {**one(), "encoding": text},
    "a seed": lambda text: {**one(), "seed": text},
    "a field": lambda text: {**one(), text: 1},
}
"""Where a text of the caller's may stand in a request."""

HEADERS = ["content-type", "content-encoding", "accept", "pullback-timeout"]
IGNORED = ["user-agent", "referer", "cookie", "x-forwarded-for", "forwarded", "x-request-id", "traceparent", "origin"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """What must not be there afterwards."""
    owned = tmp_path / "owned"
    yield owned
    assert not owned.exists()


@pytest.fixture(scope="module")
def client(real_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real_url, timeout=30) as connected:
        yield connected


def assert_without_effect(answer: httpx.Response, text: str) -> None:
    """It is refused as the caller's own mistake, and tells nothing that the caller did not."""
    assert 400 <= answer.status_code < 500, (text, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    told = json.dumps(answer.json()).replace(json.dumps(text)[1:-1], "")
    for word in (EVALUATED, "root:", "PATH=", "site-packages", "Traceback"):
        assert word not in told, (text, told)


def restarted(client: httpx.Client) -> int:
    count: int = client.get("/health/ready").json()["workers"]["restarted"]
    return count


@pytest.mark.parametrize("place", PLACES)
def test_a_text_that_means_something_elsewhere_is_refused_without_effect(client, file, place):
    before = restarted(client)
    for text in texts(file):
        for operation in ("check", "backward"):
            answer = client.post(f"/v1/{operation}", json=PLACES[place](text))
            if operation == "backward" or answer.status_code != 200:  # a check gets no tensors, and may overlook them
                assert_without_effect(answer, text)
    assert restarted(client) == before


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_means_something_elsewhere_is_refused_without_effect(client, file, name):
    for text in texts(file):
        if text.isprintable() and text.isascii():
            assert_without_effect(client.post("/v1/backward", json=one(), headers={name: text}), text)


@pytest.mark.parametrize("name", IGNORED)
def test_a_header_that_the_service_need_not_understand_changes_no_answer(client, file, name):
    sums = {"graph": "y = (x * x).sum()", "inputs": X}
    for text in texts(file):
        if text.isprintable() and text.isascii():
            answer = client.post("/v1/backward", json=sums, headers={name: text})
            assert answer.json()["gradients"]["x"]["data"] == [2.0, 4.0]
            assert text not in str([value for key, value in answer.headers.items() if key != "x-request-id"])


def test_an_address_that_means_something_elsewhere_leads_nowhere(client, file):
    for text in texts(file):
        for quoted in (quote(text), quote(text, safe="")):
            assert_without_effect(client.get("/v1/ops/" + quoted), text)


def test_a_pickle_is_refused_in_every_form(client, file):
    body = pickle.dumps(Exploit(file))
    for media in (
        "application/json",
        "application/vnd.safetensors",
        "application/x-pickle",
        "image/png",
    ):
        for coding in ("identity", "gzip", "zstd"):
            headers = {"content-type": media, "content-encoding": coding}
            assert_without_effect(client.post("/v1/backward", content=body, headers=headers), "")


# Keys and numbers that are slow to keep apart


def same_hash(count: int) -> list[int]:
    """Python gives all of these one hash."""
    return [k * (2**61 - 1) for k in range(count)]


MANY = {
    "keys that share a hash elsewhere": {f"{k:017b}".replace("0", "Aa").replace("1", "BB"): 1 for k in range(2**15)},
    "keys that are long": {"a" * 1000 + str(k): 1 for k in range(2**10)},
}


@pytest.mark.parametrize("keys", MANY.values(), ids=MANY)
@pytest.mark.parametrize("place", ["inputs", "kwargs", "fields", "grad_tensors"])
def test_very_many_keys_are_refused_within_a_short_deadline(client, keys, place):
    body = {
        "inputs": {**one(), "inputs": keys},
        "kwargs": one(kwargs=keys),
        "fields": {**one(), **keys},
        "grad_tensors": {**one(), "grad_tensors": keys},
    }[place]
    answer = client.post("/v1/backward", json=body, headers={"pullback-timeout": "10"})
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < 100_000


def test_numbers_that_share_a_hash_are_refused_within_a_short_deadline(client):
    body = one(op="sum", kwargs={"dim": same_hash(2**14)})
    answer = client.post("/v1/backward", json=body, headers={"pullback-timeout": "10"})
    assert answer.status_code == 422, answer.text
