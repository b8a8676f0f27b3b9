"""What `explain` of /v1/backward promises: the backward pass, one node at a time."""

from __future__ import annotations

import pytest
import torch

from pullback_schemas import BackwardResult


def explanation(derive, graph, **fields):
    return derive("backward", graph, explain=True, **fields)["explanation"]


def passed(visit):
    return {(p["argument"], p["reference"]): p["vector"] and p["vector"]["value"].tolist() for p in visit["passed"]}


def test_each_node_tells_what_it_received_and_what_it_passes_on(derive):
    nodes = explanation(derive, "h = x * w; y = h.sum()", inputs={"x": [2.0, 3.0], "w": [5.0, 7.0]})["nodes"]
    assert [(visit["node"], visit["op"]) for visit in nodes] == [("y", "aten.sum.default"), ("h", "aten.mul.Tensor")]
    assert nodes[0]["received"][""]["value"].tolist() == 1.0
    assert passed(nodes[0]) == {("self", "$h"): [1.0, 1.0]}
    assert nodes[1]["received"][""]["value"].tolist() == [1.0, 1.0]
    assert passed(nodes[1]) == {("self", "$x"): [5.0, 7.0], ("other", "$w"): [2.0, 3.0]}


def test_vectors_have_shape_and_norm_and_a_value_only_when_small(derive):
    x = torch.full((100,), 3.0).double()
    first, second = explanation(derive, "h = x * 4; y = h.sum()", inputs={"x": x})["nodes"]
    vector = second["passed"][0]["vector"]
    assert (vector["dtype"], vector["shape"], vector["value"]) == ("float64", [100], None)
    assert vector["norm"] == pytest.approx(40.0)
    assert first["received"][""]["value"] is not None


def test_what_comes_from_several_nodes_is_added_up(derive):
    nodes = explanation(derive, "h = x * 2; a = h * 3; b = h * 5; y = a + b", inputs={"x": 1.0})["nodes"]
    last = nodes[-1]
    assert (last["node"], last["received"][""]["value"].tolist()) == ("h", 8.0)
    assert passed(last) == {("self", "$x"): 16.0}


def test_both_places_of_one_argument_are_told_apart(derive):
    (visit,) = explanation(derive, "y = x * x", inputs={"x": 3.0})["nodes"]
    assert passed(visit) == {("self", "$x"): 3.0, ("other", "$x"): 3.0}


def test_lists_and_several_values_have_their_names(derive):
    graph = "a, b = split(x, [1, 2]); c = cat([b, a]); m = max(c, 0); y = m.values * 2"
    nodes = {visit["node"]: visit for visit in explanation(derive, graph, inputs={"x": [1.0, 5.0, 2.0]})["nodes"]}
    assert list(nodes["m"]["received"]) == ["values"]
    cat = next(visit for visit in nodes.values() if visit["op"] == "aten.cat.default")
    assert [p["argument"] for p in cat["passed"]] == ["tensors.0", "tensors.1"]
    split = next(visit for visit in nodes.values() if visit["op"].startswith("aten.split"))
    assert passed(split) == {("self", "$x"): [0.0, 2.0, 0.0]}


def test_nodes_that_no_gradient_reaches_are_left_out(derive):
    graph = "k = w * 2; h = x.detach() * 3; y = x * k + h"
    nodes = explanation(derive, graph, inputs={"x": 1.0, "w": 2.0}, wrt=["x"])["nodes"]
    assert [visit["op"] for visit in nodes] == ["aten.add.Tensor", "aten.mul.Tensor"]
    assert passed(nodes[1]) == {("self", "$x"): 4.0}


@pytest.mark.parametrize(
    "graph",
    [
        "y = linalg.solve(x @ x.mT + eye(3, dtype='float64'), x).sum()",
        "y = (x[x > 0] ** 2).sum()",
        "y = logsumexp(softmax(x, 1) @ x, 0).sum()",
    ],
)
def test_what_is_passed_to_the_inputs_adds_up_to_the_gradient(derive, graph):
    x = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = derive("backward", graph, inputs={"x": x}, explain=True)
    parts = [
        p["vector"]["value"]
        for visit in result["explanation"]["nodes"]
        for p in visit["passed"]
        if p["reference"] == "$x" and p["vector"]
    ]
    torch.testing.assert_close(torch.stack(parts).sum(0), result["gradients"]["x"])


NON_FINITE = {
    "none": ("y = exp(x).sum()", [1.0, 2.0], None),
    "a value": ("a = x * 2; b = exp(a); y = b.sum()", [1.0, 1000.0], {"node": "b", "phase": "forward"}),
    "a gradient": ("a = x * 2; b = sqrt(a); c = b * 3; y = c.sum()", [0.0, 1.0], {"node": "b", "phase": "backward"}),
    "the well-known where": (
        "r = sqrt(x); y = where(x > 0, r, x).sum()",
        [0.0, 1.0],
        {"node": "r", "phase": "backward"},
    ),
    "an input": ("a = x * 2; y = a.sum()", ["NaN", 1.0], {"node": "x", "phase": "forward"}),
    "a mask that softmax takes in stride": (
        "m = masked_fill(x.detach(), x < 1.5, -torch.inf); p = softmax(x + m, 0); y = (p * x).sum()",
        [1.0, 2.0],
        None,
    ),
    "a gradient beside a mask": (
        "m = masked_fill(x.detach(), x < 1.5, -torch.inf); p = softmax(x + m, 0); r = sqrt(x - x); y = (p * r).sum()",
        [1.0, 2.0],
        {"node": "r", "phase": "backward"},
    ),
    "a written infinity": (
        "f = masked_fill(x, x > 1.5, -torch.inf); a = exp(f); b = log(a - a); y = b.sum()",
        [1.0, 2.0],
        {"node": "b", "phase": "forward"},
    ),
    "a large number": (
        "h = x * 1e200; k = h * 1e200; y = k.sum()",
        [1.0, 2.0],
        {"node": "k", "phase": "forward"},
    ),
    "a row that is masked whole": (
        "m = full_like(x, -torch.inf); p = softmax(x + m, 0); y = p.sum()",
        [1.0, 2.0],
        {"node": "p", "phase": "forward"},
    ),
}


@pytest.mark.parametrize(("graph", "x", "expected"), NON_FINITE.values(), ids=NON_FINITE)
def test_the_first_node_that_turns_non_finite_is_named(derive, graph, x, expected):
    assert explanation(derive, graph, inputs={"x": {"dtype": "float64", "data": x}})["first_non_finite"] == expected


def test_the_infinities_of_a_mask_among_the_inputs_do_not_count(derive):
    inputs = {"x": {"dtype": "float64", "data": [1.0, 2.0]}, "m": {"dtype": "float64", "data": ["-Infinity", 0.0]}}
    graph = "p = softmax(x + m, 0); r = sqrt(x - 1); y = (p * r).sum()"
    found = explanation(derive, graph, inputs=inputs, wrt=["x"])["first_non_finite"]
    assert found == {"node": "r", "phase": "backward"}


def test_many_vectors_at_once_are_not_explained(refusal):
    fields = {"inputs": {"x": [1.0]}, "grad_tensors": {"y": [[1.0]]}, "is_grads_batched": True, "explain": True}
    problem = refusal("backward", "y = x * x", **fields)
    assert (problem["code"], problem["pointer"]) == ("invalid_field", "/explain")


def test_an_explained_answer_is_of_the_contract_and_strict_json(post):
    response = post("backward", graph="y = (1 / x).sum()", inputs={"x": [0.0, 1.0]}, explain=True)
    result = BackwardResult.model_validate_json(response.content)
    assert result.explanation.nodes[-1].passed[0].vector.norm == "Infinity"


def test_a_derivative_that_fails_is_refused_with_its_node_and_a_caret(refusal):
    problem = refusal("backward", "h = x * 2; k = h // 2; y = k.sum()", inputs={"x": [1.0, 2.0]})
    assert (problem["code"], problem["node"]) == ("op_failed", "k")
    assert "aten.floor_divide" in problem["detail"]
    assert problem["excerpt"].splitlines()[1].index("^") == problem["excerpt"].index("h // 2")
