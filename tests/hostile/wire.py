"""Bytes that are no JSON, no HTTP, or lie about themselves."""

from __future__ import annotations

import gzip
import json

from tests.hostile.case import JSON_TYPE, Case, ask, case

ORDINARY = json.dumps(ask("y = x * x", grad_tensors={"y": [1.0, 1.0, 1.0]})).encode()
RELU = '"graph": "y = relu(x)"'


def of_x(text: str) -> str:
    return f'{{{RELU}, "inputs": {{"x": {text}}}}}'


def wire(
    case_id: str, head: str, body: bytes = ORDINARY, code: str | None = None, first: str = "POST /v1/backward HTTP/1.1"
) -> Case:
    """A case of a whole request as it is sent; `head` lacks the first line and the host."""
    text = f"{first}\r\nhost: service\r\ncontent-type: application/json\r\n{head}\r\n\r\n"
    return Case(id=f"wire: {case_id}", code=code, wire=text.encode("latin-1") + body)


LENGTH = f"content-length: {len(ORDINARY)}"
CHUNKED = "transfer-encoding: chunked"

WIRES = [
    wire("a body shorter than it says", f"content-length: {len(ORDINARY) + 1000}"),
    wire("a body longer than it says", "content-length: 20"),
    wire("a length of 0", "content-length: 0"),
    wire("two lengths that differ", f"{LENGTH}\r\ncontent-length: 5"),
    wire("a length and chunks", f"{LENGTH}\r\n{CHUNKED}"),
    wire("chunks and a length", f"{CHUNKED}\r\n{LENGTH}", b"0\r\n\r\n"),
    wire("a negative length", "content-length: -1"),
    wire("a length of 10^30", f"content-length: {10**30}"),
    wire("a length of 10^15", f"content-length: {10**15}", code="body_too_large"),
    wire("a length with a sign", f"content-length: +{len(ORDINARY)}"),
    wire("a length as a float", "content-length: 1e3"),
    wire("a length in hex", "content-length: 0x10"),
    wire("a chunk of no size", CHUNKED, b"xyz\r\n{}\r\n0\r\n\r\n"),
    wire("a chunk of 10^30 bytes", CHUNKED, b"F" * 30 + b"\r\n{}\r\n0\r\n\r\n"),
    wire("a negative chunk", CHUNKED, b"-5\r\n{}\r\n0\r\n\r\n"),
    wire("a chunk longer than it says", CHUNKED, b"2\r\n{}{}\r\n0\r\n\r\n"),
    wire("chunks without an end", CHUNKED, b"5\r\n{"),
    wire("an unknown transfer encoding", "transfer-encoding: gzip, sideways"),
    wire("a null byte in a header", f"{LENGTH}\r\nx: a\0b"),
    wire("a header without a colon", f"{LENGTH}\r\nnonsense"),
    wire("a header with a blank in its name", f"{LENGTH}\r\nx y: 1"),
    wire("no version", "", b"", first="POST /v1/backward"),
    wire("HTTP 9.9", LENGTH, first="POST /v1/backward HTTP/9.9"),
    wire("no method", LENGTH, first="/v1/backward HTTP/1.1"),
    wire("an unknown method", LENGTH, first="STEAL /v1/backward HTTP/1.1"),
    wire("a method in lower case", LENGTH, first="post /v1/backward HTTP/1.1"),
    wire("a path out of the root", LENGTH, first="POST /../../etc/passwd HTTP/1.1", code="not_found"),
    wire("an encoded path", LENGTH, first="POST /v1/%2e%2e%2fetc%2fpasswd HTTP/1.1", code="not_found"),
    wire("a null byte in the path", LENGTH, first="POST /v1/backward%00 HTTP/1.1", code="not_found"),
    wire("a dunder for a path", LENGTH, first="POST /v1/__class__ HTTP/1.1", code="not_found"),
    wire(
        "a dunder for an operator",
        "",
        b"",
        first="GET /v1/ops/torch.ops.aten.relu.__class__ HTTP/1.1",
        code="not_found",
    ),
    wire("an operator of 10,000 letters", "", b"", first=f"GET /v1/ops/{'a' * 10_000} HTTP/1.1", code="not_found"),
    wire("an operator that is no UTF-8", "", b"", first="GET /v1/ops/%ff%fe HTTP/1.1", code="not_found"),
    Case(id="wire: a TLS greeting", code=None, wire=bytes.fromhex("16030100a5010000a10303") + bytes(160)),
    Case(id="wire: null bytes", code=None, wire=bytes(1000)),
    Case(id="wire: an HTTP/2 preface", code=None, wire=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case(id="wire: a header of 1 MB", code=None, wire=b"POST /v1/backward HTTP/1.1\r\nx: " + b"a" * 2**20),
]

MEDIA = {
    "text": ("unsupported_media_type", {"content-type": "text/plain"}),
    "a form": ("unsupported_media_type", {"content-type": "application/x-www-form-urlencoded"}),
    "a pickle": ("unsupported_media_type", {"content-type": "application/x-pickle"}),
    "a content type of 10,000 letters": ("unsupported_media_type", {"content-type": "a" * 10_000}),
    "an empty content type": ("unsupported_media_type", {"content-type": ""}),
    "gzip that is none": ("invalid_coding", {**JSON_TYPE, "content-encoding": "gzip"}),
    "zstd that is none": ("invalid_coding", {**JSON_TYPE, "content-encoding": "zstd"}),
    "a file that is none": ("invalid_safetensors", {"content-type": "application/vnd.safetensors"}),
    "zstd in brotli": ("unsupported_media_type", {**JSON_TYPE, "content-encoding": "zstd, br"}),
    "an answer as a pickle": ("not_acceptable", {**JSON_TYPE, "accept": "application/x-pickle"}),
}

NOT_JSON = {
    "nothing": b"",
    "one null byte": b"\0",
    "null bytes": bytes(10_000),
    "a null byte inside": ORDINARY.replace(b" ", b"\0", 1),
    "UTF-16": ORDINARY.decode().encode("utf-16"),
    "UTF-32": ORDINARY.decode().encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + ORDINARY,
    "gzip without a header": gzip.compress(ORDINARY),
    "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "overlong UTF-8": ORDINARY.replace(b"y = x", b"y = \xc0\xaf"),
    "a surrogate in UTF-8": ORDINARY.replace(b"y = x", b"y = \xed\xa0\x80"),
    "a surrogate escaped": ORDINARY.replace(b"y = x", b"y = \\ud800"),
    "cut in the middle": ORDINARY[: len(ORDINARY) // 2],
    "cut at the end": ORDINARY[:-1],
    "something behind": ORDINARY + b"}",
    "two documents": ORDINARY * 2,
    "Python": b"{'graph': 'y = x'}",
    "a comment": b"/* */" + ORDINARY,
    "a comma too many": ORDINARY[:-1] + b",}",
    "NaN": of_x("[NaN]"),
    "-Infinity": of_x("[-Infinity]"),
    "a hexadecimal number": of_x("[0x10]"),
    "a leading zero": of_x("[007]"),
    "a plus": of_x("[+1]"),
    "an octal escape": '{"graph": "\\075"}',
    "a line end in a string": '{"graph": "y = x\n"}',
    "XML": "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "10 MB of blanks": b" " * 10**7,
}

TWICE = ', "x": 1.0'
DUPLICATES = {
    "a field": f'{{{RELU}, {RELU}, "inputs": {{"x": [1.0]}}}}',
    "an input": f'{{{RELU}, "inputs": {{"x": [1.0], "x": [2.0]}}}}',
    "an input by an escape": f'{{{RELU}, "inputs": {{"x": [1.0], "\\u0078": [2.0]}}}}',
    "a field of a node": '{"graph": {"nodes": [{"id": "y", "op": "relu", "op": "from_file", "args": ["$x"]}]}}',
    "a dtype": of_x('{"dtype": "float64", "dtype": "int8", "data": [1.0]}'),
    "100,000 times": f'{{{RELU}, "inputs": {{"x": 1.0{TWICE * 100_000}}}}}',
}

DEEP = {
    "100,000 lists": "[" * 100_000 + "]" * 100_000,
    "100,000 objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "100,000 open lists": "[" * 100_000,
    "lists in objects": '[{"a":' * 50_000 + "1" + "}]" * 50_000,
    "100,000 lists for a tensor": of_x("[" * 100_000 + "1.0" + "]" * 100_000),
    "100,000 lists for an argument": f'{{"graph": {{"nodes": [{{"id": "y", "op": "relu", "args": [{"[" * 100_000 + "]" * 100_000}]}}]}}}}',
    "1,000,000 lists": "[" * 10**6,
}

NUMBERS = {
    "1e999": ("value_out_of_range", "[1e999]"),
    "-1e999": ("value_out_of_range", "[-1e999]"),
    "an exponent of 100 digits": ("value_out_of_range", "[1e" + "9" * 100 + "]"),
    "10^6 digits": ("value_out_of_range", "[1" + "0" * 10**6 + "]"),
    "10^6 digits below zero": ("value_out_of_range", "[-1" + "0" * 10**6 + "]"),
    "a string of 10^6 digits": ("invalid_element", '["' + "1" * 10**6 + '"]'),
    "infinity misspelt": ("invalid_element", '["inf"]'),
    "an object": ("invalid_element", '[{"__class__": "int"}]'),
}

WIRE = [
    *WIRES,
    *(case(f"media: {name}", ORDINARY, code, headers=headers) for name, (code, headers) in MEDIA.items()),
    *(case(f"not JSON: {name}", body, "not_json") for name, body in NOT_JSON.items()),
    *(case(f"twice: {name}", body, "duplicate_key") for name, body in DUPLICATES.items()),
    *(case(f"deep: {name}", body, "too_deep") for name, body in DEEP.items()),
    *(case(f"number: {name}", of_x(text), code, "/inputs/x/0") for name, (code, text) in NUMBERS.items()),
    case(
        "number: an exponent in an argument",
        '{"graph": {"nodes": [{"id": "y", "op": "mul", "args": ["$x", 1e999]}]}, "inputs": {"x": [1]}}',
        "bad_argument",
        "/graph/nodes/0/args/1",
        node="y",
    ),
    case(
        "number: 10^6 digits in an argument",
        f'{{"graph": {{"nodes": [{{"id": "y", "op": "mul", "args": ["$x", {"9" * 10**6}]}}]}}, "inputs": {{"x": [1]}}}}',
        "bad_argument",
        "/graph/nodes/0/args/1",
        node="y",
    ),
    case(
        "number: 10^6 digits for a seed",
        f'{{{RELU}, "inputs": {{"x": [1]}}, "seed": {"9" * 10**6}}}',
        "invalid_field",
        "/seed",
    ),
    case(
        "number: 10^5 digits for a size",
        of_x(f'{{"shape": [{"9" * 10**5}], "data": [1.0]}}'),
        "invalid_field|limit_exceeded|wrong_count",
        "/inputs/x/shape/0",
    ),
]
