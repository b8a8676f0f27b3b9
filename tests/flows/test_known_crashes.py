"""Calls that `make fuzz` found to end the process, to touch memory that is not theirs, or to fail in the service."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import pytest


class Row(NamedTuple):
    """A call of one operator that must be refused: its inputs are zeros of these shapes."""

    op: str
    args: list[Any]
    shapes: dict[str, tuple[int, ...]]
    dtype: str = "float64"
    code: str = "incompatible_arguments"
    kwargs: dict[str, Any] = {}  # noqa: RUF012
    gives: str = "$node"


VOLUMES = {"x": (1, 1, 2, 2, 2), "g": (1, 1, 1, 1, 3)}
IMAGES = {"x": (1, 1, 2, 2), "g": (1, 1, 1, 2)}

REFUSED = {
    "attention with fewer keys than values writes past the end of a gradient": Row(
        "scaled_dot_product_attention", ["$x", "$k", "$v"], {"x": (2, 2, 3, 4), "k": (2, 2, 1, 4), "v": (2, 2, 6, 4)}
    ),
    "gelss without a column ends the process": Row(
        "linalg.lstsq", ["$x", "$b"], {"x": (3, 2), "b": (3, 0)}, kwargs={"driver": "gelss"}, gives="$node.0"
    ),
    "an interpolation that does not exist hands out memory as it was": Row(
        "aten.grid_sampler", ["$x", "$g", 3, 0, True], VOLUMES, code="bad_argument"
    ),
    "a padding that does not exist": Row("aten.grid_sampler_2d", ["$x", "$g", 0, 3, True], IMAGES, code="bad_argument"),
    "volumes have no bicubic interpolation": Row(
        "aten.grid_sampler_3d", ["$x", "$g", 2, 0, True], VOLUMES, code="bad_argument"
    ),
    "there is no integer above the largest, and the search for one never ends": Row(
        "aten.random.from", ["$x", 2**63 - 1, None], {"x": (2,)}, code="bad_argument"
    ),
    "the gradient of volumes padded away by reflection is memory as it was": Row(
        "reflection_pad3d", ["$x", [-1, -1, 0, 0, 0, 0]], {"x": (1, 1, 2, 2, 2)}
    ),
    "and so it is by the name that picks the kernel": Row(
        "pad", ["$x", [0, 0, 0, 0, -2, 0], "reflect"], {"x": (1, 1, 2, 2, 2)}
    ),
    "the mean loss of no rows is memory as it was": Row(
        "multilabel_margin_loss", ["$x", "$t"], {"x": (0, 2), "t": (0, 2)}
    ),
    "a mesh of matrices was put down to a lack of memory": Row(
        "meshgrid", [["$x", "$x"]], {"x": (2, 2)}, gives="$node.0"
    ),
    "unsigned integers cannot be read through a negative view": Row(
        "aten._neg_view", ["$x"], {"x": (2,)}, dtype="uint32"
    ),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_a_call_that_did_harm_is_refused_at_its_node(post, row):
    inputs = {
        name: {"dtype": row.dtype, "shape": shape, "data": [0] * prod(shape)} for name, shape in row.shapes.items()
    }
    node = {"id": "node", "op": row.op, "args": row.args, "kwargs": row.kwargs}
    total = {"id": "total", "op": "sum", "args": [row.gives]}
    response = post("forward", graph={"nodes": [node, total]}, inputs=inputs)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["node"]) == (422, row.code, "node")


@pytest.mark.parametrize("op", ["median", "nanmedian"])
def test_a_median_along_an_expanded_axis_reads_what_is_there(answer, op):
    graph = f"y = {op}(expand(x, [9]), dim=0).values"
    assert answer("forward", graph=graph, inputs={"x": [1.5]})["outputs"]["y"]["data"] == 1.5


def test_group_norm_scales_by_the_weights_that_a_view_shows(answer):
    graph = "y = aten.native_group_norm(x, w[::2], None, 1, 2, 2, 1, 0.0)[0]"
    result = answer("forward", graph=graph, inputs={"x": [[[-1.0, 1.0], [-1.0, 1.0]]], "w": [1.0, 100.0, 3.0, 100.0]})
    assert result["outputs"]["y"]["data"] == [[[-1.0, 1.0], [-3.0, 3.0]]]


def test_the_jacobian_through_a_sparse_embedding_is_dense(answer):
    node = {"id": "y", "op": "aten.embedding", "args": ["$w", "$i"], "kwargs": {"sparse": True}}
    total = {"id": "total", "op": "sum", "args": ["$y"]}
    inputs = {"w": [[1.0, 2.0], [3.0, 4.0]], "i": {"dtype": "int64", "data": [1, 1]}}
    result = answer("backward", graph={"nodes": [node, total]}, inputs=inputs, wrt=["w"], jacobian=True)
    assert result["jacobians"]["total"]["w"]["data"] == [[0.0, 0.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("graph", "value"),
    [
        ("y = gather(x, 0, expand(i, [3, 16])).sum()", 16.0 * (0 + 2 + 1)),
        ("y = (scatter_add(zeros_like(x), 0, expand(i, [3, 16]), x) * x).sum()", 16.0 * (0 * 0 + 1 * 2 + 2 * 1)),
        ("y = (scatter_reduce(zeros_like(x), 0, expand(i, [3, 16]), x, 'amax') * x).sum()", 16.0 * (1 * 2 + 2 * 1)),
    ],
    ids=["gather", "scatter_add", "scatter_reduce"],
)
def test_an_expanded_index_of_int32_picks_what_it_says(answer, graph, value):
    inputs = {"x": [[float(row)] * 16 for row in range(3)], "i": {"dtype": "int32", "data": [[0], [2], [1]]}}
    assert answer("forward", graph=graph, inputs=inputs)["outputs"]["y"]["data"] == value


def test_a_product_whose_infinities_cancel_is_no_failure_of_the_service(post):
    inputs = {"x": ["Infinity", 1.0], "e": ["Infinity", 1.0], "w": ["-Infinity", 0.5]}
    response = post("jvp", graph="y = lerp(x, e, w)", inputs=inputs, tangents=inputs)
    assert response.status_code in (200, 422), response.text
