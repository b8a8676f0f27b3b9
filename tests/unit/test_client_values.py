"""What the client makes of values and graphs before anything is sent."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import AnswerError, Graph, PullbackError, operations
from pullback.arrays import Raw, read
from pullback.graphs import Interface, interface_of
from pullback_schemas import Graph as GraphModel
from pullback_schemas import Problem, TensorSpec

SHORT = {
    "a number": (1.5, 1.5),
    "nested numbers": ([[1, 2], (3, 4)], [[1, 2], [3, 4]]),
    "numpy's numbers in a list": ([np.float32(1.5), np.int64(2)], [1.5, 2]),
    "what is not finite": ([float("nan"), float("-inf")], ["NaN", "-Infinity"]),
    "booleans": ([True, False], [True, False]),
}


@pytest.mark.parametrize(("value", "sent"), SHORT.values(), ids=SHORT)
def test_numbers_are_sent_as_numbers(value, sent):
    assert read(value) == sent


FULL = {
    "an array": (np.ones((2, 3), np.float32), "float32", (2, 3)),
    "a number of numpy": (np.float32(2), "float32", ()),
    "a complex number": (1 + 2j, "complex128", ()),
    "complex numbers in a list": ([1, 2j], "complex128", (2,)),
    "arrays in a list": ([np.ones(2), np.zeros(2)], "float64", (2, 2)),
    "arrays in lists": ([[np.ones(2)], [np.zeros(2)]], "float64", (2, 1, 2)),
    "a torch tensor": (torch.ones(3, dtype=torch.bfloat16), "bfloat16", (3,)),
    "a torch tensor with a history": (torch.ones(3, requires_grad=True) * 2, "float32", (3,)),
    "a JAX array": (jnp.ones(3, jnp.bfloat16), "bfloat16", (3,)),
}


@pytest.mark.parametrize(("value", "dtype", "shape"), FULL.values(), ids=FULL)
def test_arrays_are_sent_with_their_dtype(value, dtype, shape):
    raw = read(value)
    assert isinstance(raw, Raw)
    assert (raw.dtype, raw.shape) == (dtype, shape)


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a"]),
        np.array([object()]),
        np.ones(2, np.longdouble),
        [torch.ones(2)],
        torch.ones(2).to(torch.float8_e5m2),
    ],
)
def test_what_is_no_tensor_is_refused(value):
    with pytest.raises(TypeError):
        read(value)


def traced() -> object:
    import pullback

    return pullback.trace(lambda b, a: {"loss": (a - b).sum(), "d": a - b}, torch.ones(2), torch.ones(2))


def built() -> Graph:
    g = Graph()
    b, a = g.input("b"), g.input("a")
    g.output(d=a - b)
    return g


NODES = [{"id": "d", "op": "sub", "args": ["$b", ["$a"]], "kwargs": {"alpha": "$c"}}, {"id": "e", "op": "neg"}]
INTERFACES = {
    "text": ("d = b - a; return d, a", Interface(("b", "a"), ("d", "a"))),
    "text with declarations": ("a: float32; b: float32; d = b - a", Interface(("a", "b"), ("d",))),
    "JSON": ({"inputs": {"b": {}, "a": {}}, "nodes": NODES, "outputs": ["d"]}, Interface(("b", "a"), ("d",))),
    "JSON that leaves things out": ({"constants": {"c": 1}, "nodes": NODES}, Interface(("b", "a"), ("e",))),
    "a model": (GraphModel(inputs={"x": TensorSpec()}, outputs={"y": "$x"}), Interface(("x",), ("y",))),
    "the builder": (built(), Interface(("b", "a"), ("d",))),
    "the tracer": (traced(), Interface(("b", "a"), ("loss", "d"))),
}


@pytest.mark.parametrize(("graph", "interface"), INTERFACES.values(), ids=INTERFACES)
def test_inputs_and_outputs_have_an_order_in_any_form(graph, interface):
    assert interface_of(graph) == interface


def test_a_text_that_cannot_be_read_is_shown():
    with pytest.raises(PullbackError, match=r"\^"):
        interface_of("y = x +")


def test_a_check_sends_no_data():
    question = operations.check("y = a * b * c", {"a": np.ones(4), "b": torch.ones(4), "c": TensorSpec(shape=[4])})
    specs = [{"dtype": "float64", "shape": [4]}, {"dtype": "float32", "shape": [4]}, {"shape": [4]}]
    assert list(question.fields["inputs"].values()) == specs


def test_an_error_carries_what_the_problem_says():
    problem = Problem(type="", title="", status=422, code="c", detail="d", pointer="/p", node="n", expected=1, got=2)
    error = AnswerError(422, problem)
    assert (error.code, error.pointer, error.node, error.expected, error.got, error.hint) == (
        "c",
        "/p",
        "n",
        1,
        2,
        None,
    )
    nothing = AnswerError(502)
    assert {nothing.code, nothing.pointer, nothing.node, nothing.expected, nothing.got, nothing.hint} == {None}
