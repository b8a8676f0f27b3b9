"""Requests that come again: what was learnt from the first ones gives autograd's numbers, to the bit."""

from __future__ import annotations

import dataclasses
import json
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
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_ROOM, Call, Reply

SQUARE = [[1.0, -2.0], [3.0, 4.5]]

LESSONS = 4
"""Requests after which a graph is known, if it can be."""

TOGETHER = 3
INDICES = [pytest.param(index, id=op.name) for index, op in enumerate(operators(torch.float64))]
UNLIKE_ITSELF = {
    "nn.functional.gaussian_nll_loss": "it changes its variance where autograd does not look, which no graph can say"
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
        *(decoded(answer["outputs"][name]) for name in case.traced.outputs),
        *(decoded(answer["gradients"][name]) for name in case.wrt),
    ]


def with_one_nan(found: list[Tensor]) -> list[Tensor]:
    """One NaN is like another."""
    return [t.where(~t.isnan(), 1234.5) if t.is_floating_point() else t for t in found]


def middle_sample(index: int) -> Any:
    samples = list(samples_of(operators(torch.float64)[index], torch.float64))
    return samples[len(samples) // 2]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", INDICES)
def test_what_was_learnt_gives_autograds_bits_for_other_numbers_and_together_the_same_but_for_rounding(engine, index):
    case = make_case_or_none(middle_sample(index))
    if case is None or not learn(engine, case):
        return  # it goes the usual way, as every request did so far
    for change in CHANGES:
        sample = dataclasses.replace(case.sample, tensors=tuple(changed(t, change) for t in case.sample.tensors))
        if sample.operator in UNLIKE_ITSELF:
            continue
        other = Case(sample, case.traced, refer(sample))
        reply = ask(engine, other)
        assert "forward_backward" in reply.server_timing
        expected = with_one_nan([*other.reference.values, *map(plain, other.reference.pull_back())])
        got = tensors(other, reply)
        assert compare(with_one_nan(got), expected) == (BITS, ""), change.__name__
        if reply.rides:
            replies = engine.answer_all([call_of(other)] * TOGETHER)
            for found in replies if replies[0].status != NEEDS_ROOM else []:
                assert_near(tensors(other, found), got)


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
    outer = {name: fields.pop(name) for name in ("grad_tensors", "deterministic") if name in fields}
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
    return {key: answer[key] for key in ("outputs", "gradients")}


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


@pytest.mark.parametrize("form", [{"data": SQUARE}, {"shape": [2, 2], "data": [1.5, -2, 3, 4]}])
def test_tensors_in_full_form_are_repeats_too(engine, form):
    graph = "y = relu(x * x)"
    body = body_of(graph, x={"dtype": "float64", **form}, grad_tensors=[SQUARE])
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


def test_inputs_of_dtypes_that_numpy_lacks_go_the_usual_way(engine):
    w = {"dtype": "bfloat16", "data": [1.0, 2.0]}
    body = {"graph": "y = x * w", "inputs": {"x": [1, 2], "w": w}, "wrt": ["x"], "grad_tensors": {"y": [1, 1]}}
    first = send(engine, body)
    assert content(teach(engine, body)) == content(first)
