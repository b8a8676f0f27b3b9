"""Tensors between bits and JSON: what is written reads back, and what does not fit is refused with its place."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pullback_schemas.problems import ProblemError
from pullback_schemas.tensors import FullTensor
from pullback_service.protocols.strict_json import parse_json
from pullback_service.protocols.tensor_reader import read_tensor
from pullback_service.protocols.tensor_writer import write_tensor

FLOATS = {"float16": (10, 2), "bfloat16": (7, 2), "float32": (23, 4), "float64": (52, 8)}
"""Bits of the fraction and bytes, by dtype."""
COMPLEX = {"complex64": "float32", "complex128": "float64"}
INTEGERS = {f"{sign}int{8 * size}": size for sign in ("", "u") for size in (1, 2, 4, 8)}
DTYPES = [*FLOATS, *COMPLEX, *INTEGERS, "bool"]

CHEAP = settings(max_examples=50, deadline=None, derandomize=True)
BROAD = settings(max_examples=150, deadline=None, derandomize=True)


# What is compared


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous()
    raw = dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
    return dense.dtype, tuple(dense.shape), raw


def with_one_nan(tensor: Tensor) -> Tensor:
    """The tensor with each NaN, whatever its payload, replaced by the one that JSON can say."""
    if tensor.is_complex():
        return torch.view_as_complex(with_one_nan(torch.view_as_real(tensor)))
    return tensor.masked_fill(tensor.isnan(), float("nan")) if tensor.is_floating_point() else tensor


def strictly(text: bytes) -> Any:
    """What a browser makes of it: no NaN, no Infinity."""

    def fail(token: str) -> NoReturn:
        raise AssertionError(f"{token} is no JSON")

    value = json.loads(text, parse_constant=fail)
    assert parse_json(text) == value
    return value


def through_json(tensor: Tensor, encoding: Any = "nested") -> Tensor:
    document = strictly(orjson.dumps(write_tensor(tensor, encoding)))
    return read_tensor(FullTensor.model_validate(document))


def read(document: Any, declared: torch.dtype | None = None) -> Tensor:
    return read_tensor(FullTensor.model_validate(document) if isinstance(document, dict) else document, declared)


# Tensors of any bits


def words(dtype: str) -> tuple[st.SearchStrategy[int], int]:
    """The bits of one element (one part of it, if complex), the odd ones often; and its bytes."""
    if dtype == "bool":
        return st.integers(0, 1), 1
    if dtype in INTEGERS:
        size = INTEGERS[dtype]
        top = 1 << (8 * size - 1)
        odd = [0, 1, top - 1, top, top + 1, 2 * top - 1, (2**53 + 1) % (2 * top)]
    else:
        fraction, size = FLOATS[COMPLEX.get(dtype, dtype)]
        top = 1 << (8 * size - 1)
        infinity = top - (1 << fraction)
        quiet = 1 << (fraction - 1)
        odd = [0, 1, (1 << fraction) - 1, 1 << fraction, infinity - 1, infinity, infinity + quiet, infinity + 1]
        odd += [top + word for word in odd] + [infinity + quiet + 5]
    return st.one_of(st.sampled_from(odd), st.integers(0, 2 * top - 1)), size


def tensor_of(dtype: str, shape: list[int], elements: list[int], size: int) -> Tensor:
    raw = torch.from_numpy(np.array(elements, dtype=f"<u{size}").view(np.uint8))
    return raw.view(getattr(torch, dtype)).reshape(shape) if elements else torch.empty(shape, dtype=torch_type(dtype))


def torch_type(dtype: str) -> torch.dtype:
    return getattr(torch, dtype)


@st.composite
def tensors(draw: Any, dtype: str) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    parts = 2 if dtype in COMPLEX else 1
    count = int(np.prod(shape, dtype=int)) * parts
    element, size = words(dtype)
    if count > 24:
        elements = draw(st.lists(element, min_size=24, max_size=24)) * (count // 24 + 1)
    else:
        elements = draw(st.lists(element, min_size=count, max_size=count))
    return tensor_of(dtype, shape, elements[:count], size)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_tensor_survives_nested_json_bit_for_bit_with_one_nan(dtype):
    @CHEAP
    @given(tensors(dtype))
    def check(tensor):
        assert bits(with_one_nan(through_json(tensor))) == bits(with_one_nan(tensor))

    check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_tensor_survives_base64_bit_for_bit_with_every_nan(dtype):
    @CHEAP
    @given(tensors(dtype))
    def check(tensor):
        assert bits(through_json(tensor, "base64")) == bits(tensor)

    check()


@BROAD
@given(st.sampled_from(DTYPES).flatmap(tensors))
def test_base64_is_the_little_endian_bytes_in_row_major_order(tensor):
    through = strictly(orjson.dumps(write_tensor(tensor, "base64")))
    assert base64.b64decode(through["data"], validate=True) == bits(tensor)[2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_value_of_a_sixteen_bit_float_survives_json(dtype):
    every = torch.from_numpy(np.arange(2**16, dtype=np.uint16)).view(torch_type(dtype))
    assert bits(with_one_nan(through_json(every))) == bits(with_one_nan(every))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_every_value_of_a_small_integer_survives_json(dtype):
    limits = torch.iinfo(torch_type(dtype))
    every = torch.arange(limits.min, limits.max + 1).to(torch_type(dtype))
    written = strictly(orjson.dumps(write_tensor(every)))
    assert written["data"] == list(range(limits.min, limits.max + 1))
    assert bits(read(written)) == bits(every)


def test_the_data_is_nested_exactly_to_the_shape():
    tensor = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4)
    written = strictly(orjson.dumps(write_tensor(tensor)))
    assert written == {"dtype": "float64", "shape": [2, 3, 4], "data": np.arange(24.0).reshape(2, 3, 4).tolist()}


@pytest.mark.parametrize(
    ("shape", "data"),
    [([], 1.0), ([1], [1.0]), ([0], []), ([0, 3], []), ([3, 0], [[], [], []]), ([2, 0, 5], [[], []])],
)
def test_scalars_and_zero_size_axes_have_their_nesting(shape, data):
    written = strictly(orjson.dumps(write_tensor(torch.ones(shape, dtype=torch.float64))))
    assert written == {"dtype": "float64", "shape": shape, "data": data}


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in COMPLEX])
@pytest.mark.parametrize("encoding", ["nested", "base64"])
def test_a_tensor_of_64_axes_survives(dtype, encoding):
    tensor = torch.ones([1] * 64).to(torch_type(dtype))
    assert bits(through_json(tensor, encoding)) == bits(tensor)


@pytest.mark.parametrize("dtype", COMPLEX)
def test_a_complex_tensor_of_64_axes_is_answered_or_refused_and_no_error_of_the_service(post, dtype):
    """The pairs make a 65th axis in its JSON."""
    data = base64.b64encode(bits(torch.ones(1, dtype=torch_type(dtype)))[2]).decode()
    sent = {"dtype": dtype, "shape": [1] * 64, "encoding": "base64", "data": data}
    response = post("forward", graph="y = x", inputs={"x": sent})
    assert (response.status_code, response.json().get("code")) in [(200, None), (422, "limit_exceeded")]


# How numbers print


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1, "0.1"), (1 / 3, "0.33333334"), (16777216.0, "16777216.0"), (1e-45, "1e-45"), (3.4028235e38, "3.4028235e38")],
)
def test_float32_prints_in_its_shortest_form(number, text):
    printed = orjson.dumps(write_tensor(torch.tensor([number], dtype=torch.float32))["data"]).decode()
    assert Decimal(printed[1:-1]) == Decimal(text)
    assert len(printed) <= len(text) + 4


@pytest.mark.parametrize(("dtype", "kind"), [("float32", np.float32), ("float64", np.float64)])
def test_no_float_prints_with_more_digits_than_it_needs(dtype, kind):
    element, size = words(dtype)

    @CHEAP
    @given(element)
    def check(word):
        tensor = tensor_of(dtype, [], [word], size)
        if tensor.isfinite():
            printed = Decimal(orjson.dumps(write_tensor(tensor)["data"]).decode())
            shortest = Decimal(np.format_float_scientific(kind(tensor.item()), unique=True))
            assert len(printed.normalize().as_tuple().digits) == len(shortest.normalize().as_tuple().digits)

    check()


def test_a_float32_whose_shortest_digits_lie_near_a_tie_reads_back_to_itself():
    """Every finite value reads back bit for bit. Through float64 on the way, 7.038531e-26 rounds to the neighbour."""
    tensor = torch.from_numpy(np.array([0x15AE43FD], dtype=np.uint32)).view(torch.float32)
    assert orjson.dumps(write_tensor(tensor)["data"]) == b"[7.038531e-26]"
    assert bits(through_json(tensor)) == bits(tensor)


def test_non_finite_numbers_are_words_and_everything_else_stays_a_number():
    tensor = torch.tensor([[float("nan"), 1.0], [float("inf"), -float("inf")]], dtype=torch.float64)
    assert strictly(orjson.dumps(write_tensor(tensor)))["data"] == [["NaN", 1.0], ["Infinity", "-Infinity"]]


def test_a_negative_zero_keeps_its_sign_in_json():
    assert orjson.dumps(write_tensor(torch.tensor([-0.0, 0.0], dtype=torch.float64))["data"]) == b"[-0.0,0.0]"


def test_complex_numbers_are_pairs_that_the_shape_does_not_count():
    tensor = torch.tensor([complex(1, -2), complex(float("nan"), float("-inf"))], dtype=torch.complex128)
    assert strictly(orjson.dumps(write_tensor(tensor))) == {
        "dtype": "complex128",
        "shape": [2],
        "data": [[1.0, -2.0], ["NaN", "-Infinity"]],
    }


# Lazy and strided tensors


def lazy_tensors() -> dict[str, tuple[Tensor, Any]]:
    """Tensors that do not hold their values as they are, and those values."""
    z = torch.tensor([complex(1, 2), complex(-3, 0.5)], dtype=torch.complex128)
    return {
        "conjugate": (z.conj(), [1 - 2j, -3 - 0.5j]),
        "negated imaginary part": (z.conj().imag, [-2.0, -0.5]),
        "conjugate transpose": (z.reshape(2, 1).mH, [[1 - 2j, -3 - 0.5j]]),
        "real zeros": (torch._efficientzerotensor((2, 3), dtype=torch.float64), [[0.0] * 3] * 2),
        "complex zeros": (torch._efficientzerotensor((2,), dtype=torch.complex64), [0j, 0j]),
        "conjugate of zeros": (torch._efficientzerotensor((2,), dtype=torch.complex64).conj(), [0j, 0j]),
        "imaginary part of zeros": (torch._efficientzerotensor((2,), dtype=torch.complex64).imag, [0.0, 0.0]),
        "requires grad": (torch.tensor([1.5], requires_grad=True), [1.5]),
        "view of a leaf": (torch.ones(2, 3, requires_grad=True)[:, 1], [1.0, 1.0]),
    }


def test_the_lazy_tensors_of_these_tests_are_lazy():
    made = {kind: tensor for kind, (tensor, _) in lazy_tensors().items()}
    assert made["conjugate"].is_conj()
    assert made["negated imaginary part"].is_neg()
    assert made["real zeros"]._is_zerotensor()
    assert made["conjugate of zeros"]._is_zerotensor()


@pytest.mark.parametrize("encoding", ["nested", "base64"])
@pytest.mark.parametrize("kind", lazy_tensors())
def test_a_lazy_tensor_is_written_with_its_values(kind, encoding):
    tensor, values = lazy_tensors()[kind]
    assert bits(through_json(tensor, encoding)) == bits(torch.tensor(values, dtype=tensor.dtype))


def test_a_conjugate_is_written_with_its_imaginary_parts_negated():
    tensor = torch.tensor([complex(1, 2)], dtype=torch.complex128)
    assert strictly(orjson.dumps(write_tensor(tensor.conj())))["data"] == [[1.0, -2.0]]
    assert strictly(orjson.dumps(write_tensor(tensor.conj().imag)))["data"] == [-2.0]


@pytest.mark.parametrize("graph", ["y = x.conj()", "y = x.conj().imag", "y = x.mH", "y = x.imag.T"])
def test_a_lazy_view_is_answered_with_its_values(answer, graph):
    z = torch.tensor([[complex(1, 2), complex(3, -4)]], dtype=torch.complex128)
    expected = {"y = x.conj()": z.numpy().conj(), "y = x.conj().imag": -z.numpy().imag}
    expected |= {"y = x.mH": z.numpy().conj().T, "y = x.imag.T": z.numpy().imag.T}
    sent = {"dtype": "complex128", "data": [[[1, 2], [3, -4]]]}
    result = answer("forward", graph=graph, inputs={"x": sent})["outputs"]["y"]
    assert np.array_equal(read(result).numpy(), expected[graph])


def strided(kind: str, dtype: str) -> Tensor:
    base = (torch.arange(24).reshape(4, 6) % 2 if dtype == "bool" else torch.arange(24).reshape(4, 6)).to(
        torch_type(dtype)
    )
    return {
        "transposed": base.T,
        "every other column": base[:, ::2],
        "a column": base[:, 1],
        "an element": base[2, 3],
        "expanded": base[:, :1].expand(4, 3),
        "expanded scalar": base[1, 1].expand(2, 2),
        "nothing of it": base[:, 3:3],
    }[kind]


KINDS = ["transposed", "every other column", "a column", "an element", "expanded", "expanded scalar", "nothing of it"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_strided_tensor_is_written_in_row_major_order(kind, dtype):
    tensor = strided(kind, dtype)
    expected = torch.tensor(tensor.tolist(), dtype=tensor.dtype).reshape(tensor.shape)
    assert bits(through_json(tensor)) == bits(expected)
    assert bits(through_json(tensor, "base64")) == bits(expected)


# What may be sent


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ([1, 2.5, 3], torch.tensor([1, 2.5, 3], dtype=torch.float64)),
        ([1, 2], torch.tensor([1, 2], dtype=torch.float64)),
        (7, torch.tensor(7, dtype=torch.float64)),
        ("-Infinity", torch.tensor(-float("inf"), dtype=torch.float64)),
        (True, torch.tensor(True)),
        ([[True], [False]], torch.tensor([[True], [False]])),
        ([[[1]], [[2]]], torch.tensor([[[1]], [[2]]], dtype=torch.float64)),
        ([], torch.empty(0, dtype=torch.float64)),
        ([[], []], torch.empty(2, 0, dtype=torch.float64)),
        ({"data": [True, False]}, torch.tensor([True, False])),
        ({"data": [[1, 2]]}, torch.tensor([[1, 2]], dtype=torch.float64)),
    ],
)
def test_numbers_without_a_dtype_are_float64_and_booleans_bool(short, expected):
    assert bits(read(short)) == bits(expected)


@pytest.mark.parametrize(
    ("declared", "short", "expected"),
    [
        ("float32", [0.1, "NaN"], np.array([0.1, np.nan], np.float32)),
        ("int64", [[1, -2]], np.array([[1, -2]], np.int64)),
        ("int32", [1.0, -0.0], np.array([1, 0], np.int32)),
        ("uint64", [2**64 - 1], np.array([2**64 - 1], np.uint64)),
        ("complex64", [[1, -2], [0, "Infinity"]], np.array([1 - 2j, complex(0, np.inf)], np.complex64)),
        ("complex128", [1, 2], np.array(1 + 2j)),
        ("bool", [False, True], np.array([False, True])),
    ],
)
def test_the_short_form_takes_the_declared_dtype(declared, short, expected):
    assert bits(read(short, torch_type(declared))) == bits(torch.from_numpy(expected))


def test_the_short_form_takes_the_dtype_that_the_graph_declares(answer):
    result = answer("forward", graph="x: int64[2]; y = x", inputs={"x": [1, 2]})
    assert result["outputs"]["y"]["dtype"] == "int64"


def test_a_dtype_that_the_tensor_names_itself_stands_above_the_declared_one():
    assert read({"dtype": "float32", "data": [1]}, torch.float64).dtype == torch.float32


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"dtype": "float64", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}, np.arange(1.0, 7).reshape(2, 3)),
        ({"dtype": "int16", "shape": [3, 1, 2], "data": list(range(6))}, np.arange(6, dtype="i2").reshape(3, 1, 2)),
        ({"dtype": "bool", "shape": [2, 1], "data": [True, False]}, np.array([[True], [False]])),
        ({"dtype": "complex128", "shape": [2], "data": [1, 2, 3, 4]}, np.array([1 + 2j, 3 + 4j])),
        ({"dtype": "complex128", "shape": [1, 2], "data": [1, 2, 3, 4]}, np.array([[1 + 2j, 3 + 4j]])),
        ({"shape": [2, 2], "data": [1, 2, 3, 4]}, np.array([[1.0, 2], [3, 4]])),
        ({"dtype": "float64", "shape": [], "data": 3}, np.array(3.0)),
        ({"dtype": "float64", "shape": [2, 0], "data": []}, np.empty((2, 0))),
        ({"dtype": "complex128", "shape": [0, 2], "data": []}, np.empty((0, 2), complex)),
    ],
)
def test_flat_data_fills_the_shape_in_row_major_order(document, expected):
    assert bits(read(document)) == bits(torch.from_numpy(expected))


@BROAD
@given(st.sampled_from(DTYPES).flatmap(tensors).filter(lambda tensor: tensor.numel() > 0))
def test_the_shape_may_be_left_out_of_nested_data(tensor):
    written = strictly(orjson.dumps(write_tensor(tensor)))
    del written["shape"]
    assert bits(with_one_nan(read(written))) == bits(with_one_nan(tensor))


@BROAD
@given(st.sampled_from(DTYPES).flatmap(tensors))
def test_flat_data_is_the_same_tensor_as_nested_data(tensor):
    flat = torch.view_as_real(tensor).reshape(-1) if tensor.is_complex() else tensor.reshape(-1)
    written = strictly(orjson.dumps(write_tensor(tensor)))
    written["data"] = strictly(orjson.dumps(write_tensor(flat)))["data"]
    assert bits(with_one_nan(read(written))) == bits(with_one_nan(tensor))


def test_base64_of_the_design_reads_as_one_and_two():
    document = {"dtype": "float32", "shape": [2], "encoding": "base64", "data": "AACAPwAAAEA="}
    assert bits(read(document)) == bits(torch.tensor([1.0, 2.0], dtype=torch.float32))


@pytest.mark.parametrize("integer", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_int64_beyond_what_a_double_holds_is_exact(answer, integer):
    sent = {"dtype": "int64", "shape": [1], "data": [integer]}
    assert answer("forward", graph="y = x", inputs={"x": sent})["outputs"]["y"]["data"] == [integer]


@pytest.mark.parametrize("digits", ["100000000000000000000", "-18446744073709551617", "1" + "0" * 308])
def test_an_integer_of_more_than_64_bits_is_a_fine_float64(service, digits):
    body = f'{{"graph": "y = x", "inputs": {{"x": [{digits}]}}}}'
    response = service.post("/v1/forward", content=body)
    assert response.json()["outputs"]["y"] == {"dtype": "float64", "shape": [1], "data": [float(digits)]}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("number", [0.1, 1e-7, 65504.0, 1 + 2**-11, 1 + 2**-8, 1e-50])
def test_a_decimal_rounds_to_the_nearest_value_as_torch_rounds_it(dtype, number):
    expected = torch.tensor([number], dtype=torch.float64).to(torch_type(dtype))
    assert bits(read({"dtype": dtype, "data": [number]})) == bits(expected)


def test_the_answer_comes_in_base64_when_asked(answer):
    result = answer("backward", graph="y = x * x", inputs={"x": 3}, encoding="base64")
    gradient = result["gradients"]["x"]
    assert gradient == {"dtype": "float64", "shape": [], "encoding": "base64", "data": "AAAAAAAAGEA="}
    assert np.frombuffer(base64.b64decode(gradient["data"]), "<f8").tolist() == [6.0]


# What is refused

DEEP = "[" * 66 + "1" + "]" * 66


def full(dtype: str, shape: str | None, data: str, encoding: str | None = None) -> str:
    parts = [f'"dtype": "{dtype}"' if dtype else "", f'"shape": {shape}' if shape else ""]
    parts += [f'"encoding": "{encoding}"' if encoding else "", f'"data": {data}']
    return "{" + ", ".join(part for part in parts if part) + "}"


REFUSED = {
    "ragged rows": ("[[1, 2], [3]]", "ragged_data", "/1"),
    "ragged in depth, deeper later": ("[1, [2]]", "ragged_data", "/1"),
    "ragged in depth, shallower later": ("[[1], 2]", "ragged_data", "/1"),
    "ragged at the third level": ("[[[1, 2], [3, 4]], [[5, 6], [7]]]", "ragged_data", "/1/1"),
    "ragged number at the third level": ("[[[1], [2]], [[3], 4]]", "ragged_data", "/1/1"),
    "ragged list at the third level": ("[[1, 2], [3, [4]]]", "ragged_data", "/1/1"),
    "ragged at the fourth level": ("[[[[1], [2]]], [[[3], [4, 5]]]]", "ragged_data", "/1/0/1"),
    "ragged by an empty list": ("[[1], []]", "ragged_data", "/1"),
    "ragged full data": (full("float32", None, "[[1, 2], [3]]"), "ragged_data", "/data/1"),
    "ragged complex pair": (full("complex64", None, "[[1, 2], [3]]"), "ragged_data", "/data/1"),
    "too few flat": (full("float64", "[2, 2]", "[1, 2, 3]"), "wrong_count", "/data"),
    "too many flat": (full("float64", "[2]", "[1, 2, 3]"), "wrong_count", "/data"),
    "scalar for a vector": (full("float64", "[2]", "1"), "wrong_count", "/data"),
    "nothing for a scalar": (full("float64", "[]", "[]"), "wrong_count", "/data"),
    "something in a zero-size shape": (full("float64", "[0]", "[1]"), "wrong_count", "/data"),
    "too many empty rows": (full("float64", "[2, 0]", "[[], [], []]"), "wrong_count", "/data"),
    "transposed nesting": (full("float64", "[2, 3]", "[[1, 2], [3, 4], [5, 6]]"), "wrong_count", "/data"),
    "half-flat nesting": (full("float64", "[2, 2, 2]", "[[1, 2, 3, 4], [5, 6, 7, 8]]"), "wrong_count", "/data"),
    "an extra level": (full("float64", "[2]", "[[1, 2]]"), "wrong_count", "/data"),
    "flat real data for complex": (full("complex128", "[2]", "[1, 2]"), "wrong_count", "/data"),
    "complex triple": (full("complex128", None, "[[1, 2, 3]]"), "wrong_count", "/data"),
    "complex without pairs": (full("complex64", None, "[1, 2, 3]"), "wrong_count", "/data"),
    "complex number alone": (full("complex64", None, "1"), "wrong_count", "/data"),
    "a word": ('["one"]', "invalid_element", "/0"),
    "nan in small letters": ('[1, "nan"]', "invalid_element", "/1"),
    "inf cut short": ('[[1], ["Inf"]]', "invalid_element", "/1/0"),
    "plus infinity": ('["+Infinity"]', "invalid_element", "/0"),
    "a number as a string": ('["1.0"]', "invalid_element", "/0"),
    "an empty string": ('""', "invalid_element", ""),
    "a word in full data": (full("float16", None, '[0, [], "x"]'), "ragged_data", "/data/1"),
    "null": ("[1, null]", "invalid_element", "/1"),
    "null alone": ("null", "invalid_element", ""),
    "null in full data": (full("float64", "[1]", "[null]"), "invalid_element", "/data/0"),
    "true among floats": ("[1.5, true]", "invalid_element", "/1"),
    "a float among booleans": ("[true, 1.5]", "invalid_element", "/0"),
    "true in int64": (full("int64", None, "[1, true]"), "invalid_element", "/data/1"),
    "one in bool": (full("bool", None, "[true, 1]"), "invalid_element", "/data/1"),
    "an object among numbers": ('[1, {"a": 2}]', "invalid_element", "/1"),
    "half in int64": (full("int64", None, "[[1, 2], [3, 0.5]]"), "invalid_element", "/data/1/1"),
    "infinity in int64": (full("int64", None, '[1, "Infinity"]'), "invalid_element", "/data/1"),
    "an inexact integer in int64": (full("int64", None, "[1e17]"), "invalid_element", "/data/0"),
    "300 in uint8": (full("uint8", None, "[255, 300]"), "value_out_of_range", "/data/1"),
    "128 in int8": (full("int8", None, "[127, 128]"), "value_out_of_range", "/data/1"),
    "-129 in int8": (full("int8", None, "[-128, -129]"), "value_out_of_range", "/data/1"),
    "-1 in uint64": (full("uint64", None, "[[0], [-1]]"), "value_out_of_range", "/data/1/0"),
    "2**64 in uint64": (full("uint64", None, "[18446744073709551616]"), "value_out_of_range", "/data/0"),
    "2**63 in int64": (full("int64", None, "[9223372036854775808]"), "value_out_of_range", "/data/0"),
    "2.0**31 in int32": (full("int32", None, "[2147483648.0]"), "value_out_of_range", "/data/0"),
    "1e999": ("[1, 1e999]", "value_out_of_range", "/1"),
    "-1e999 beside a real infinity": ('["-Infinity", -1e999]', "value_out_of_range", "/1"),
    "1e999 beside a nan": ('["NaN", 1e999]', "value_out_of_range", "/1"),
    "10**309": (f"[[1], [1{'0' * 309}]]", "value_out_of_range", "/1/0"),
    "an integer of 5000 digits": (f"[1, {'1' * 5000}]", "value_out_of_range", "/1"),
    "1e39 in float32": (full("float32", None, "[1e38, 1e39]"), "value_out_of_range", "/data/1"),
    "-1e39 in float32": (full("float32", None, "-1e39"), "value_out_of_range", "/data"),
    "1e39 in bfloat16": (full("bfloat16", None, "[[1e39]]"), "value_out_of_range", "/data/0/0"),
    "3.4e38 in bfloat16": (full("bfloat16", None, "[3.4e38]"), "value_out_of_range", "/data/0"),
    "70000 in float16": (full("float16", None, "[65504, 70000]"), "value_out_of_range", "/data/1"),
    "1e39 in the imaginary part of complex64": (
        full("complex64", None, "[[1, 2], [3, 1e39]]"),
        "value_out_of_range",
        "/data/1/1",
    ),
    "base64 with foreign characters": (full("uint8", "[3]", '"AA!A"', "base64"), "invalid_base64", "/data"),
    "base64 without padding": (full("uint8", "[1]", '"AA"', "base64"), "invalid_base64", "/data"),
    "base64 with a line break": (full("uint8", "[3]", '"AAAA\\n"', "base64"), "invalid_base64", "/data"),
    "base64 beyond its padding": (full("uint8", "[1]", '"AA==AA=="', "base64"), "invalid_base64", "/data"),
    "base64 outside ascii": (full("uint8", "[1]", '"\\u00e9A=="', "base64"), "invalid_base64", "/data"),
    "base64 as a list": (full("uint8", "[1]", "[0]", "base64"), "invalid_base64", "/data"),
    "too few bytes": (full("float32", "[2]", '"AACAPw=="', "base64"), "wrong_count", "/data"),
    "too many bytes": (full("float32", "[]", '"AACAPwAAAEA="', "base64"), "wrong_count", "/data"),
    "bytes in a zero-size shape": (full("float32", "[0]", '"AACAPw=="', "base64"), "wrong_count", "/data"),
    "no bytes": (full("float32", "[1]", '""', "base64"), "wrong_count", "/data"),
    "a boolean byte of 2": (full("bool", "[2]", '"AQI="', "base64"), "invalid_element", "/data"),
    "base64 without a dtype": (full("", "[2]", '"AACAPwAAAEA="', "base64"), "missing_field", "/dtype"),
    "base64 without a shape": (full("float32", None, '"AACAPwAAAEA="', "base64"), "missing_field", "/shape"),
    "65 axes": (full("float64", str([1] * 65), "[1]"), "limit_exceeded", "/shape"),
    "66 levels": (DEEP, "limit_exceeded", ""),
    "65 levels": (DEEP[1:-1], "limit_exceeded", ""),
    "65 levels of complex": (full("complex64", None, DEEP.replace("1", "1, 2")), "limit_exceeded", "/data"),
    "an axis of 2**49 and a zero": (full("float64", "[562949953421312, 0]", "[]"), "limit_exceeded", "/shape"),
    "axes of 2**30 and a zero": (full("int8", "[0, 1073741824, 1073741824]", "[]"), "limit_exceeded", "/shape"),
    "an axis beyond 64 bits": (full("int8", "[0, 1180591620717411303424]", '""', "base64"), "limit_exceeded", "/shape"),
    "a gigantic shape without a zero": (full("int8", "[1099511627776]", "[1]"), "wrong_count", "/data"),
    "an unknown dtype": (full("float8", None, "1"), "invalid_field", "/dtype"),
    "an unknown encoding": (full("uint8", "[1]", '"AA=="', "hex"), "invalid_field", "/encoding"),
    "a negative size": (full("uint8", "[2, -1]", "[]"), "invalid_field", "/shape/1"),
    "a fractional size": (full("uint8", "[1.5]", "[1]"), "invalid_field", "/shape/0"),
    "a size that is true": (full("uint8", "[true]", "[1]"), "invalid_field", "/shape/0"),
    "a size by name": (full("uint8", '["n"]', "[1]"), "invalid_field", "/shape/0"),
    "a shape that is a number": (full("uint8", "1", "[1]"), "invalid_field", "/shape"),
    "no data": ('{"dtype": "uint8", "shape": [1]}', "missing_field", "/data"),
    "a misspelt field": ('{"dtpye": "uint8", "data": [1]}', "unknown_field", "/dtpye"),
}


def send(service: Any, tensor: str) -> Any:
    return service.post("/v1/forward", content=f'{{"graph": "y = x", "inputs": {{"x": {tensor}}}}}')


@pytest.mark.parametrize("case", REFUSED)
def test_a_tensor_that_does_not_fit_is_refused_with_its_place(service, case):
    tensor, code, pointer = REFUSED[case]
    response = send(service, tensor)
    problem = response.json()
    assert (response.status_code, problem["code"], problem.get("pointer")) == (422, code, f"/inputs/x{pointer}")
    assert "errors" not in problem


def test_every_tensor_that_does_not_fit_is_named_at_once(post):
    inputs = {"x": [[1], [2, 3]], "z": {"dtype": "uint8", "data": [0, 256]}, "fine": [1]}
    problem = post("forward", graph="y = x + z + fine", inputs=inputs).json()
    found = [(error["code"], error["pointer"]) for error in problem["errors"]]
    assert found == [("ragged_data", "/inputs/x/1"), ("value_out_of_range", "/inputs/z/data/1")]


def test_a_refused_element_is_shown_and_so_is_what_would_fit(service):
    problem = send(service, full("uint8", None, "[255, 300]")).json()
    assert (problem["got"], problem["expected"]) == ("300", "from 0 to 255")


def test_a_refused_infinite_number_is_not_shown_as_null(service):
    """Nothing turns into null."""
    problem = send(service, full("bool", None, "[1e999]")).json()
    assert (problem["code"], problem["got"]) == ("invalid_element", "Infinity")


def test_a_refused_element_in_process_points_into_the_tensor():
    with pytest.raises(ProblemError) as refusal:
        read({"dtype": "float64", "data": [[0], ["one"]]})
    assert refusal.value.pointer == "/data/1/0"


# A shape with a zero holds nothing, however large its other axes: neither may its answer.

GIANT = 2**42
GIANTS = {
    "sent": {"graph": "y = x", "inputs": {"x": {"dtype": "float64", "shape": [GIANT, 0], "data": []}}},
    "made": {"graph": f"y = zeros([{GIANT}, 0]) + x", "inputs": {"x": [1]}},
}
IN_LITTLE_MEMORY = """
import json, os, resource, sys
from pullback_service.engine import build_engine
from pullback_service.settings import Settings
from pullback_service.workers.base import Call

engine = build_engine(Settings())
for name, body in json.loads(sys.argv[1]).items():
    child = os.fork()
    if not child:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        reply = engine.answer(Call("forward", json.dumps(body).encode()))
        print(name, reply.status, json.loads(reply.body)["code"], flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name, "died", flush=True)
"""


@pytest.fixture(scope="module")
def giants_in_little_memory() -> dict[str, list[str]]:
    """What became of each of GIANTS in a process of little memory: the nested form is 2**42 empty lists."""
    command = [sys.executable, "-W", "ignore", "-c", IN_LITTLE_MEMORY, json.dumps(GIANTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return {name: outcome for name, *outcome in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("name", GIANTS)
def test_a_giant_shape_with_a_zero_does_not_make_a_giant_answer(giants_in_little_memory, name):
    assert giants_in_little_memory[name] == ["422", "limit_exceeded"]


# Strict JSON

NOT_JSON = {
    "a NaN token": b'{"graph": "y = x", "inputs": {"x": [NaN]}}',
    "an Infinity token": b'{"graph": "y = x", "inputs": {"x": [Infinity]}}',
    "a -Infinity token": b'{"graph": "y = x", "inputs": {"x": -Infinity}}',
    "half a surrogate pair": b'{"graph": "y = x", "inputs": {"x": "\\ud83d"}}',
    "the other half": b'{"graph": "y = x", "inputs": {"x": "\\uDE00"}}',
    "a pair the wrong way round": b'{"graph": "y = x", "inputs": {"x": "\\ude00\\ud83d"}}',
    "half a surrogate pair in a key": b'{"graph": "y = x", "inputs": {"\\ud800": 1}}',
    "a raw surrogate": b'{"graph": "\xed\xa0\x80"}',
    "a stray byte": b'{"graph": "\xff"}',
    "a character cut short": b'{"graph": "\xc3',
    "an overlong character": b'{"graph": "\xc0\xaf"}',
    "UTF-16": '{"graph": "y = x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"graph": "y = x"}',
    "nothing": b"",
    "blanks": b" \n\t ",
    "a trailing comma in an object": b'{"graph": "y = x",}',
    "a trailing comma in a list": b'{"graph": "y = x", "inputs": {"x": [1,]}}',
    "a comment": b'{"graph": "y = x" /* why */}',
    "single quotes": b"{'graph': 'y = x'}",
    "two documents": b"{} {}",
    "half a document": b'{"graph": ',
    "a control character": b'{"graph": "y = x\x01"}',
    "a leading zero": b'{"graph": "y = x", "inputs": {"x": 01}}',
    "a leading plus": b'{"graph": "y = x", "inputs": {"x": +1}}',
    "a bare point": b'{"graph": "y = x", "inputs": {"x": 1.}}',
    "hexadecimal": b'{"graph": "y = x", "inputs": {"x": 0x10}}',
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_a_body_that_is_no_strict_json_is_a_bad_request(service, case):
    response = service.post("/v1/forward", content=NOT_JSON[case])
    assert (response.status_code, response.json()["code"]) == (400, "not_json")


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_a_token_of_python_is_refused_with_the_string_to_send(service, token):
    problem = service.post("/v1/forward", content=f'{{"x": {token}}}').json()
    assert problem["got"] == token
    assert f'"{token}"' in problem["hint"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"graph": "y = x", "graph": "y = z"}', "graph"),
        (b'{"graph": "y = x", "inputs": {"x": 1, "z": 2, "x": 1}}', "x"),
        (b'{"a": [{"b": 1, "\\u0062": 2}]}', "b"),
    ],
)
def test_a_key_that_stands_twice_is_a_bad_request(service, body, key):
    response = service.post("/v1/forward", content=body)
    assert (response.status_code, response.json()["code"], response.json()["got"]) == (400, "duplicate_key", key)


def test_a_doubled_key_that_is_no_character_is_a_bad_request_too(service):
    response = service.post("/v1/forward", content=b'{"\\ud800": 1, "\\ud800": 2}')
    assert response.status_code == 400
    assert response.json()["code"] in ("duplicate_key", "not_json")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_body_nested_100_000_deep_is_too_deep(service, opening, closing):
    response = service.post("/v1/forward", content=opening * 100_000 + "1" + closing * 100_000)
    assert (response.status_code, response.json()["code"]) == (422, "too_deep")


@pytest.mark.parametrize("depth", [300, 900, 980, 1000, 3000])
@pytest.mark.parametrize("place", ['{"graph": "y = x", "inputs": {"x": %s}}', '{"graph": {"nodes": [%s]}}', "%s"])
def test_nesting_of_any_depth_is_refused_and_no_error_of_the_service(service, place, depth):
    response = service.post("/v1/forward", content=place % ("[" * depth + "1" + "]" * depth))
    assert response.status_code == 422


def test_a_tensor_nested_100_000_deep_is_too_deep(service):
    response = send(service, "[" * 100_000 + "1" + "]" * 100_000)
    assert (response.status_code, response.json()["code"]) == (422, "too_deep")


def test_what_does_not_parse_is_quoted_with_a_caret_under_the_place(service):
    problem = service.post("/v1/forward", content=b'{"graph": "y = x",\n "inputs": }').json()
    line, caret = problem["excerpt"].split("\n")
    assert line == ' "inputs": }'
    assert line[caret.index("^")] == "}"


def test_a_whole_surrogate_pair_is_a_character():
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_parsed(kind):
    assert parse_json(kind(b'{"a": [1, 2.5, null, true, "\\u00e9"]}')) == {"a": [1, 2.5, None, True, "\u00e9"]}


def test_integers_keep_all_their_digits():
    assert parse_json(b"[18446744073709551615, 100000000000000000000]") == [2**64 - 1, 10**20]
