"""Safetensors files: what their own library writes we read, what we write it reads, and nothing crooked passes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from pullback_schemas.problems import InvalidSafetensors
from pullback_schemas.safetensors import ALIGNMENT, ITEM_BYTES, Stored, read, write

TORCH_TYPES = {
    "BOOL": torch.bool,
    "BF16": torch.bfloat16,
    "C64": torch.complex64,
    **{
        f"{sign}{bits}": getattr(torch, f"{name}{bits}")
        for sign, name in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
    **{f"F{bits}": getattr(torch, f"float{bits}") for bits in (16, 32, 64)},
}

Files = dict[str, Stored]


@st.composite
def stored(draw: Any) -> Stored:
    dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = prod(shape) * ITEM_BYTES[dtype]
    return Stored(dtype, shape, draw(st.binary(min_size=size, max_size=size)))


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")
files = st.dictionaries(names, stored(), max_size=5)
metadata = st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"])), max_size=3)


def as_tensor(stored: Stored) -> torch.Tensor:
    raw = torch.tensor(list(stored.data), dtype=torch.uint8)
    return raw.view(TORCH_TYPES[stored.dtype]).reshape(stored.shape)


def plain(tensors: Files) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {key: (dtype, tuple(shape), bytes(data)) for key, (dtype, shape, data) in tensors.items()}


@given(metadata, files)
def test_what_is_written_is_read_again_to_the_same_bytes(notes, tensors):
    told, found = read(b"".join(write(notes, tensors)))
    assert (told, plain(found)) == (notes, plain(tensors))


@given(files)
def test_the_formats_own_library_reads_what_we_write(tensors):
    found = safetensors.deserialize(b"".join(write({"request": "{}"}, tensors)))
    assert {key: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for key, info in found} == plain(tensors)


@given(metadata, files)
def test_we_read_what_the_formats_own_library_writes(notes, tensors):
    given = {key: as_tensor(value) for key, value in tensors.items()}
    told, found = read(safetensors.torch.save(given, notes or None))
    assert (told, plain(found)) == (notes, plain(tensors))


@given(files)
def test_each_tensor_is_written_at_a_multiple_of_its_elements_size(tensors):
    head, *pieces = write({}, tensors)
    assert len(head) % ALIGNMENT == 0
    header = json.loads(bytes(head[8:]))
    assert all(info["data_offsets"][0] % ITEM_BYTES[info["dtype"]] == 0 for info in header.values())
    assert len(pieces) == len(tensors)


def file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def x(dtype: Any = "U8", shape: Any = (4,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


CROOKED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "seven bytes": lambda: b"\2" + bytes(6),
    "no header": lambda: bytes(8),
    "a header longer than the file": lambda: file(b"{}", length=3),
    "a header of 2^64 bytes": lambda: file(b"{}", length=2**64 - 1),
    "a header over the limit": lambda: file(b"{}", length=2**26 + 1),
    "a list": lambda: file([]),
    "a blank before the header": lambda: file(b" {}"),
    "no JSON": lambda: file(b"{x}"),
    "NaN": lambda: file(b'{"__metadata__": NaN}'),
    "no UTF-8": lambda: file(b'{"\xff": 1}'),
    "something after the header": lambda: file(b"{} {}"),
    "deep nesting": lambda: file(b'{"x":' * 100_000 + b"1" + b"}" * 100_000),
    "digits without end": lambda: file(b'{"x":' + b"1" * 10_000 + b"}"),
    "a doubled tensor": lambda: file(b'{"x":' + json.dumps(x()["x"]).encode() + b',"x":1}', bytes(4)),
    "a doubled dtype": lambda: file(b'{"x":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(4)),
    "metadata of numbers": lambda: file({"__metadata__": {"request": 1}}),
    "metadata that are a list": lambda: file({"__metadata__": []}),
    "an entry that is none": lambda: file({"x": 1}),
    "an entry without a shape": lambda: file({"x": {"dtype": "U8", "data_offsets": [0, 0]}}),
    "an unknown field": lambda: file(x(strides=[1]), bytes(4)),
    "an unknown dtype": lambda: file(x("F8_E4M3"), bytes(4)),
    "a dtype that is a list": lambda: file(x([]), bytes(4)),
    "a negative size": lambda: file(x(shape=[-1, -4]), bytes(4)),
    "a size as a float": lambda: file(x(shape=[4.0]), bytes(4)),
    "a size that is true": lambda: file(x(shape=[True], offsets=[0, 1]), bytes(1)),
    "a size beyond 2^63": lambda: file(x(shape=[2**64, 0], offsets=[0, 0])),
    "sizes whose product overflows": lambda: file(x(shape=[2**62, 4], offsets=[0, 0])),
    "too many axes": lambda: file(x(shape=[1] * 66, offsets=[0, 1]), bytes(1)),
    "three offsets": lambda: file(x(offsets=[0, 4, 4]), bytes(4)),
    "offsets that run backwards": lambda: file(x(offsets=[4, 0]), bytes(4)),
    "a negative offset": lambda: file(x(offsets=[-4, 0]), bytes(4)),
    "an offset beyond the file": lambda: file(x(offsets=[1, 5]), bytes(4)),
    "too few bytes for the shape": lambda: file(x(shape=[5]), bytes(4)),
    "an end beyond the file": lambda: file(x(), bytes(3)),
    "bytes after the last tensor": lambda: file(x(), bytes(5)),
    "bytes and no tensor": lambda: file({}, bytes(1)),
    "a hole at the start": lambda: file(x(offsets=[1, 5]), bytes(5)),
    "tensors that overlap": lambda: file({**x(), "y": x(offsets=[2, 6])["x"]}, bytes(6)),
    "tensors that are one": lambda: file({**x(), "y": x()["x"]}, bytes(4)),
    "a hole between tensors": lambda: file({**x(), "y": x(offsets=[5, 9])["x"]}, bytes(9)),
}


@pytest.mark.parametrize("name", CROOKED)
def test_a_file_that_is_not_as_the_format_has_it_is_refused(name):
    with pytest.raises(InvalidSafetensors):
        read(CROOKED[name]())


def test_a_file_may_hold_no_tensor_and_end_its_header_with_blanks():
    assert read(file(b'{"__metadata__": {"request": "{}"}}     ')) == ({"request": "{}"}, {})


def test_tensors_without_elements_stand_anywhere():
    header = {**x(shape=[0, 3], offsets=[4, 4]), "y": x()["x"], "z": x(shape=[0], offsets=[0, 0])["x"]}
    _, found = read(file(header, bytes(4)))
    assert {key: len(stored.data) for key, stored in found.items()} == {"x": 0, "y": 4, "z": 0}


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_the_problem(data):
    for body in (data, file(data), file(b'{"x":' + data + b"}")):
        with contextlib.suppress(InvalidSafetensors):
            read(body)
