"""The fast reader of JSON is right whenever it is sure, and it is sure of what is ordinary."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pullback_schemas.graphs import WrittenGraph
from pullback_schemas.problems import ProblemError, ProblemsError
from pullback_service.program.types import DTYPES
from pullback_service.protocols.fast_json import read_fast
from pullback_service.protocols.long_values import PIECE_BYTES
from pullback_service.protocols.number_arrays import Doubt
from pullback_service.protocols.strict_json import parse_json
from pullback_service.protocols.tensor_reader import read_tensor

THOROUGH = settings(max_examples=1000, deadline=None)
ODD_NUMBERS = [
    *("0", "-0", "-0.0", "1", "1.0", "2.5", "-3", "0.1", "1e22", "1E+2", "5e-324", "1e-400", "1e999", "-1e999"),
    *("9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "16777217", "16777217.000000001", "65520", "1e39", "3.4e38"),
    *("255", "256", "-1", "7.038531e-26", "1.00390625", "01", "1.", ".5", "+1", "NaN", "0x1", "1" * 400),
]
ODD_STRINGS = ['"NaN"', '"Infinity"', '"x"', '"["', '"]:["', r'"\u005b"', r'"\u003a"', r'"\n"', r'"\ud800"', '"é"']
TWICE = ['"x"', '"data"', '"inputs"', '"graph"', '"z"']

blank = st.sampled_from(["", "", "", " ", "\n", "\t "])
number = st.one_of(st.sampled_from(ODD_NUMBERS), st.integers(-300, 300).map(str), st.floats(width=32).map(json.dumps))
scalar = st.one_of(number, number, number, st.sampled_from(["true", "false", "null", *ODD_STRINGS]))


@st.composite
def arrays(draw: Any, items: st.SearchStrategy[str]) -> str:
    inside = draw(st.lists(items, max_size=4))
    return "[" + ",".join(draw(blank) + item + draw(blank) for item in inside) + "]"


@st.composite
def boxes(draw: Any) -> str:
    """Nested to a shape, and then perhaps one place of it is not."""
    shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    element = draw(st.sampled_from([number, number, st.sampled_from(["1.5", "2.25"]), st.sampled_from(["1", "7"])]))

    def build(sizes: list[int]) -> str:
        if not sizes:
            return str(draw(element))
        return "[" + ",".join(build(sizes[1:]) for _ in range(sizes[0])) + "]"

    text = build(shape)
    spoilt = draw(st.sampled_from([None, None, ("1.5", "[1.5]"), ("[", "[[],"), (",", "],["), ("7", "7,7"), ("1", "")]))
    return text.replace(*spoilt, 1) if spoilt else text


@st.composite
def objects(draw: Any, keys: list[str], values: st.SearchStrategy[str]) -> str:
    names = draw(st.lists(st.sampled_from(keys), max_size=4))
    return "{" + ",".join(f"{name}{draw(blank)}:{draw(values)}" for name in names) + "}"


data = st.one_of(boxes(), boxes(), scalar, st.recursive(scalar, arrays, max_leaves=8))
full = objects(['"dtype"', '"shape"', '"data"', '"data"'], st.one_of(data, st.just('"float32"'), st.just("[2,2]")))
leaf = st.one_of(data, data, full)
fields = st.one_of(objects(['"x"', '"y"', '"z"'], leaf), arrays(leaf), scalar)
graphs = st.one_of(st.sampled_from(['"y = x[0:1]"', r'"y = x\n"', '"y = x"']), objects(['"nodes"', '"a:b"'], leaf))
bodies = st.one_of(
    st.builds(lambda graph, inputs: f'{{"graph": {graph}, "inputs": {inputs}}}', graphs, fields),
    objects(['"graph"', '"inputs"', '"wrt"', '"x"'], st.one_of(fields, graphs)),
    leaf,
).map(str.encode)


def agree(fast: Any, strict: Any) -> bool:
    """Whether a value read fast is the one that is right."""
    if isinstance(fast, WrittenGraph):
        return agree(parse_json(fast.text), strict)
    if isinstance(fast, bytearray):
        return bool(fast == base64.b64decode(strict, validate=True))
    if isinstance(fast, np.ndarray):
        return agree(fast.tolist(), strict)
    if isinstance(fast, dict):
        return (
            isinstance(strict, dict)
            and fast.keys() == strict.keys()
            and all(agree(value, strict[key]) for key, value in fast.items())
        )
    if isinstance(fast, list):
        return isinstance(strict, list) and len(fast) == len(strict) and all(map(agree, fast, strict))
    if isinstance(fast, float) and type(strict) in (int, float):
        return fast == float(strict) and math.copysign(1, fast) == math.copysign(1, strict)
    return type(fast) is type(strict) and bool(fast == strict)


def hold_together(body: bytes) -> None:
    """What is read fast is what is read strictly, and where one problem is left for later, it is found then."""
    try:
        fast = read_fast(body)
    except Doubt:
        return
    try:
        strict = parse_json(body)
    except ProblemError as problem:  # of the graph, which is not read yet
        with pytest.raises(type(problem)):
            parse_json(fast["graph"].text)
    else:
        assert agree(fast, strict)


@THOROUGH
@given(bodies)
def test_what_is_read_fast_is_what_is_read_strictly(body):
    hold_together(body)


@THOROUGH
@given(bodies)
def test_bytes_shared_or_not_are_read_alike(body):
    def read(form: Any) -> Any:
        try:
            return repr(read_fast(form(body)).keys())
        except Doubt:
            return "doubt"

    assert read(bytes) == read(memoryview) == read(bytearray)


def outcome(value: Any, dtype: torch.dtype | None) -> Any:
    try:
        tensor: Tensor = read_tensor(value, dtype)
    except (ProblemError, ProblemsError) as error:
        return str(error)
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.dtype, tuple(tensor.shape), real.contiguous().view(torch.uint8).tolist() if real.numel() else []


@THOROUGH
@given(boxes(), st.sampled_from([None, *DTYPES.values()]))
def test_a_tensor_read_fast_has_the_bits_of_one_read_strictly(text, dtype):
    body = f'{{"inputs":{{"x":{text}}}}}'.encode()
    try:
        fast = outcome(read_fast(body)["inputs"]["x"], dtype)
    except Doubt:
        return
    assert fast == outcome(parse_json(body)["inputs"]["x"], dtype)


def told(response: Any) -> Any:
    """An answer but for what differs each time, and what counts columns."""
    document = response.json()
    document.pop("excerpt", None)
    meta = document.pop("meta", {})
    if document.get("code") == "not_json":
        document["detail"] = document["detail"].split(" at line")[0].split(": byte")[0]
    return response.status_code, document, meta.get("graph_sha256")


@settings(max_examples=300, deadline=None)
@given(objects(['"x"', '"x"', '"z"'], leaf), st.sampled_from(['"y = x * x"', '"return x"', '"y = x[0]"']))
def test_the_service_answers_alike_whichever_way_it_reads(service, inputs, graph):
    """A key that is spelt with an escape is the same key, and makes the fast reader doubt."""
    plain, escaped = (f'{{"{key}": {graph}, "inputs": {inputs}}}'.encode() for key in ("graph", r"\u0067raph"))
    with pytest.raises(Doubt):
        read_fast(escaped)
    answers = [told(service.post("/v1/forward", content=body)) for body in (plain, escaped)]
    assert answers[0] == answers[1]


ORDINARY = [
    {"graph": "y = relu(x * x)", "inputs": {"x": [1.0, -2.0, 3.0]}, "grad_tensors": {"y": [1.0, 0.5, 0.25]}},
    {"graph": "y = x[0:1]\nz = x[1]", "inputs": {"x": [[1, 2], [3, 4]]}, "grad_tensors": [[1, 0.5], None]},
    {"graph": "y = x", "inputs": {"x": {"dtype": "float32", "shape": [2], "data": [1, 2]}}, "wrt": ["x"]},
    {"graph": "y = x", "inputs": {"x": {"dtype": "bool", "data": [True]}}, "device": "cuda:0", "seed": 7},
    {
        "graph": "y = x",
        "inputs": {"x": {"dtype": "float64", "shape": [1], "encoding": "base64", "data": "AAAAAAAA8D8="}},
    },
    {"graph": {"nodes": [{"id": "y", "op": "aten::relu", "args": ["$x"]}]}, "inputs": {"x": ["NaN", 1]}},
    {"graph": "y = x", "inputs": {"x": 1}, "jacobian": {"of": ["y"], "chunk_size": 3}},
]


@pytest.mark.parametrize("body", ORDINARY, ids=lambda body: json.dumps(body)[:40])
def test_there_is_no_doubt_of_what_is_ordinary(body):
    text = json.dumps(body).encode()
    assert agree(read_fast(text), body)


def test_numbers_become_no_python_objects():
    value = read_fast(b'{"inputs":{"x":[[1.5,2],[3,4]],"n":[1,2,18446744073709551615]}}')["inputs"]
    assert [(x.dtype, x.shape) for x in value.values()] == [("float64", (2, 2)), ("uint64", (3,))]


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs":{"x":[1.0,[2.0],3.0]}}',
        '{"inputs":{"x":[[1.0,[2.0]],[3.0,4.0]]}}',
        '{"inputs":{"x":[[1.0,2.0],[3.0],[4.0,5.0,6.0]]}}',
        '{"inputs":{"x":[[[1.0,2.0],[]],[3.0,4.0]]}}',
        '{"inputs":{"x":[1.0]},"inputs":{"x":[2.0]}}',
        '{"inputs":{"x":[1.0],"x":[2.0]}}',
        '{"x":{"k":1},"x":5}',
        '{"inputs":{"x":{"data":[1.0],"data":[2.0]}}}',
        '{"graph":"y","inputs":{"x":[[1.0,[2.0]],[3.0,4.0]]},"s":"\\u005b"}',
        '{"inputs":{"x":[1e999]}}',
        "\ufeff{}",
        "[]",
        "",
    ],
)
def test_what_simdjson_passes_over_or_refuses_is_doubted(text):
    with pytest.raises(Doubt):
        read_fast(text.encode())


def test_an_array_too_long_for_simdjson_to_count_is_doubted():
    """It would write a list of more than 2^24 - 1 elements beyond its end."""
    many = b"0," * (2**24 - 1) + b"0"
    for body in (b'{"inputs":{"x":[\n[%s]]}}' % many, b'{"wrt":[["a",%s]]}' % many):
        with pytest.raises(Doubt):
            read_fast(body)


def test_an_array_that_is_read_in_pieces_may_be_longer_than_that():
    numbers = read_fast(b'{"inputs":{"x":[%s]}}' % (b"0," * 2**24 + b"7"))["inputs"]["x"]
    assert numbers.shape == (2**24 + 1,)
    assert numbers.sum() == numbers[-1] == 7


LONG_ROW = ",".join(f"{0.1 * i!r}" for i in range(5000))
SPREAD_ROW = LONG_ROW.replace(",", " ,\n")
LONG_INTEGERS = ",".join(map(str, range(-3000, 3000)))
LONG_BASE64 = base64.b64encode(bytes(range(256)) * 192).decode()
LONG_VALUES = [
    *(f"[{LONG_ROW}]", f"[{LONG_INTEGERS}]", f"[ {SPREAD_ROW} ]", f"[{LONG_INTEGERS},{LONG_ROW}]"),
    f"[{LONG_ROW},{LONG_INTEGERS}]",
    f"[{LONG_INTEGERS},9223372036854775807]",
    f"[{'7,' * 50_000}18446744073709551615]",
    f"[{'7,' * 50_000}-3,{'1.5,' * 50_000}18446744073709551615]",
    f"[{','.join(['[1.5,2,-3]'] * 9000)}]",
    f"[{', '.join(['[1, 2]', '[3, 4.5]'] * 9000)}]",
    f"[[{LONG_ROW}],[{LONG_ROW}]]",
    f"[{','.join(['[[1,2],[3,4]]', '[[5,6],[7,8]]'] * 6000)}]",
    f"[{','.join(['[1,2]', '[3,4]'] * 9000)},[5]]",
    f"[{','.join(['[1,2]', '[3,4]'] * 9000)},[5,[6]]]",
    f"[{','.join(['[1,[2]]', '[3,4]'] * 9000)}]",
    *(f"[{LONG_ROW},]", f"[{LONG_ROW},,1]", f"[{LONG_ROW},1e999]", f'[{LONG_ROW},"NaN"]', f"[{LONG_ROW},01]"),
    *(f"[{LONG_ROW}", f"[{LONG_ROW}]]", f"[[{LONG_ROW}],{LONG_ROW}]", f"[{LONG_ROW},[1],2]", f"[{LONG_ROW},null]"),
    *(f'"{LONG_BASE64}"', f'"{LONG_BASE64}QQ=="', f'"{LONG_BASE64}QQ="', f'"{LONG_BASE64}', f'"{LONG_BASE64}\n"'),
    *(f'"{LONG_BASE64}\\/\\/8="', f'"{LONG_BASE64}\\"QQ=="', f'"{LONG_BASE64}é"', f'"{LONG_BASE64}\\n"'),
    f'"see:[{LONG_ROW}]"',
    rf'"see:\"{LONG_BASE64}\""',
    f'"see:"{LONG_BASE64}""',
]
SHORT_VALUES = [
    "[1.5]",
    '"QUI="',
    '"base64"',
    '"nested"',
    '"float64"',
    '"taken 0"',
    '"taken 1"',
    r'"\u0074aken 0"',
    "null",
]

long_value = st.sampled_from(LONG_VALUES)
encoded = objects(
    ['"data"', '"data"', '"encoding"', '"dtype"', r'"d\u0061ta"'], st.one_of(long_value, st.sampled_from(SHORT_VALUES))
)
long_leaf = st.one_of(long_value, encoded, encoded, st.builds("[{}]".format, encoded))
long_bodies = st.one_of(
    objects(['"x"', '"y"', '"taken 0"'], long_leaf).map('{{"graph":"y = x","inputs":{}}}'.format),
    objects(['"graph"', '"inputs"', '"x"'], st.one_of(long_leaf, objects(['"x"', '"data"'], long_leaf))),
).map(str.encode)


@settings(max_examples=400, deadline=None)
@given(long_bodies)
def test_long_values_are_read_fast_as_they_are_read_strictly(body):
    hold_together(body)


@pytest.mark.parametrize("value", LONG_VALUES[:12] + LONG_VALUES[25:27], ids=range(14))
def test_there_is_no_doubt_of_long_values(value):
    body = f'{{"graph":"y = x","inputs":{{"x":{{"encoding":"?","data": {value}}},"z":[1.5]}}}}'.encode()
    read = read_fast(memoryview(body))
    assert isinstance(read["inputs"]["x"]["data"], np.ndarray | bytearray)
    assert agree(read, parse_json(body))


def test_a_long_list_of_tensors_is_read_as_one():
    read = read_fast(f'{{"grad_tensors":[[{LONG_ROW}],[{LONG_ROW}]]}}'.encode())["grad_tensors"]
    assert [(row.dtype, row.shape) for row in read] == [("float64", (5000,))] * 2


@pytest.mark.parametrize("body", ['{{"graph":"{}"}}', '{{"inputs":{{"x":"{}"}}}}', '{{"jacobian":{{"of":"{}"}}}}'])
def test_a_long_word_where_no_data_stands_remains_a_string(body):
    text = body.format(LONG_BASE64).encode()
    assert read_fast(text) == json.loads(text)


@pytest.mark.parametrize("stand_in", ["taken 0", "taken 1"])
@pytest.mark.parametrize("place", ["inputs", "grad_tensors"])
def test_nobody_gets_a_long_value_by_its_stand_in(stand_in, place):
    tensor = {"dtype": "float64", "shape": [6144], "encoding": "base64", "data": LONG_BASE64}
    sent = {"inputs": {"x": tensor}, "grad_tensors": {"y": tensor}, place: {"x": {**tensor, "data": stand_in}}}
    body = json.dumps(sent).encode()
    assert agree(read_fast(body), sent)
    with pytest.raises(Doubt):
        read_fast(body.replace(b'"taken', rb'"\u0074aken'))


@pytest.mark.parametrize("data", [LONG_BASE64, LONG_BASE64.replace("/", r"\/"), LONG_BASE64 + "=", "[1]" * 9000])
@pytest.mark.parametrize("encoding", ["base64", "nested"])
def test_the_service_answers_alike_to_long_base64_whichever_way_it_reads(service, data, encoding):
    tensor = f'{{"dtype":"uint8","shape":[49152],"encoding":"{encoding}","data":"{data}"}}'
    answers = [
        told(service.post("/v1/forward", content=f'{{"{key}":"y = x","inputs":{{"x":{tensor}}}}}'.encode()))
        for key in ("graph", r"\u0067raph")
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("shift", range(-6, 3))
def test_an_escape_is_found_wherever_a_shared_body_is_cut(shift):
    head = b'{"graph":"'
    body = head + b"y" * (PIECE_BYTES + shift - len(head)) + rb'\u005b"}'
    with pytest.raises(Doubt):
        read_fast(memoryview(body))
