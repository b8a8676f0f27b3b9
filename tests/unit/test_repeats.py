"""Requests that come again: what was learnt from the first ones gives autograd's numbers, to the bit."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pullback.tracing import TracingError
from pullback_conformance.judge import BITS, Case, compare, decoded, make_case
from pullback_conformance.reference import plain, refer
from pullback_conformance.samples import operators, samples_of
from pullback_service.engine import Engine, build_engine
from pullback_service.program.types import DTYPE_NAMES, DTYPES
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_ROOM, Call, Reply

SQUARE = [[1.0, -2.0], [3.0, 4.5]]

LESSONS = 4
"""Requests after which a graph is known, if it can be."""

TOGETHER = 3
INDICES = [pytest.param(index, id=op.name) for index, op in enumerate(operators(torch.float64))]
SMALL = 64
"""Elements of a sample that is sent as numbers."""

EPSILONS = 64
"""How many units in the last place numbers of many may differ."""

SCALES = (1.0, 0.5, 0.75, 0.25)
UNLIKE_ITSELF = {
    "nn.functional.gaussian_nll_loss": "it changes its variance where autograd does not look, which no graph can say"
}
NEVER_TOGETHER = {
    "nn.functional.mish": "vmap has no rule for its derivative",
    "special.log_ndtr": "vmap has no rule for its derivative",
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = build_engine(Settings(worker_kind="inline"))
    made.settle(threads=1, is_alone=True)
    return made


def zeros(flat: Tensor) -> None:
    flat.zero_()


def negative(flat: Tensor) -> None:
    flat.neg_()


def odd(flat: Tensor) -> None:
    flat[::3] = 0.0
    flat[1::5] = torch.nan
    flat[2::7] = torch.inf
    flat[3::7] = -torch.inf


def huge(flat: Tensor) -> None:
    flat.mul_(1e150)


def whole(flat: Tensor) -> None:
    flat.round_()


CHANGES: list[Callable[[Tensor], None]] = [zeros, negative, odd, huge, whole]


def changed(tensor: Tensor, change: Callable[[Tensor], None]) -> Tensor:
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    flat = tensor.detach().clone().reshape(-1)
    change(flat)
    return flat.reshape(tensor.shape).requires_grad_(tensor.requires_grad)


def ask(engine: Engine, case: Case) -> Reply:
    return engine.answer(call_of(case))


def call_of(case: Case) -> Call:
    return Call("backward", case.request(wrt=case.wrt, grad_tensors=case.cotangents()))


def learn(engine: Engine, case: Case) -> bool:
    """Whether the graph is known now."""
    for _ in range(LESSONS):
        reply = ask(engine, case)
        engine.practise()
    return "forward_backward" in reply.server_timing


def tensors(case: Case, reply: Reply) -> list[Tensor]:
    answer = json.loads(b"".join(reply.pieces or [reply.body]))
    return [
        *(read(answer["outputs"][name]) for name in case.traced.outputs),
        *(read(answer["gradients"][name]) for name in case.wrt),
    ]


def read(value: dict[str, Any]) -> Tensor:
    if "encoding" in value:
        return decoded(value)
    return torch.tensor(value["data"], dtype=DTYPES[value["dtype"]]).reshape(value["shape"])


def with_one_nan(found: list[Tensor]) -> list[Tensor]:
    """One NaN is like another."""
    return [t.where(~t.isnan(), 1234.5) if t.is_floating_point() else t for t in found]


def middle_sample(index: int) -> Any:
    samples = list(samples_of(operators(torch.float64)[index], torch.float64))
    return samples[len(samples) // 2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", INDICES)
def test_what_was_learnt_gives_autograds_bits_for_other_numbers(engine, index):
    case = make_case_or_none(middle_sample(index))
    if case is None or not learn(engine, case):
        return  # it goes the usual way, as every request did so far
    for change in CHANGES:
        if case.sample.operator in UNLIKE_ITSELF:
            continue
        other = with_numbers(case, change)
        reply = ask(engine, other)
        assert "forward_backward" in reply.server_timing
        expected = with_one_nan([*other.reference.values, *map(plain, other.reference.pull_back())])
        assert compare(with_one_nan(tensors(other, reply)), expected) == (BITS, ""), change.__name__


def with_numbers(case: Case, change: Callable[[Tensor], None]) -> Case:
    sample = dataclasses.replace(case.sample, tensors=tuple(changed(t, change) for t in case.sample.tensors))
    return Case(sample, case.traced, refer(sample))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", INDICES)
def test_together_every_operator_gives_autograds_numbers_but_for_rounding(engine, index):
    case = small_case(index)
    if case is None or not is_known(engine, case):
        return  # it goes the usual way, and alone
    cases = [with_numbers(case, lambda flat, scale=scale: flat.mul_(scale)) for scale in SCALES]
    replies = engine.answer_all([numbers_of(other) for other in cases])
    is_together = case.sample.operator not in NEVER_TOGETHER
    assert engine.answer(numbers_of(case)).rides == is_together
    for other, reply in zip(cases, replies, strict=True):
        expected = [*other.reference.values, *map(plain, other.reference.pull_back())]
        is_answered = is_together and all(bool(tensor.isfinite().all()) for tensor in expected)
        assert reply.status == (200 if is_answered else NEEDS_ROOM)
        if is_answered:
            assert_near(tensors(other, reply), expected)


def small_case(index: int) -> Case | None:
    """The first sample of few real numbers, if there is one."""
    for sample in samples_of(operators(torch.float64)[index], torch.float64):
        if all(map(is_small, sample.tensors)):
            case = make_case_or_none(sample)
            if case is not None and all(v is None or is_small(v) for v in case.reference.cotangents):
                return case
    return None


def is_small(tensor: Tensor) -> bool:
    return not tensor.is_complex() and 0 < tensor.numel() <= SMALL


def is_known(engine: Engine, case: Case) -> bool:
    """Whether a request in numbers can be answered together with others, after it has come often."""
    for _ in range(LESSONS + 1):
        reply = engine.answer(numbers_of(case))
        engine.practise()
    return reply.rides


def numbers_of(case: Case) -> Call:
    """The case's request, its tensors in numbers."""
    inputs = dict(zip(case.traced.inputs, case.sample.tensors, strict=True))
    vectors = dict(zip(case.traced.outputs, case.reference.cotangents, strict=True))
    body = {
        "graph": case.traced.graph,
        "inputs": {name: in_numbers(tensor) for name, tensor in inputs.items()},
        "wrt": case.wrt,
        "grad_tensors": {name: in_numbers(vector) for name, vector in vectors.items() if vector is not None},
    }
    return call(body)


def in_numbers(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data": tensor.tolist()}


def make_case_or_none(sample: Any) -> Case | None:
    try:
        case = make_case(sample)
    except TracingError:
        return None
    return case if case.wrt and any(v is not None for v in case.reference.cotangents) else None


def assert_near(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        finite = theirs[theirs.isfinite()].abs() if theirs.is_floating_point() else torch.zeros(0)
        scale = float(finite.max()) if finite.numel() else 0.0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14 * scale, equal_nan=True)


GRAPHS = {
    "y = relu(x * x)": {"x": SQUARE, "grad_tensors": {"y": SQUARE}},
    "y = tanh(x @ w).sum()": {"x": SQUARE, "w": SQUARE},
    "z = x.mean(); y = softmax(x, 0) * z": {"x": SQUARE, "grad_tensors": {"y": SQUARE}},
    "y = where(x > 2, exp(x), x[0]).sum()": {"x": SQUARE},
    "y = (k * x).sum()": {"x": SQUARE, "k": {"dtype": "int64", "data": 3}},
    "y = linear(x, w).reshape([4]).unsqueeze(0).sum()": {"x": SQUARE, "w": SQUARE},
}


def body_of(graph: str, **changes: Any) -> dict[str, Any]:
    fields = GRAPHS[graph] | changes
    outer = {name: fields.pop(name) for name in ("grad_tensors", "deterministic", "outputs") if name in fields}
    return {"graph": graph, "inputs": fields, **outer}


def send(engine: Engine, body: dict[str, Any]) -> Reply:
    reply = engine.answer(call(body))
    engine.practise()
    return reply


def call(body: dict[str, Any]) -> Call:
    return Call("backward", json.dumps(body).encode())


def teach(engine: Engine, body: dict[str, Any]) -> Reply:
    """The reply to a request that has come often."""
    for _ in range(LESSONS):
        send(engine, body)
    return send(engine, body)


def content(reply: Reply) -> Any:
    answer = json.loads(reply.body)
    assert reply.status == 200, answer
    return {key: value for key, value in answer.items() if key != "meta"}


@pytest.mark.parametrize("graph", GRAPHS)
def test_graphs_of_common_operators_are_learnt(engine, graph):
    first = send(engine, body_of(graph))
    last = teach(engine, body_of(graph))
    assert (first.rides, last.rides) == (False, True)
    assert content(first) == content(last)


def test_requests_together_get_each_its_own_answer_and_what_is_unlike_them_is_to_come_alone(engine):
    graph = "y = relu(x * x)"
    teach(engine, body_of(graph))
    bodies = [body_of(graph, x=[[k, 1], [2, 3]]) for k in range(6)]
    bodies[2] = body_of(graph, x=[[1, 2], [3]])
    bodies[3]["graph"] = "y = relu(x * x * x)"
    bodies[5]["jacobian"] = True
    replies = engine.answer_all([call(body) for body in bodies])
    assert [reply.status for reply in replies] == [200, 200, NEEDS_ROOM, NEEDS_ROOM, 200, NEEDS_ROOM]
    assert [json.loads(replies[k].body)["meta"]["together"] for k in (0, 1, 4)] == [3, 3, 3]
    for k in (0, 1, 4):
        assert content(replies[k]) == content(send(engine, bodies[k]))


def linear(shape: tuple[int, ...], start: float) -> Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape) / 8 + start


FUNCTIONS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "y = exp(x) * w + 2.0 * b": (lambda x, w, b: x.exp() * w + 2.0 * b, [(3, 4), (4,), ()]),
    "y = x * w; z = (x + w).sum(0); return y, z": (lambda x, w: (x * w, (x + w).sum(0)), [(2, 1, 3), (4, 1)]),
    "y = tanh(x @ w) @ v": (lambda x, w, v: torch.tanh(x @ w) @ v, [(3, 4), (4, 2), (2,)]),
    "y = x.reshape([6]); z = cat([x, x * x], 1); return y, z": (
        lambda x: (x.reshape(6), torch.cat([x, x * x], 1)),
        [(2, 3)],
    ),
    "y = softmax(x, 1).transpose(0, 1); z = x.mean(); return y, z": (
        lambda x: (x.softmax(1).transpose(0, 1), x.mean()),
        [(2, 3)],
    ),
    "c = [[1, 2], [3, 4]]; y = where(c > 2, x, x * x)": (
        lambda x: torch.where(torch.tensor([[1, 2], [3, 4]]) > 2, x, x * x),
        [(2,)],
    ),
    "y = 3.0 * x": (lambda x: 3.0 * x, [()]),
}


@pytest.mark.parametrize("count", [2, 3, 7, 64])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("text", FUNCTIONS)
def test_each_of_many_gets_the_numbers_that_autograd_gives_for_its_own(engine, text, dtype, count):
    function, shapes = FUNCTIONS[text]
    names = "xwvb" if "v" in text else "xwb"

    def body(start: float) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = [linear(s, start + k).to(DTYPES[dtype]).requires_grad_() for k, s in enumerate(shapes)]
        outputs = function(*inputs)
        outputs = dict(zip("yz", outputs if isinstance(outputs, tuple) else [outputs], strict=False))
        vectors = {name: linear(tuple(y.shape), start).to(DTYPES[dtype]) for name, y in outputs.items()}
        gradients = torch.autograd.grad(list(outputs.values()), inputs, list(vectors.values()))
        given = dict(zip(names, inputs, strict=False))
        sent = {n: in_numbers(t.detach()) for n, t in given.items()}
        asked = {"graph": text, "inputs": sent, "grad_tensors": {n: v.tolist() for n, v in vectors.items()}}
        return asked, {"outputs": outputs, "gradients": dict(zip(given, gradients, strict=True))}

    teach(engine, body(0.0)[0])
    asked = [body(-1 + k / 16) for k in range(count)]
    replies = engine.answer_all([call(sent) for sent, _ in asked])
    for reply, (_, expected) in zip(replies, asked, strict=True):
        assert json.loads(reply.body)["meta"]["together"] == count
        for field, tensors_by_name in expected.items():
            for name, tensor in tensors_by_name.items():
                got = read(json.loads(reply.body)[field][name])
                torch.testing.assert_close(got, tensor.detach(), rtol=EPSILONS * torch.finfo(got.dtype).eps, atol=0)


def test_integers_and_inputs_that_nothing_depends_on_are_answered_together_too(engine):
    def body(k: int) -> dict[str, Any]:
        return {
            "graph": "x; k; w; y = x * k",
            "inputs": {"x": [1.5, k], "k": {"dtype": "int64", "data": k}, "w": [[1]]},
        }

    bodies = [body(k) | {"grad_tensors": {"y": [1, 1]}} for k in range(4)]
    teach(engine, bodies[0])
    replies = engine.answer_all([call(body) for body in bodies])
    for k, reply in enumerate(replies):
        assert content(reply)["outputs"]["y"]["data"] == [1.5 * k, k * k]
        assert content(reply)["gradients"]["x"]["data"] == [k, k]
        assert content(reply)["gradients"]["w"]["data"] == [[0]]


@pytest.mark.parametrize(("k", "x"), [("1.5", "1"), ("1", "[1]"), ("1e999", "1"), ("1", "1e999"), ("[[1]", "[2]]")])
def test_numbers_that_cannot_be_read_cost_others_nothing(engine, k, x):
    def asked(k: str, x: str) -> Call:
        inputs = f'{{"k": {{"dtype": "int64", "data": {k}}}, "x": {x}}}'
        return Call("backward", f'{{"graph": "y = x * k", "inputs": {inputs}}}'.encode())

    for _ in range(LESSONS + 1):
        engine.answer(asked("2", "3"))
        engine.practise()
    replies = engine.answer_all([asked("2", "3"), asked(k, x), asked("4", "5")])
    assert [reply.status for reply in replies] == [200, NEEDS_ROOM, 200]
    assert [content(replies[index])["outputs"]["y"]["data"] for index in (0, 2)] == [6, 20]
    assert engine.answer(asked(k, x)).status == (200 if (k, x) == ("1", "[1]") else 400 if "[[" in k else 422)


def test_texts_that_make_sense_only_side_by_side_are_no_numbers_of_anybody(engine):
    """Two that are half a list each, and one that is two lists, would be as many rows as there are requests."""

    def asked(x: str) -> Call:
        return Call("backward", f'{{"graph": "y = x[0] * x[1]", "inputs": {{"x": {x}}}}}'.encode())

    for _ in range(LESSONS + 1):
        engine.answer(asked("[1, 2]"))
        engine.practise()
    honest = [asked("[3, 4]"), asked("[5, 6]")]
    replies = engine.answer_all([asked("[[1, 2]"), asked("[3, 4]]"), honest[0], asked("[7, 8], [9, 10]"), honest[1]])
    assert [reply.status for reply in replies] == [NEEDS_ROOM, NEEDS_ROOM, 200, NEEDS_ROOM, 200]
    assert [content(replies[index])["outputs"]["y"]["data"] for index in (2, 4)] == [12, 30]
    replies = engine.answer_all([asked("[7, 8], [9, 10]"), honest[0], asked("[]"), honest[1]])
    assert [content(replies[index])["outputs"]["y"]["data"] for index in (1, 3)] == [12, 30]


def test_a_number_that_is_not_finite_sends_only_its_own_request_back(engine):
    bodies = [{"graph": "y = exp(x)", "inputs": {"x": x}} for x in (0.0, 1000.0, 0.0)]
    teach(engine, bodies[0])
    replies = engine.answer_all([call(body) for body in bodies])
    assert [reply.status for reply in replies] == [200, NEEDS_ROOM, 200]
    assert content(replies[2])["outputs"]["y"]["data"] == 1
    assert content(engine.answer(call(bodies[1])))["outputs"]["y"]["data"] == "Infinity"


def test_a_graph_whose_constants_are_not_finite_is_answered_alone(engine):
    graph = {"constants": {"c": [1, "Infinity"]}, "nodes": [{"id": "y", "op": "div", "args": ["$x", "$c"]}]}
    body = {"graph": {"inputs": {"x": {}}, **graph}, "inputs": {"x": [2, 3]}, "grad_tensors": {"y": [1, 1]}}
    last = teach(engine, body)
    assert ("forward_backward" in last.server_timing, last.rides) == (True, False)


def test_a_deterministic_request_is_not_answered_together_with_others(engine):
    body = body_of("y = relu(x * x)", deterministic=True)
    assert not teach(engine, body).rides
    assert [reply.status for reply in engine.answer_all([call(body)] * 3)] == [NEEDS_ROOM] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"deterministic": 1},
        {"deterministic": None},
        {"x": [[1, 2], [3, True]]},
        {"x": [[1, 2], [3, "1"]]},
        {"x": [[1, 2], [3]]},
        {"x": [1, 2, 3, 4]},
        {"x": {"dtype": "float32", "data": SQUARE}},
        {"x": {"dtype": "float64", "shape": [2, 2], "data": [1, 2, 3]}},
        {"x": {"dtype": "float64", "shape": [2, 2], "encoding": "base64", "data": "AAA="}},
        {"x": 1.5},
        {"x": None},
        {"z": SQUARE},
        {"grad_tensors": {"y": SQUARE, "z": SQUARE}},
        {"grad_tensors": {"y": [[1, 2]]}},
        {"grad_tensors": {}},
        {"grad_tensors": []},
        {"grad_tensors": [SQUARE, SQUARE]},
        {"grad_tensors": None},
    ],
    ids=str,
)
def test_a_request_that_is_wrong_gets_the_same_answer_whatever_came_before(engine, change):
    graph = "y = relu(x * x)"
    body = body_of(graph, **change)
    unknown = build_engine(Settings(worker_kind="inline"))
    unknown.settle(threads=1, is_alone=True)
    teach(engine, body_of(graph))
    teach(engine, body_of(graph, deterministic=True))
    told, expected = send(engine, body), send(unknown, body)
    assert told.status == expected.status
    assert told.body == expected.body if told.status != 200 else content(told) == content(expected)


def test_requests_without_outputs_are_repeats_of_their_own(engine):
    graph = "y = relu(x * x)"
    body = body_of(graph, outputs=False)
    first, last = send(engine, body), teach(engine, body)
    assert last.rides
    assert "outputs" not in content(first)
    assert content(first) == content(last)
    whole = body_of(graph)
    assert content(teach(engine, whole))["gradients"] == content(first)["gradients"]
    replies = engine.answer_all([call(body), call(whole), call(body), call(whole)])
    assert [content(reply).get("gradients") for reply in replies] == [content(first)["gradients"]] * 4
    assert ["outputs" in content(reply) for reply in replies] == [False, True] * 2


FULL = {"dtype": "float64", "shape": [2, 2], "data": [1.5, -2, 3, 4]}


ONE, SCALAR, TWO = "y = relu(x * x)", "y = x * x; z = x.sum(); return y, z", "y = x * x; z = exp(x); return y, z"


@pytest.mark.parametrize(
    ("graph", "grad_tensors"),
    [
        *((ONE, [v]) for v in (SQUARE, FULL)),
        *((SCALAR, [v, w]) for v in (SQUARE, FULL) for w in (None, 2.5, {"dtype": "float64", "data": 2.5})),
        *((TWO, [v, w]) for v in (SQUARE, FULL) for w in (SQUARE, FULL)),
    ],
)
def test_a_list_of_grad_tensors_is_answered_as_an_object_is(engine, graph, grad_tensors):
    """Again and again, whatever of it can be learnt."""
    by_name = {name: v for name, v in zip(["y", "z"], grad_tensors, strict=False) if v is not None}
    body = {"graph": graph, "inputs": {"x": SQUARE}, "grad_tensors": grad_tensors}
    teach(engine, body)
    for x in (SQUARE, [[0.5, 2.0], [-1.0, 7.5]]):
        body["inputs"] = {"x": x}
        assert content(send(engine, body)) == content(send(engine, body | {"grad_tensors": by_name}))


@pytest.mark.parametrize("grad_tensors", [[SQUARE], [FULL]])
def test_a_list_of_one_grad_tensor_is_a_repeat_too(engine, grad_tensors):
    body = body_of("y = relu(x * x)", grad_tensors=grad_tensors)
    assert teach(engine, body).rides
    other = body_of("y = relu(x * x)", x=[[0.5, 2.0], [-1.0, 7.5]], grad_tensors=[[[4.0, 3.0], [2.0, 1.0]]])
    replies = engine.answer_all([call(other), call(body), call(other)])
    if grad_tensors == [SQUARE]:
        assert [content(reply)["gradients"]["x"]["data"] for reply in replies[::2]] == [[[4.0, 12.0], [-4.0, 15.0]]] * 2


@pytest.mark.parametrize("form", [{"data": SQUARE}, {"shape": [2, 2], "data": [1.5, -2, 3, 4]}])
def test_tensors_in_full_form_are_repeats_too(engine, form):
    graph = "y = relu(x * x)"
    body = body_of(graph, x={"dtype": "float64", **form})
    first = send(engine, body)
    last = teach(engine, body)
    assert last.rides
    assert content(first) == content(last)


def test_float32_is_rounded_once_in_repeats_too(engine):
    graph = {"inputs": {"x": {"dtype": "float32"}}, "nodes": [{"id": "y", "op": "sum", "args": ["$x"]}]}
    halfway = 1 + 2**-24 + 2**-60
    body = {"graph": graph, "inputs": {"x": [halfway, 0.1]}}
    last = teach(engine, body)
    assert last.rides
    expected = torch.tensor([1 + 2**-23, 0.1], dtype=torch.float32).sum()
    assert torch.tensor(json.loads(last.body)["outputs"]["y"]["data"]) == expected


def test_a_graph_whose_calls_depend_on_its_numbers_is_never_learnt(engine):
    for graph in ("y = x[x > 1].sum()", "y = prod(x)", "y = cumprod(x, 0).sum()", "y = linalg.inv(x).sum()"):
        body = {"graph": graph, "inputs": {"x": SQUARE}}
        assert "forward_backward" not in teach(engine, body).server_timing, graph


@pytest.mark.parametrize(
    "graph",
    ["y = x * sum(expand(x, [2, 2])[0:1, 0])", "y = x * x  # x: 1, or so", "y = x + x  # from: [1]"],
)
def test_what_looks_like_numbers_in_a_string_is_none_of_the_requests_numbers(engine, graph):
    def body(x: float) -> Call:
        return Call("backward", json.dumps({"grad_tensors": {"y": 1}, "inputs": {"x": x}, "graph": graph}).encode())

    for _ in range(LESSONS + 2):
        engine.answer(body(1))
        engine.practise()
    value = 5.0 + 5.0 if "+" in graph else 25.0
    assert json.loads(engine.answer(body(5)).body)["outputs"]["y"]["data"] == value


def test_inputs_of_dtypes_that_numpy_lacks_go_the_usual_way_in_numbers(engine):
    w = {"dtype": "bfloat16", "data": [1.0, 2.0]}
    body = {"graph": "y = x * w", "inputs": {"x": [1, 2], "w": w}, "wrt": ["x"], "grad_tensors": {"y": [1, 1]}}
    first = send(engine, body)
    assert content(teach(engine, body)) == content(first)


def test_a_request_whose_answer_has_no_tensor_is_answered_however_often_it_comes(engine):
    """No gradient, and no outputs."""
    body = {"graph": "x; y = w * w", "inputs": {"x": [1, 2], "w": [1, 3]}, "wrt": ["x"], "grad_tensors": {"y": [1, 1]}}
    body |= {"unused": "null", "outputs": False}
    assert content(teach(engine, body)) == {"gradients": {"x": None}}
    assert [content(reply) for reply in engine.answer_all([call(body)] * 3)] == [{"gradients": {"x": None}}] * 3
