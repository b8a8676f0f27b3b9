"""Requests that come again in base64 and in files: known and answered together as those in numbers are."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest
import torch
from torch import Tensor

from pullback_schemas.safetensors import Stored, head_of, write
from pullback_schemas.safetensors import read as read_file
from pullback_service.engine import Engine, build_engine
from pullback_service.forms import PLAIN, Form, Forms
from pullback_service.program.types import DTYPE_NAMES, DTYPES
from pullback_service.protocols.native_safetensors import STORED_DTYPES, STORED_NAMES
from pullback_service.protocols.raw import from_raw, to_raw
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_ROOM, Call, Reply

LESSONS = 4
"""Requests after which a graph is known, if it can be."""

IN_BYTES = ["base64", "file"]
FORMS = ["numbers", *IN_BYTES]
SQUARE = torch.tensor([[1.0, -2.0], [3.0, 4.5]], dtype=torch.float64)
MEDIA = {"numbers": Form.JSON, "base64": Form.JSON, "file": Form.SAFETENSORS}


def new_engine() -> Engine:
    made = build_engine(Settings(worker_kind="inline"))
    made.settle(threads=1, is_alone=True)
    return made


@pytest.fixture(scope="module")
def engine() -> Engine:
    return new_engine()


def in_form(
    sent: str, wanted: str, graph: Any, inputs: dict[str, Tensor], vectors: dict[str, Tensor], **more: Any
) -> Call:
    """A request for gradients, or without vectors for values, its tensors and those of its answer in these forms."""
    stored: dict[str, Stored] = {}

    def put(key: str, tensor: Tensor) -> dict[str, Any]:
        if sent == "numbers":
            return {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data": tensor.tolist()}
        raw = bytes(to_raw(tensor.contiguous()))
        if sent == "file":
            stored[key] = Stored(STORED_NAMES[tensor.dtype], tuple(tensor.shape), raw)
            return {"tensor": key}
        shown = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "encoding": "base64"}
        return {**shown, "data": base64.b64encode(raw).decode()}

    body = {
        "graph": graph,
        "inputs": {name: put(f"i{name}", tensor) for name, tensor in inputs.items()},
        "grad_tensors": {name: put(f"v{name}", tensor) for name, tensor in vectors.items()},
        **({"encoding": "base64"} if wanted == "base64" else {}),
        **more,
    }
    if not vectors:
        del body["grad_tensors"]
    return as_call(body, stored, sent, wanted, "backward" if vectors else "forward")


def as_call(
    body: dict[str, Any], stored: dict[str, Stored], sent: str, wanted: str = "numbers", operation: str = "backward"
) -> Call:
    text = json.dumps(body)
    data = b"".join(write({"request": text}, stored)) if sent == "file" else text.encode()
    forms = Forms(MEDIA[sent], MEDIA[wanted])
    return Call(operation, data, forms=PLAIN if forms == PLAIN else forms)


def document(reply: Reply, wanted: str = "numbers") -> Any:
    answer = json.loads(read_file(reply.body)[0]["result"] if wanted == "file" and reply.status == 200 else reply.body)
    assert reply.status == 200, answer
    return answer


def found_in(reply: Reply, wanted: str) -> dict[str, dict[str, Tensor]]:
    """Outputs and gradients by name."""
    answer = document(reply, wanted)
    stored = read_file(reply.body)[1] if wanted == "file" else {}

    def read(value: dict[str, Any]) -> Tensor:
        if "tensor" in value:
            dtype, shape, data = stored.pop(value["tensor"])
            assert (STORED_DTYPES[dtype], list(shape)) == (DTYPES[value["dtype"]], value["shape"])
            return from_raw(data, STORED_DTYPES[dtype], shape)
        if "encoding" in value:
            return from_raw(base64.b64decode(value["data"], validate=True), DTYPES[value["dtype"]], value["shape"])
        return torch.tensor(value["data"], dtype=DTYPES[value["dtype"]]).reshape(value["shape"])

    fields = [field for field in ("outputs", "gradients") if field in answer]
    found = {field: {name: read(value) for name, value in answer[field].items()} for field in fields}
    assert not stored
    return found


def repeat(engine: Engine, asked: Call) -> Reply:
    """The reply to a request that has come often."""
    for _ in range(LESSONS):
        engine.answer(asked)
        engine.practise()
    return engine.answer(asked)


def is_a_repeat(reply: Reply) -> bool:
    """Whether nothing but numbers was read."""
    return "plan" not in reply.server_timing


def same(told: Reply, expected: Reply) -> bool:
    """Whether two answers say the same, but for how they were come by."""
    if (told.status, expected.status) != (200, 200):
        return (told.status, told.body) == (expected.status, expected.body)
    return {**document(told), "meta": None} == {**document(expected), "meta": None}


@pytest.mark.parametrize("wanted", FORMS)
@pytest.mark.parametrize("sent", FORMS)
def test_requests_in_every_form_are_learnt_and_answered_together(engine, sent, wanted):
    def asked(k: int) -> Call:
        return in_form(sent, wanted, "y = relu(x * x)", {"x": SQUARE + k}, {"y": SQUARE * k})

    assert repeat(engine, asked(1)).rides
    numbers = [2, 1, 2, 3, 4, 5]
    replies = [engine.answer(asked(numbers[0])), *engine.answer_all([asked(k) for k in numbers[1:]])]
    assert [document(reply, wanted)["meta"].get("together") for reply in replies] == [None, *[5] * 5]
    for k, reply in zip(numbers, replies, strict=True):
        x = (SQUARE + k).requires_grad_()
        y = torch.relu(x * x)
        (gradient,) = torch.autograd.grad(y, x, SQUARE * k)
        expected = {"outputs": {"y": y.detach()}, "gradients": {"x": gradient}}
        torch.testing.assert_close(found_in(reply, wanted), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("wanted", FORMS)
@pytest.mark.parametrize("sent", FORMS)
def test_requests_for_values_alone_are_learnt_and_answered_together_too(engine, sent, wanted):
    def asked(k: int, **more: Any) -> Call:
        inputs = {"x": SQUARE + k, "n": torch.tensor(k, dtype=torch.int64)}
        return in_form(sent, wanted, "y = relu(x * x); z = n * 2; return z, y", inputs, {}, **more)

    assert repeat(engine, asked(1)).rides
    numbers = [2, 1, 2, 3, 4, 5]
    replies = [engine.answer(asked(numbers[0])), *engine.answer_all([asked(k) for k in numbers[1:]])]
    assert [document(reply, wanted)["meta"].get("together") for reply in replies] == [None, *[5] * 5]
    for k, reply in zip(numbers, replies, strict=True):
        found = found_in(reply, wanted)
        expected = {"y": torch.relu((SQUARE + k) ** 2), "z": torch.tensor(2 * k)}
        torch.testing.assert_close(found, {"outputs": expected}, rtol=1e-15, atol=0)
        meta = document(reply, wanted)["meta"]
        assert (meta["mode"], meta["forward_count"], meta["backward_count"]) == ("forward", 1, 0)
    assert not repeat(engine, asked(1, deterministic=True)).rides
    assert engine.answer_all([asked(1, deterministic=True)] * 2)[0].status == NEEDS_ROOM


def test_values_and_gradients_of_one_graph_are_not_taken_for_one_another(engine):
    body = {"graph": "y = (x * x).sum()", "inputs": {"x": [3.0, 4.0]}}
    forward, backward = (as_call(body, {}, "numbers", operation=name) for name in ("forward", "backward"))
    assert repeat(engine, forward).rides
    assert repeat(engine, backward).rides
    for reply in engine.answer_all([forward, backward, forward, backward])[::2]:
        assert same(reply, new_engine().answer(forward))
        assert "gradients" not in document(reply)
    assert document(engine.answer(backward))["gradients"]["x"]["data"] == [6, 8]
    assert engine.answer(as_call(body | {"grad_tensors": [1]}, {}, "numbers", operation="forward")).status == 422


@pytest.mark.parametrize("wanted", IN_BYTES)
@pytest.mark.parametrize("sent", IN_BYTES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_bytes_of_every_dtype_are_repeats_to_the_bit(engine, dtype, sent, wanted):
    def x_of(k: int) -> Tensor:
        return (torch.arange(6).reshape(2, 3) / 8 + k).to(DTYPES[dtype])

    def asked(k: int) -> Call:
        return in_form(sent, wanted, "y = x * x", {"x": x_of(k)}, {"y": torch.ones_like(x_of(k))})

    repeat(engine, asked(0))
    for k in range(4):
        reply, x = engine.answer(asked(k)), x_of(k)
        assert is_a_repeat(reply)
        expected = {"outputs": {"y": x * x}, "gradients": {"x": x + x}}
        torch.testing.assert_close(found_in(reply, wanted), expected, rtol=0, atol=0)


@pytest.mark.parametrize("wanted", FORMS)
@pytest.mark.parametrize("sent", IN_BYTES)
def test_tensors_of_several_dtypes_keep_their_places_in_every_form(engine, sent, wanted):
    """In a file, those whose elements are larger come first. The last input is one that nothing depends on."""
    graph = "x; k; b; w; u; y = where(b, x * k, w.sum() * x); z = w * 2.0; return y, z"

    def given(k: int) -> dict[str, Tensor]:
        return {
            "x": torch.tensor([1.5, k]),
            "k": torch.tensor([k, 2 * k], dtype=torch.int32),
            "b": torch.tensor([True, False]),
            "w": torch.tensor([k, 0.5], dtype=torch.float64),
            "u": torch.tensor([[k]], dtype=torch.float64),
        }

    def cotangents(k: int) -> dict[str, Tensor]:
        return {"y": torch.tensor([1.0, 2.0]), "z": torch.tensor([3.0, k], dtype=torch.float64)}

    def asked(k: int) -> Call:
        return in_form(sent, wanted, graph, given(k), cotangents(k))

    assert repeat(engine, asked(1)).rides
    for k, reply in enumerate(engine.answer_all([asked(k) for k in range(4)])):
        x, w = given(k)["x"].requires_grad_(), given(k)["w"].requires_grad_()
        y, z = torch.where(given(k)["b"], x * given(k)["k"], w.sum() * x), w * 2.0
        of_x, of_w = torch.autograd.grad([y, z], [x, w], list(cotangents(k).values()))
        expected = {
            "outputs": {"y": y.detach(), "z": z.detach()},
            "gradients": {"x": of_x, "w": of_w, "u": torch.zeros(1, 1, dtype=torch.float64)},
        }
        torch.testing.assert_close(found_in(reply, wanted), expected)


@pytest.mark.parametrize("wanted", FORMS)
@pytest.mark.parametrize("sent", IN_BYTES)
@pytest.mark.parametrize("odd", [(math.nan, 2.0), (math.inf, 1.0), (-math.inf, 0.0)])
def test_numbers_that_are_not_finite_are_answered_alone(engine, sent, wanted, odd):
    def asked(*x: float) -> Call:
        given = torch.tensor(x, dtype=torch.float64)
        return in_form(sent, wanted, "y = x * x", {"x": given}, {"y": torch.ones_like(given)})

    assert repeat(engine, asked(1, 2)).rides
    replies = engine.answer_all([asked(3, 4), asked(*odd), asked(5, 6)])
    assert [reply.status for reply in replies] == [200, NEEDS_ROOM, 200]
    reply = engine.answer(asked(*odd))
    if wanted == "numbers":
        assert document(reply)["outputs"]["y"]["data"] == ["NaN" if math.isnan(odd[0]) else "Infinity", odd[1] ** 2]
    else:
        y = found_in(reply, wanted)["outputs"]["y"]
        torch.testing.assert_close(y, torch.tensor(odd, dtype=torch.float64) ** 2, equal_nan=True)


HALVES = {
    "y = x * a": ([0.01, 0.02], [1.5, 1e5]),
    "y = x * a - x": ([100.0, 200.0], [1.5, 1.003]),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("graph", HALVES)
def test_half_precision_is_answered_alone_since_vmap_rounds_what_stands_beside_it(engine, graph, dtype):
    numbers, scales = HALVES[graph]
    x = torch.tensor(numbers, dtype=DTYPES[dtype])

    def asked(scale: float) -> Call:
        given = {"x": x, "a": torch.tensor(scale, dtype=torch.float64)}
        return in_form("file", "file", graph, given, {"y": torch.ones_like(x)}, wrt=["x"])

    assert not repeat(engine, asked(scales[0])).rides
    assert {reply.status for reply in engine.answer_all([asked(scale) for scale in scales])} == {NEEDS_ROOM}
    for scale in scales:
        leaf, a = x.clone().requires_grad_(), torch.tensor(scale, dtype=torch.float64)
        y = leaf * a if graph == "y = x * a" else leaf * a - leaf
        (gradient,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
        reply = engine.answer(asked(scale))
        assert is_a_repeat(reply)
        expected = {"outputs": {"y": y.detach()}, "gradients": {"x": gradient}}
        torch.testing.assert_close(found_in(reply, "file"), expected, rtol=0, atol=0)


@pytest.mark.parametrize("wanted", FORMS)
def test_of_many_answers_one_that_is_not_finite_is_given_alone(engine, wanted):
    def asked(x: float) -> Call:
        given = torch.tensor([x], dtype=torch.float64)
        return in_form("file", wanted, "y = exp(x)", {"x": given}, {"y": torch.ones_like(given)})

    assert repeat(engine, asked(1)).rides
    replies = engine.answer_all([asked(0), asked(1000), asked(2)])
    assert [reply.status for reply in replies] == [200, NEEDS_ROOM, 200]
    for x, reply in ((0, replies[0]), (2, replies[2])):
        assert float(found_in(reply, wanted)["outputs"]["y"]) == pytest.approx(math.exp(x), rel=1e-15)


UNUSED = [
    *[torch.zeros(2, dtype=dtype) for dtype in (torch.bfloat16, torch.float16, torch.float32)],
    *[torch.zeros(shape, dtype=torch.float64) for shape in ([], [0], [0, 2], [2, 0, 3], [1] * 64)],
]


@pytest.mark.parametrize("wanted", FORMS)
@pytest.mark.parametrize("sent", FORMS)
@pytest.mark.parametrize("u", UNUSED, ids=lambda u: f"{u.dtype} of {list(u.shape)[:3]}")
def test_zeros_for_what_no_output_depends_on_are_the_same_however_often_they_are_asked_for(engine, u, sent, wanted):
    asked = in_form(sent, wanted, "x; u; y = x * x", {"x": torch.tensor(2.0), "u": u}, {"y": torch.ones(())})
    replies = [new_engine().answer(asked), repeat(engine, asked), *engine.answer_all([asked, asked])]
    expected = {"outputs": {"y": torch.tensor(4.0)}, "gradients": {"x": torch.tensor(4.0), "u": u}}
    for reply in replies:
        if reply.status != NEEDS_ROOM:
            torch.testing.assert_close(found_in(reply, wanted), expected, rtol=0, atol=0)
            first = document(replies[0], wanted)
            assert {**document(reply, wanted), "meta": None} == {**first, "meta": None}


def test_a_constant_by_the_name_of_tensor_hides_no_other_reference(engine):
    constants = {"tensor": "NaN", "c": {"tensor": "k"}}
    graph = {"inputs": {"x": {}}, "constants": constants, "nodes": SCALED["nodes"]}

    def asked(k: float) -> Call:
        body = {"inputs": {"x": {"tensor": "k"}}, "graph": graph}
        return as_call(body, {"k": Stored("F64", (1,), struct.pack("<d", k))}, "file", operation="forward")

    repeat(engine, asked(2))
    assert document(engine.answer(asked(3)))["outputs"]["y"]["data"] == [9]


@pytest.mark.parametrize("constant", [{"tensor": "k"}, 2.0])
def test_nothing_may_follow_the_data_of_a_file_without_inputs(engine, constant):
    graph = {"inputs": {}, "constants": {"c": constant}, "nodes": [{"id": "y", "op": "mul", "args": ["$c", "$c"]}]}
    stored = {"k": Stored("F64", (1,), struct.pack("<d", 2))} if constant != 2.0 else {}
    asked = as_call({"graph": graph, "inputs": {}}, stored, "file", operation="forward")
    repeat(engine, asked)
    wrong = asked._replace(body=asked.body + b"\0")
    assert engine.answer(wrong).status == 400
    assert same(engine.answer(wrong), new_engine().answer(wrong))


@pytest.mark.parametrize("space", ["\x0b", "\x0c", "\u00a0", " ", "\n\t\r "])
@pytest.mark.parametrize("data", ['"AAAAAAAA8D8="', "1.5", "[1.5]"])
def test_only_what_json_calls_space_may_stand_before_numbers(engine, data, space):
    encoding = '"encoding": "base64", "shape": [], ' if '"' in data else ""

    def asked(space: str) -> Call:
        x = f'{{"dtype": "float64", {encoding}"data":{space}{data}}}'
        return Call("backward", f'{{"graph": "y = x.sum()", "inputs": {{"x": {x}}}}}'.encode())

    assert repeat(engine, asked("")).rides
    assert same(engine.answer(asked(space)), new_engine().answer(asked(space)))
    assert engine.answer(asked(space)).status == (200 if space.isascii() and space.strip(" \t\r\n") == "" else 400)


SCALED = {
    "inputs": {"x": {}},
    "constants": {"c": {"tensor": "c"}},
    "nodes": [{"id": "y", "op": "mul", "args": ["$x", "$c"]}],
}


def scaled(given: str, **numbers: float) -> Call:
    """A request whose constant is the tensor `c` of its file, and whose input is the one that is called `given`."""
    stored = {key: Stored("F64", (1,), struct.pack("<d", value)) for key, value in numbers.items()}
    body = {"inputs": {"x": {"tensor": given}}, "grad_tensors": {"y": {"tensor": "v"}}, "graph": SCALED}
    return as_call(body, stored, "file")


def test_constants_of_a_file_are_none_of_the_numbers_that_may_differ(engine):
    assert repeat(engine, scaled("x", x=2, v=1, c=3)).rides
    others = [{"x": 2, "v": 1, "c": 3}, {"x": 2, "v": 1, "c": 5}, {"x": 4, "v": 1, "c": 3}]
    replies = engine.answer_all([scaled("x", **other) for other in others])
    assert [reply.status for reply in replies] == [200, NEEDS_ROOM, 200]
    assert [document(replies[k])["outputs"]["y"]["data"] for k in (0, 2)] == [[6], [12]]
    assert document(engine.answer(scaled("x", **others[1])))["outputs"]["y"]["data"] == [10]


def test_a_tensor_of_a_file_that_is_an_input_and_a_constant_is_both_in_every_request(engine):
    repeat(engine, scaled("c", v=1, c=2))
    for c in (2.0, 3.0):
        answer = document(engine.answer(scaled("c", v=1, c=c)))
        assert (answer["outputs"]["y"]["data"], answer["gradients"]["x"]["data"]) == ([c * c], [c])


def test_what_must_not_fail_costs_no_answer_and_is_not_tried_again(engine, monkeypatch, caplog):
    """A fault that nobody knows of yet."""
    asked = as_call({"graph": "y = x * x * x", "inputs": {"x": 2.0}}, {}, "numbers")
    known = set(engine.library.patterns.values())
    assert repeat(engine, asked).rides
    [learnt] = set(engine.library.patterns.values()) - known
    tries = []

    def fail(*_: Any) -> None:
        tries.append(1)
        raise TypeError("unknown yet")

    monkeypatch.setattr(learnt, "answer", fail)
    for _ in range(3):
        reply = engine.answer(asked)
        engine.practise()
        assert document(reply)["gradients"]["x"]["data"] == 12
        assert not reply.rides
    assert tries == [1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


SPOILT = {
    "shorter": lambda file: file[:-1],
    "longer": lambda file: file + b"\0",
    "a boolean that is 2": lambda file: file[:-1] + b"\2",
    "no data": head_of,
    "no head": lambda file: file[:4],
    "a head that does not end": lambda file: b"\xff" * 8 + file[8:],
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_wrong_gets_the_same_answer_whatever_came_before(engine, how):
    inputs = {"b": torch.tensor([True, False]), "x": torch.tensor([1.0, 2.0])}
    right = in_form("file", "numbers", "b; y = where(b, x, x * x)", inputs, {"y": torch.ones(2)})
    wrong = right._replace(body=SPOILT[how](right.body))
    assert repeat(engine, right).rides
    told = engine.answer(wrong)
    assert told.status >= 400
    assert same(told, new_engine().answer(wrong))
    assert [reply.status for reply in engine.answer_all([right, wrong, right])] == [200, NEEDS_ROOM, 200]


@pytest.mark.parametrize(
    "data", ["AAAA", "AAAAAAAA8D8", "AAAAAAAA8D8==", "AAAAAAAA8D8=AA==", "AAAAAAAA-D8=", "1.5", "", 1.5, [1.5]]
)
def test_base64_that_is_wrong_gets_the_same_answer_whatever_came_before(engine, data):
    def asked(data: Any) -> Call:
        x = {"dtype": "float64", "shape": [], "encoding": "base64", "data": data}
        return as_call({"graph": "y = x * x", "inputs": {"x": x}}, {}, "base64")

    right, wrong = asked("AAAAAAAA8D8="), asked(data)
    assert repeat(engine, right).rides
    told = engine.answer(wrong)
    assert told.status >= 400
    assert same(told, new_engine().answer(wrong))
    assert [reply.status for reply in engine.answer_all([right, wrong, right])] == [200, NEEDS_ROOM, 200]


@pytest.mark.parametrize("data", ["1.5", "15", "NaN", "Infinity", "abcd"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_a_string_where_numbers_were_gets_the_same_answer_whatever_came_before(engine, dtype, data):
    def asked(data: Any) -> Call:
        inputs = {"k": {"dtype": dtype, "shape": [], "data": data}, "x": 2.0}
        return as_call({"graph": "y = where(k > 0, x, x * x)", "inputs": inputs, "wrt": ["x"]}, {}, "numbers")

    assert repeat(engine, asked(1)).rides
    assert same(engine.answer(asked(data)), new_engine().answer(asked(data)))
    assert engine.answer_all([asked(1), asked(data), asked(1)])[1].status == NEEDS_ROOM
