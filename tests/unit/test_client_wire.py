"""The client's bytes: what it writes is read by others, and what others write is read by it."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save

from pullback.arrays import build_numpy, read
from pullback.torch_arrays import build_torch
from pullback.wire import JSON, SAFETENSORS, decode, encode

ARRAYS = {
    "float64": np.array([[1.5, -0.0], [np.inf, 5e-324]]),
    "float32": np.array([1.1, np.nan], np.float32),
    "float16": np.array([[1.5], [-2.0]], np.float16),
    "bfloat16": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "complex64": np.array([1 + 2j, -0.5j], np.complex64),
    "complex128": np.array([[1 + 2j], [-0.5j]]),
    "int8": np.array([-128, 127], np.int8),
    "uint64": np.array([2**64 - 1], np.uint64),
    "bool": np.array([True, False]),
    "a scalar": np.array(3.5),
    "nothing": np.zeros((0, 3)),
    "a view": np.arange(12.0).reshape(3, 4).T[::-2],
    "big-endian": np.array([1.0, 2.0], ">f4"),
}


def answered(raw, key="outputs/y"):
    """The file that a service would answer this tensor in."""
    dtype = raw.dtype if raw.dtype != "complex128" else "float64"
    shape = raw.shape if raw.dtype != "complex128" else (*raw.shape, 2)
    flat = np.frombuffer(raw.data, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    tensor = {"dtype": raw.dtype, "shape": list(raw.shape), "tensor": key}
    return save({key: flat.reshape(shape)}, {"result": json.dumps({"y": tensor})}), tensor


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_survives_every_way_bit_for_bit(array):
    raw = read(array)
    again = build_torch(raw)
    assert read(again) == raw or bytes(read(again).data) == bytes(raw.data)
    assert (again.dtype, again.shape) == (getattr(torch, raw.dtype), array.shape)
    if raw.dtype != "bfloat16":
        np.testing.assert_array_equal(build_numpy(raw), array)
        assert build_numpy(raw).dtype == array.dtype.newbyteorder("=")
    else:
        assert build_numpy(raw).tolist() == array.astype(float).tolist()


@pytest.mark.parametrize("array", [a for name, a in ARRAYS.items() if name != "complex64"])
def test_a_file_of_the_client_is_read_by_the_safetensors_library(array, tmp_path):
    body = encode({"inputs": {"x": read(array)}, "seed": 3}, "binary", wants_tensors=True)
    (tmp_path / "request").write_bytes(body.content)
    with safe_open(tmp_path / "request", "pt") as file:
        request = json.loads(file.metadata()["request"])
        tensor = file.get_tensor("inputs/x")
    assert request["inputs"]["x"]["tensor"] == "inputs/x"
    assert request["seed"] == 3
    tensor = torch.view_as_complex(tensor) if array.dtype == np.complex128 else tensor
    assert bytes(read(tensor).data) == bytes(read(array).data)
    assert body.headers == {"content-type": SAFETENSORS, "accept": SAFETENSORS}


@pytest.mark.parametrize("array", [a for name, a in ARRAYS.items() if name not in ("complex64", "bfloat16")])
def test_a_file_of_the_safetensors_library_is_read_by_the_client(array):
    content, tensor = answered(read(array))
    text, rebuild = decode(content, SAFETENSORS, build_numpy)
    np.testing.assert_array_equal(rebuild(tensor), array)
    assert json.loads(text) == {"y": tensor}


def test_whoever_wants_no_tensors_is_answered_json():
    for wire in ("json", "binary"):
        assert encode({"graph": "y = x"}, wire, wants_tensors=False).headers["accept"] == JSON


def test_numbers_anywhere_in_a_request_are_strict_json():
    graph = {"nodes": [{"id": "y", "op": "clamp", "args": ["$x"], "kwargs": {"max": float("inf")}}]}
    body = encode({"graph": graph, "seed": np.int64(3)}, "json", wants_tensors=False)
    sent = json.loads(body.content)
    assert (sent["graph"]["nodes"][0]["kwargs"], sent["seed"]) == ({"max": "Infinity"}, 3)


def test_tensors_are_named_by_their_place():
    body = encode({"grad_tensors": [read(np.ones(2)), None]}, "binary", wants_tensors=True)
    assert b'"grad_tensors/0"' in body.content


def test_results_are_memory_of_their_own():
    raw = read(np.ones(3))
    for made in (build_numpy(raw), build_torch(raw)):
        made += 1
        assert bytes(raw.data) == np.ones(3).tobytes()
