"""Graphs written in Python mean what the same text means."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import torch

from pullback import Client, Graph, GraphError, PullbackError
from pullback.builder import Value

X = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]])


@pytest.fixture
def client(service) -> Client:
    return Client("http://service", transport=service._transport)


@pytest.fixture
def same_as_text(client):
    """`same_as_text(lambda g, x: x + 1, "y = x + 1")`: both are one graph with one result."""

    def check(write, text, **inputs):
        given = inputs or {"x": X}
        g = Graph()
        value = write(g, *[g.input(name) for name in given])
        built, written = client.check(value, given), client.check(text, given)
        assert [node.op for node in built.nodes.values()] == [node.op for node in written.nodes.values()]
        ours, theirs = client.forward(value, given), client.forward(text, given)
        np.testing.assert_array_equal(ours.outputs["y"], theirs.outputs["y"])

    return check


SYMBOLS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv}
SYMBOLS |= {"%": operator.mod, "**": operator.pow, "<": operator.lt, "<=": operator.le, ">": operator.gt}
SYMBOLS |= {">=": operator.ge, "==": operator.eq, "!=": operator.ne}


@pytest.mark.parametrize(("symbol", "apply"), SYMBOLS.items(), ids=SYMBOLS)
def test_an_operator_is_that_of_the_text(same_as_text, symbol, apply):
    same_as_text(lambda _, x: apply(x, 2), f"y = x {symbol} 2")
    same_as_text(lambda _, x: apply(x, x.sin()), f"y = x {symbol} sin(x)")
    if symbol not in ("//", "%"):
        same_as_text(lambda _, x: apply(2, x), f"y = 2 {symbol} x")


@pytest.mark.parametrize(("symbol", "apply"), [("&", operator.and_), ("|", operator.or_), ("^", operator.xor)])
def test_so_are_those_of_bits(same_as_text, symbol, apply):
    same_as_text(lambda _, i: apply(i, 6), f"y = i {symbol} 6", i=np.array([1, 5, 7]))
    same_as_text(lambda _, i: (i << 2) >> 1, "y = (i << 2) >> 1", i=np.array([1, 5, 7]))


UNARY = {
    "y = -x": lambda _, x: -x,
    "y = +x": lambda _, x: +x,
    "y = abs(x)": lambda _, x: abs(x),
    "y = ~(x > 0)": lambda _, x: ~(x > 0),
    "y = x.T": lambda _, x: x.T,
    "y = x @ x.mT": lambda _, x: x @ x.mT,
    "y = relu(x).sum()": lambda _, x: x.relu().sum(),
    "y = x.sum(dim=1, keepdim=True)": lambda _, x: x.sum(dim=1, keepdim=True),
    "y = linalg.norm(x, ord=2)": lambda g, x: g.linalg.norm(x, ord=2),
    "y = F.softmax(x, dim=-1)": lambda g, x: g.nn.functional.softmax(x, dim=-1),
    "y = aten.mul.Tensor(x, x)": lambda g, x: g.op("aten.mul.Tensor", x, x),
    "y = where(x > 0, x, 0)": lambda g, x: g.where(x > 0, x, 0),
    "y = x.where(x > 0, 0)": lambda _, x: x.where(x > 0, 0),
    "y = x.float()": lambda _, x: x.float(),
    "y = x.to('float32')": lambda _, x: x.to(torch.float32),
    "y = x.to('int64')": lambda _, x: x.to(np.int64),
    "y = einsum('ij,kj->ik', x, x)": lambda g, x: g.einsum("ij,kj->ik", x, x),
    "y = cat([x, x], 1)": lambda g, x: g.cat([x, x], 1),
    "y = clamp(x, max=float('inf'))": lambda _, x: x.clamp(max=float("inf")),
    "y = x * (1 + 2j)": lambda _, x: x * (1 + 2j),
}


@pytest.mark.parametrize(("text", "write"), UNARY.items(), ids=UNARY)
def test_a_call_is_that_of_the_text(same_as_text, write, text):
    same_as_text(write, text)


INDICES = {
    "x[0]": lambda x: x[0],
    "x[-1, 1]": lambda x: x[-1, 1],
    "x[:, 1:]": lambda x: x[:, 1:],
    "x[..., 0]": lambda x: x[..., 0],
    "x[None, :, ::2]": lambda x: x[None, :, ::2],
    "x[x > 0]": lambda x: x[x > 0],
    "x[:, [2, 0]]": lambda x: x[:, [2, 0]],
    "x[0][1:]": lambda x: x[0][1:],
}


@pytest.mark.parametrize(("text", "take"), INDICES.items(), ids=INDICES)
def test_an_index_is_that_of_the_text(same_as_text, take, text):
    same_as_text(lambda _, x: take(x), f"y = {text}")


def test_one_of_several_values_is_taken_by_name_or_by_place(same_as_text):
    same_as_text(lambda _, x: x.max(dim=0).values, "y = max(x, dim=0).values")
    same_as_text(lambda _, x: x.split(1)[1] * 2, "y = split(x, 1)[1] * 2")


def test_arrays_become_constants_on_either_side(client):
    g = Graph()
    x = g.input("x", "float64", [3])
    y = np.ones((2, 3)) @ x + torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert client.forward(y, {"x": [1, 2, 3]}).outputs["y"].tolist() == [7.0, 8.0]


def test_the_first_example_of_the_documentation(client):
    g = Graph()
    x, w = g.input("x"), g.constant(np.eye(2), "w")
    y = (x @ w).relu().sum()
    answer = client.backward(y, {"x": [-1, 2]}, wrt=["x", "w"])
    assert answer.gradients["x"].tolist() == [0.0, 1.0]
    assert answer.gradients["w"].tolist() == [[0.0, -1.0], [0.0, 2.0]]


def test_a_graph_has_the_outputs_that_are_named(client):
    g = Graph()
    x = g.input("x")
    h = x * 2
    g.output(loss=h.sum(), h=h)
    assert list(client.forward(g, {"x": [1, 2]}).outputs) == ["loss", "h"]


def test_a_value_is_a_graph_of_what_it_depends_on():
    g = Graph()
    a, b = g.input("a"), g.input("b")
    first, _ = a * 3, b * np.ones(2)
    graph = first.to_json()
    assert (list(graph["inputs"]), graph["constants"], len(graph["nodes"])) == (["a"], {}, 1)


def test_nodes_are_named_after_their_operators():
    g = Graph()
    x = g.input("relu1")
    y = g.linalg.norm(x.relu()) + g.op("aten.mul.Tensor", x, x)
    assert [node["id"] for node in y.to_json()["nodes"]] == ["relu2", "norm1", "mul1", "add1"]


def test_with_the_catalogue_operators_are_known_at_once(client):
    g = Graph(client.ops())
    x = g.input("x")
    assert isinstance(g.linalg.norm(g.F.softmax(x[0], dim=0)) + g.op("aten.mul.Tensor", x, x), Value)
    assert "softmax" in dir(g)
    with pytest.raises(GraphError, match="did you mean relu"):
        x.rleu()


def _two() -> Value:
    return Graph().input("x")


MISTAKES = {
    "has no truth": lambda x: 1 if x > 0 else 2,
    "how many parts": lambda x: list(x),
    "not known before": lambda x: x.shape,
    "another graph": lambda x: x + _two(),
    "a list is no tensor": lambda x: x * [1, 2],
    "cannot be called": lambda x: x(),
    "cannot stand in a graph": lambda x: x.add(object()),
    "at most one": lambda x: x[..., 0, ...],
    "bounds of a slice": lambda x: x["a":],
    "reserved": lambda x: x._graph.input("lambda"),
    "defined twice": lambda x: x._graph.input("x"),
}


@pytest.mark.parametrize(("says", "write"), MISTAKES.items(), ids=MISTAKES)
def test_what_no_graph_can_hold_is_refused_where_it_is_written(says, write):
    says = "word of the text form" if says == "reserved" else says
    with pytest.raises(PullbackError, match=says):
        write(_two())


def test_a_constant_stays_what_it_was_when_the_callers_array_changes(client):
    w = np.array([1.0, 2.0])
    g = Graph()
    y = g.input("x") * g.constant(w)
    w[:] = 100
    (found,) = client.forward(y, {"x": np.ones(2)}).outputs.values()
    np.testing.assert_array_equal(found, [1.0, 2.0])
