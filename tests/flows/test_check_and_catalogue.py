"""What can be learnt without computing: /v1/check, the operator catalogue, health, and the documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from pullback_schemas import OpInfo, OpList, Problem

UNKNOWN = {"dtype": None, "shape": None, "requires_grad": None}


def f64(*shape: int) -> dict[str, Any]:
    return {"dtype": "float64", "shape": list(shape)}


def zeros(spec: dict[str, Any]) -> dict[str, Any]:
    """A tensor of a spec's dtype and shape."""
    count = 1
    for size in spec["shape"]:
        count *= size
    element = {"bool": False, "int64": 0}.get(spec["dtype"], 0.5)
    pair = 2 if spec["dtype"].startswith("complex") else 1
    return {**spec, "data": [element] * count * pair}


def json_graph(*calls: tuple[str, str, list[Any]], **rest: Any) -> dict[str, Any]:
    """A graph in JSON form: each call is (id, op, args)."""
    return {"nodes": [{"id": name, "op": op, "args": args} for name, op, args in calls], **rest}


# The canonical form


@pytest.mark.parametrize(
    ("graph", "op"),
    [
        ("y = relu(x)", "aten.relu.default"),
        ("y = x * x", "aten.mul.Tensor"),
        ("y = x * 2", "aten.mul.Tensor"),
        ("y = x ** 2", "aten.pow.Tensor_Scalar"),
        ("y = 2 ** x", "aten.pow.Scalar"),
        ("y = x ** x", "aten.pow.Tensor_Tensor"),
        ("y = x.sum()", "aten.sum.default"),
        ("y = sum(x, 0)", "aten.sum.dim_IntList"),
        ("y = x > 0", "aten.gt.Scalar"),
        ("y = max(x, x)", "aten.max.other"),
        ("y = where(x > 0, x, 0)", "aten.where.ScalarOther"),
        ("y = linalg.inv(x)", "aten.linalg_inv.default"),
    ],
)
def test_the_canonical_form_names_the_overload_that_torch_would_take(answer, graph, op):
    assert answer("check", graph=graph)["graph"]["nodes"][-1]["op"] == op


SAME = {
    "relu": [
        json_graph(("y", op, ["$x"]))
        for op in ("relu", "aten::relu", "aten.relu", "torch.relu", "torch.nn.functional.relu", "aten.relu.default")
    ],
    "solve": [json_graph(("y", op, ["$a", "$b"])) for op in ("linalg.solve", "torch.linalg.solve", "linalg_solve")],
    "mul": ["y = x * w", "y = mul(x, w)", "y = x.mul(w)", "y = torch.mul(x, other=w)", "y = aten.mul.Tensor(x, w)"],
    "sum": ["y = sum(x, 0)", "y = x.sum(dim=0)", "y = sum(x, dim=[0])", "y = torch.sum(input=x, axis=0)"],
    "defaults": ["y = add(x, w)", "y = x + w", "y = add(x, w, alpha=1)", "y = add(other=w, input=x)"],
    "loss": [
        "y = F.mse_loss(x, t)",
        "y = mse_loss(input=x, target=t, reduction='mean')",
        json_graph(("y", "torch.nn.functional.mse_loss", ["$x", "$t"])),
        json_graph(("y", "aten.mse_loss.default", ["$x", "$t", 1])),
    ],
    "whitespace": [
        "h = x * w; y = relu(h)",
        "h=x*w\ny=relu( h )",
        "\n  h = x  *  w\n\n  y = relu(h,)\n",
        "h = (x * w) ; y = relu(h)  # done",
    ],
    "text and json": ["h = x * w; y = relu(h)", json_graph(("h", "mul", ["$x", "$w"]), ("y", "relu", ["$h"]))],
    "declared inputs": [
        {"inputs": {"x": {}, "w": {}}, **json_graph(("y", "mul", ["$x", "$w"]))},
        {"inputs": {"w": {}, "x": {}}, **json_graph(("y", "mul", ["$x", "$w"]))},
        json_graph(("y", "mul", ["$x", "$w"]), outputs={"y": "$y"}),
        json_graph(("y", "mul", ["$x", "$w"]), outputs=["y"]),
    ],
    "constants": [
        {"constants": {"c": [1, 2], "d": 3}, **json_graph(("h", "mul", ["$x", "$c"]), ("y", "add", ["$h", "$d"]))},
        {
            "constants": {
                "d": {"dtype": "float64", "data": 3.0},
                "c": {"dtype": "float64", "shape": [2], "encoding": "base64", "data": "AAAAAAAA8D8AAAAAAAAAQA=="},
            },
            **json_graph(("h", "mul", ["$x", "$c"]), ("y", "add", ["$h", "$d"])),
        },
        "d: float64 = 3; c = [1.0, 2.0]; h = x * c; y = h + d",
    ],
    "order of nodes that need each other": [
        json_graph(("h", "mul", ["$x", "$x"]), ("y", "relu", ["$h"]), outputs=["y"]),
        json_graph(("y", "relu", ["$h"]), ("h", "mul", ["$x", "$x"]), outputs=["y"]),
    ],
    "order of keyword arguments": ["y = clamp(x, min=0, max=1)", "y = clamp(x, max=1, min=0)"],
}


@pytest.mark.parametrize("graphs", SAME.values(), ids=SAME)
def test_ways_to_write_one_graph_have_one_canonical_form_and_hash(answer, graphs):
    checked = [answer("check", graph=graph) for graph in graphs]
    assert all(other["graph"] == checked[0]["graph"] for other in checked)
    assert len({other["sha256"] for other in checked}) == 1


DIFFERENT = [
    ("y = x * w", "y = w * x"),
    ("y = x * 2", "y = x * 2.5"),
    ("y = x + w", "y = add(x, w, alpha=2)"),
    ("y = relu(x)", "z = relu(x)"),
    ("x: float32; y = relu(x)", "x: float64; y = relu(x)"),
    ("x: Tensor['n']; y = relu(x)", "x: Tensor[3]; y = relu(x)"),
    ("c = [1.0]; y = x * c", "c = [2.0]; y = x * c"),
    ("c: float32 = [1.0]; y = x * c", "c: float64 = [1.0]; y = x * c"),
    ("c: float32[2] = [0.0, 1.0]; y = x * c", "c: float32[2, 1] = [0.0, 1.0]; y = x * c"),
    ("c = [0.0]; y = x * c", "c = [-0.0]; y = x * c"),
    ("y = x * 2; z = x * 3; return y, z", "y = x * 2; z = x * 3; return z, y"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_graphs_that_mean_different_things_have_different_hashes(answer, one, other):
    assert answer("check", graph=one)["sha256"] != answer("check", graph=other)["sha256"]


def test_the_canonical_form_lists_nodes_after_what_they_need(answer):
    calls = [("d", "sin", ["$c"]), ("c", "sin", ["$b"]), ("b", "sin", ["$a"]), ("a", "sin", ["$x"])]
    checked = answer("check", graph=json_graph(*calls, outputs=["d"]))
    assert [node["id"] for node in checked["graph"]["nodes"]] == ["a", "b", "c", "d"]


GRAPHS: dict[str, dict[str, dict[str, Any]]] = {
    "h = x @ w + b; y = softmax(relu(h), dim=-1)": {"x": f64(4, 3), "w": f64(3, 2), "b": f64(2)},
    "m = max(x, dim=1); y = m.values.sum(); return {'y': y, 'where': m.indices}": {"x": f64(2, 3)},
    "t = topk(x, 2); a, b = split(x, [1, 2], dim=1); y = cat([a, b, t.values], 1)": {"x": f64(2, 3)},
    "q, r = linalg.qr(x); f = linalg.svd(x, full_matrices=False); y = q @ r + f.U @ diag(f.S) @ f.Vh": {"x": f64(4, 3)},
    "y = F.conv2d(x, w, b, stride=2, padding=1).mean(dim=(2, 3))": {
        "x": f64(1, 3, 8, 8),
        "w": f64(4, 3, 3, 3),
        "b": f64(4),
    },
    "c = fft.rfft(x); y = fft.irfft(c * c.conj(), n=6); z = c.abs(); return y, z": {"x": f64(6)},
    "y = F.cross_entropy(x, t); i = argmax(x, 1); e = (i == t).float().mean(); return y, e": {
        "x": f64(4, 3),
        "t": {"dtype": "int64", "shape": [4]},
    },
    "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)": {
        "q": f64(1, 2, 3, 4),
        "k": f64(1, 2, 3, 4),
        "v": f64(1, 2, 3, 4),
    },
    "y = x[0, 1:, None] * x[1:, i] ** 2 % 3": {"x": f64(3, 3), "i": {"dtype": "int64", "shape": [2]}},
    "y = (x > 0) & ~(x == 1) | (x <= w)": {"x": f64(3), "w": f64(2, 1)},
    "y = x.to('bfloat16') + x.half() * k; z = x * k; return y, z": {
        "x": {"dtype": "float32", "shape": [2]},
        "k": {"dtype": "int64", "shape": [2]},
    },
    "y = div(2.5, x) + 2.5 / x + x / 2.5": {"x": f64(2)},
    "y = clamp(x, max='Infinity') * -2.5 + -x ** 2 - (-3 - x)": {"x": f64(2)},
    "y = einsum('ij,kj->ik', x, x) * (1 + 2j); z = index_put(y, [i, i], w)": {
        "x": f64(3, 2),
        "i": {"dtype": "int64", "shape": [2]},
        "w": {"dtype": "complex128", "shape": [2]},
    },
    "c: float32[2, 2] = [[1, 2], [3, 4]]; k = 3; y = linalg.inv(c + x) / k": {"x": {"dtype": "float32", "shape": []}},
    "s = std_mean(x, 1, unbiased=False); y = s[0] + s[1]; return {'out': y}": {"x": f64(2, 3)},
    "a = zeros(2, 3, dtype='float64'); y = a + arange(3) + full([2, 1], 0.5) + x": {"x": f64()},
}


@pytest.mark.parametrize("form", ["graph", "text"])
@pytest.mark.parametrize(("graph", "inputs"), GRAPHS.items(), ids=GRAPHS)
def test_the_canonical_graph_and_the_text_read_back_to_themselves(answer, graph, inputs, form):
    first = answer("check", graph=graph, inputs=inputs)
    again = answer("check", graph=first[form], inputs=inputs)
    assert (again["sha256"], again["graph"], again["text"]) == (first["sha256"], first["graph"], first["text"])


# Types before the run


@pytest.mark.parametrize(("graph", "inputs"), GRAPHS.items(), ids=GRAPHS)
def test_every_node_has_the_dtype_and_shape_that_the_run_gives_it(answer, graph, inputs):
    checked = answer("check", graph=graph, inputs=inputs)
    found = {
        f"{node}.{part}".rstrip("."): kind for node, n in checked["nodes"].items() for part, kind in n["values"].items()
    }
    outputs = {name.replace(".", "__"): f"${name}" for name in found}
    tensors = {name: zeros(spec) for name, spec in inputs.items()}
    run = answer("forward", graph={**checked["graph"], "outputs": outputs}, inputs=tensors)["outputs"]
    for name, kind in found.items():
        value = run[name.replace(".", "__")]
        assert (kind["dtype"], kind["shape"]) == (value["dtype"], value["shape"]), name


def test_shapes_alone_tell_as_much_as_tensors(answer):
    graph, inputs = next(iter(GRAPHS.items()))
    by_shape = answer("check", graph=graph, inputs=inputs)
    assert by_shape == answer("check", graph=graph, inputs={name: zeros(spec) for name, spec in inputs.items()})


def test_an_input_of_which_only_the_shape_is_known_is_float64(answer):
    checked = answer("check", graph="y = x * x", inputs={"x": {"shape": [2]}})
    assert checked["outputs"]["y"] == {"dtype": "float64", "shape": [2], "requires_grad": True}


def test_what_the_graph_declares_need_not_be_sent(answer):
    checked = answer("check", graph="x: float32[2, 3]; y = x.sum(0)")
    assert checked["outputs"]["y"] == {"dtype": "float32", "shape": [3], "requires_grad": True}


@pytest.mark.parametrize(
    ("graph", "inputs"),
    [("y = x @ w", {"x": f64(2, 3)}), ("y = x @ w", {}), ("x: Tensor['n', 3]; y = x * 2", {})],
    ids=["one is missing", "all are missing", "a size by name"],
)
def test_what_depends_on_an_unknown_input_is_null(answer, graph, inputs):
    checked = answer("check", graph=graph, inputs=inputs)
    assert checked["outputs"]["y"] == UNKNOWN
    assert checked["nodes"]["y"]["values"] is None
    assert (checked["differentiable"], checked["cost"]) == (None, None)


def test_an_unknown_input_is_null_in_every_respect(answer):
    checked = answer("check", graph="y = x @ w", inputs={"x": f64(2, 3)})
    assert checked["inputs"] == {"x": {**f64(2, 3), "requires_grad": True}, "w": UNKNOWN}


def test_what_does_not_depend_on_an_unknown_input_is_known_all_the_same(answer):
    checked = answer("check", graph="h = x * 2; y = h @ w; return h, y", inputs={"x": f64(2, 3)})
    assert checked["outputs"] == {"h": {**f64(2, 3), "requires_grad": True}, "y": UNKNOWN}


def test_what_only_the_run_can_tell_is_null(answer):
    checked = answer("check", graph="h = x[x > 0]; y = h * 2; s = x.sum(); return y, s", inputs={"x": f64(3)})
    assert checked["outputs"] == {"y": UNKNOWN, "s": {**f64(), "requires_grad": True}}
    assert checked["cost"] is None


def test_sizes_that_do_not_go_together_are_refused_naming_the_node(post):
    response = post("check", graph="h = relu(x); y = h @ w", inputs={"x": f64(2, 3), "w": f64(2, 3)})
    assert response.status_code == 422
    assert (response.json()["code"], response.json()["node"]) == ("incompatible_arguments", "y")


# Differentiability


@pytest.mark.parametrize(
    ("graph", "inputs", "expected"),
    [
        ("y = relu(x)", {"x": f64(3)}, True),
        ("i = argmax(x); y = x.sum(); return i, y", {"x": f64(3)}, True),
        ("y = argmax(x)", {"x": f64(3)}, False),
        ("y = x > 0", {"x": f64(3)}, False),
        ("y = x.detach() * 2", {"x": f64(3)}, False),
        ("y = k + 1.5", {"k": {"dtype": "int64", "shape": [3]}}, False),
        ("y = z.abs()", {"z": {"dtype": "complex64", "shape": [3]}}, True),
        ("c = [1.0]; y = c * 2", {}, False),
    ],
)
def test_a_graph_is_differentiable_if_a_gradient_reaches_an_output(answer, graph, inputs, expected):
    assert answer("check", graph=graph, inputs=inputs)["differentiable"] is expected


@pytest.mark.parametrize("graph", ["y = x // 2", "y = heaviside(x, x)"])
def test_a_graph_whose_backward_torch_has_not_is_not_differentiable(post, answer, graph):
    assert post("backward", graph=graph, inputs={"x": [3.0]}).status_code == 422
    assert answer("check", graph=graph, inputs={"x": f64(1)})["differentiable"] is False


@pytest.mark.parametrize(("wrt", "expected"), [(["x"], (True, False)), (["w"], (False, True)), (["c"], (False, True))])
def test_wrt_decides_where_gradients_flow(answer, wrt, expected):
    graph = "c = [2.0]; y = x * 2; z = w * c; return y, z"
    checked = answer("check", graph=graph, inputs={"x": f64(1), "w": f64(1)}, wrt=wrt)
    assert tuple(output["requires_grad"] for output in checked["outputs"].values()) == expected


# Cost


def cost(answer: Any, graph: str, **inputs: dict[str, Any]) -> dict[str, Any]:
    return answer("check", graph=graph, inputs=inputs)["cost"]


@pytest.mark.parametrize(("m", "k", "n"), [(4, 5, 6), (1, 1, 1), (7, 64, 3), (2048, 4096, 1024)])
def test_the_cost_of_a_matrix_product_is_2mnk_flops(answer, m, k, n):
    assert cost(answer, "y = x @ w", x=f64(m, k), w=f64(k, n))["flops"] == 2 * m * n * k


@pytest.mark.parametrize(
    ("graph", "inputs", "flops"),
    [
        ("y = bmm(x, w)", {"x": f64(5, 2, 3), "w": f64(5, 3, 4)}, 2 * 5 * 2 * 3 * 4),
        ("y = F.linear(x, w, b)", {"x": f64(2, 3), "w": f64(4, 3), "b": f64(4)}, 2 * 2 * 3 * 4),
        ("y = x @ w @ w", {"x": f64(2, 3), "w": f64(3, 3)}, 2 * (2 * 2 * 3 * 3)),
        ("y = F.conv2d(x, w)", {"x": f64(2, 3, 8, 8), "w": f64(4, 3, 3, 3)}, 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)),
        ("y = relu(x) + x", {"x": f64(2, 3)}, 0),
    ],
)
def test_the_cost_counts_products_and_convolutions(answer, graph, inputs, flops):
    assert cost(answer, graph, **inputs)["flops"] == flops


def test_the_cost_counts_the_elements_and_bytes_of_every_value_that_a_node_makes(answer):
    spec = {"dtype": "float32", "shape": [2, 3]}
    found = cost(answer, "h = x * 2; m = h > 0; y = h.double() * m", x=spec)
    assert found == {"nodes": 4, "elements": 4 * 6, "bytes": 6 * (4 + 1 + 8 + 8), "flops": 0}


def test_every_cost_is_an_integer(answer):
    found = cost(answer, "y = (x @ x).mean()", x=f64(3, 3))
    assert {type(value) for value in found.values()} == {int}


# Nothing is computed


@pytest.mark.parametrize(
    ("graph", "inputs"),
    [
        ("y = linalg.cholesky(x)", {"x": [[-1.0]]}),
        ("y = linalg.inv(x)", {"x": [[0.0]]}),
        ("y = index_select(x, 0, i)", {"x": [1.0], "i": {"dtype": "int64", "data": [7]}}),
        ("y = F.one_hot(i, 3)", {"i": {"dtype": "int64", "data": [9]}}),
    ],
)
def test_a_graph_that_would_fail_on_its_numbers_checks_all_the_same(post, answer, graph, inputs):
    assert post("forward", graph=graph, inputs=inputs).status_code == 422
    assert answer("check", graph=graph, inputs=inputs)["outputs"].keys() == {"y"}


def test_a_graph_that_would_run_for_hours_is_checked(answer):
    graph = "; ".join(["y0 = x @ x", *(f"y{i} = y{i - 1} @ x" for i in range(1, 10))])
    assert cost(answer, graph, x=f64(4096, 4096))["flops"] == 10 * 2 * 4096**3


# The catalogue

README_WORTHY = [
    "relu",
    "mul",
    "matmul",
    "einsum",
    "softmax",
    "conv2d",
    "layer_norm",
    "scaled_dot_product_attention",
    "linalg_solve",
    "fft_rfft",
    "index_select",
    "where",
    "cat",
    "split",
    "topk",
]


@pytest.fixture(scope="module")
def ops(service) -> list[dict[str, Any]]:
    return service.get("/v1/ops").json()["ops"]


def test_the_catalogue_lists_hundreds_of_operators_each_once_in_order(service, ops):
    names = [op["name"] for op in ops]
    assert len(names) > 400
    assert names == sorted(set(names))


@pytest.mark.parametrize("name", README_WORTHY)
def test_the_catalogue_has_the_operators_that_everybody_needs(ops, name):
    assert {op["name"]: op["differentiable"] for op in ops}.get(name) is True


@pytest.mark.parametrize("name", ["from_file", "set", "empty", "relu_", "resize", "item", "histogramdd"])
def test_the_catalogue_has_no_operator_that_is_refused_outright(ops, name):
    assert name not in [op["name"] for op in ops]


def test_the_catalogue_is_an_op_list_of_this_torch(service):
    listed = OpList.model_validate_json(service.get("/v1/ops").content)
    assert listed.torch_version == torch.__version__


def test_every_operator_of_the_list_has_a_page_that_says_the_same(service, ops):
    pages = [OpInfo.model_validate_json(service.get(f"/v1/ops/{op['name']}").content) for op in ops]
    shown = [
        {**page.model_dump(include=op.keys()), "tier": tier_of(page), "signatures": signatures_of(page)}
        for op, page in zip(ops, pages, strict=True)
    ]
    assert [(op, page) for op, page in zip(ops, shown, strict=True) if op != page] == []


def signatures_of(page: OpInfo) -> list[str]:
    """Of the overloads that are served."""
    return [overload.signature for overload in page.overloads if overload.tier != "refused"]


def tier_of(page: OpInfo) -> str:
    """The best tier of any overload."""
    return min((overload.tier for overload in page.overloads), key=["open", "guarded", "isolated", "refused"].index)


@pytest.mark.parametrize("name", ["argmax", "heaviside", "floor_divide", "bitwise_and"])
def test_an_operator_that_torch_cannot_differentiate_is_not_called_differentiable(service, name):
    assert service.get(f"/v1/ops/{name}").json()["differentiable"] is False


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("relu", "relu"),
        ("aten.relu", "relu"),
        ("aten::relu", "relu"),
        ("torch.relu", "relu"),
        ("torch.nn.functional.relu", "relu"),
        ("aten.mul.Tensor", "mul"),
        ("linalg.solve", "linalg_solve"),
        ("torch.fft.rfft", "fft_rfft"),
        ("torch.nn.functional.cross_entropy", "cross_entropy_loss"),
    ],
)
def test_an_operator_is_found_by_every_spelling(service, spelling, name):
    assert service.get(f"/v1/ops/{spelling}").json()["name"] == name


@pytest.mark.parametrize("name", ["relu", "linalg_solve", "fft_rfft", "cross_entropy_loss", "special_erf", "mse_loss"])
def test_every_alias_of_an_operator_leads_to_it(service, name):
    aliases = service.get(f"/v1/ops/{name}").json()["aliases"]
    assert len(aliases) >= 3
    assert {service.get(f"/v1/ops/{alias}").json()["name"] for alias in aliases} == {name}


@pytest.mark.parametrize(
    ("name", "alias"),
    [("linalg_solve", "linalg.solve"), ("fft_rfft", "fft.rfft"), ("nll_loss_nd", "nn.functional.nll_loss")],
)
def test_the_aliases_include_the_name_that_people_know(service, name, alias):
    assert alias in service.get(f"/v1/ops/{name}").json()["aliases"]


def test_an_overload_has_torchs_signature(service):
    overloads = {o["name"]: o["signature"] for o in service.get("/v1/ops/add").json()["overloads"]}
    schema = str(torch.ops.aten.add.Tensor._schema)
    assert "aten::" + overloads["aten.add.Tensor"] == schema


@pytest.mark.parametrize("name", ["relu", "bernoulli", "from_file", "exp_", "lstm_cell", "histogramdd"])
def test_overloads_that_are_refused_are_listed_with_the_reason(service, name):
    refused = [o for o in service.get(f"/v1/ops/{name}").json()["overloads"] if o["tier"] == "refused"]
    assert refused
    assert all(overload["reason"] for overload in refused)


@pytest.mark.parametrize(
    ("name", "meant"), [("reluu", "relu"), ("linalg.sovle", "linalg_solve"), ("matmull", "matmul")]
)
def test_an_operator_that_does_not_exist_is_not_found_and_the_nearest_is_named(service, name, meant):
    response = service.get(f"/v1/ops/{name}")
    problem = Problem.model_validate_json(response.content)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert meant in problem.expected
    assert "Did you mean" in problem.hint


# Health and documents


def test_the_process_is_live(service):
    response = service.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_the_service_is_ready_when_a_worker_is(service):
    response = service.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response.json()["workers"]["ready"] >= 1


def test_the_docs_page_shows_the_document(service):
    response = service.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in response.text


@pytest.fixture(scope="module")
def document(service) -> dict[str, Any]:
    return service.get("/openapi.json").json()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema of the document, whose references point into the document."""
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator({**schema, "components": document["components"]})


def body_of(document: dict[str, Any], operation: str) -> dict[str, Any]:
    return document["paths"][f"/v1/{operation}"]["post"]["requestBody"]["content"]["application/json"]


def answer_schema(document: dict[str, Any], path: str, method: str, status: str, media: str) -> dict[str, Any]:
    return document["paths"][path][method]["responses"][status]["content"][media]["schema"]


def test_every_reference_of_the_document_resolves(document):
    found = set(references(document))
    assert len(found) > 10
    for reference in found:
        value: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in value, reference
            value = value[part]


def test_every_schema_of_the_document_is_a_json_schema(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_is_documented(document):
    assert {f"/v1/{name}" for name in ("forward", "backward", "check", "ops", "ops/{name}")} <= document["paths"].keys()


@pytest.mark.parametrize("operation", ["forward", "backward", "check"])
def test_every_example_of_a_request_fits_its_schema_and_is_answered_as_documented(document, post, operation):
    body = body_of(document, operation)
    assert body["examples"]
    for example in body["examples"].values():
        validator(document, body["schema"]).validate(example["value"])
        response = post(operation, **example["value"])
        assert response.status_code == 200, response.text
        schema = answer_schema(document, f"/v1/{operation}", "post", "200", "application/json")
        validator(document, schema).validate(response.json())


@pytest.mark.parametrize("operation", ["forward", "backward", "check"])
@pytest.mark.parametrize(("graph", "inputs"), GRAPHS.items(), ids=GRAPHS)
def test_every_answer_and_problem_fits_the_schema_that_the_document_gives(document, post, operation, graph, inputs):
    tensors = {name: zeros(spec) for name, spec in inputs.items()}
    validator(document, body_of(document, operation)["schema"]).validate({"graph": graph, "inputs": tensors})
    response = post(operation, graph=graph, inputs=tensors)
    status = str(response.status_code)
    media = "application/json" if status == "200" else "application/problem+json"
    validator(document, answer_schema(document, f"/v1/{operation}", "post", status, media)).validate(response.json())


def test_the_json_form_of_a_graph_fits_the_documents_schema_of_a_graph(document, answer):
    schema = {"$ref": "#/components/schemas/Graph"}
    for graph, inputs in GRAPHS.items():
        validator(document, schema).validate(answer("check", graph=graph, inputs=inputs)["graph"])


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/v1/ops", "/v1/ops"),
        ("/v1/ops/{name}", "/v1/ops/relu"),
        ("/v1/ops/{name}", "/v1/ops/from_file"),
        ("/health/live", "/health/live"),
        ("/health/ready", "/health/ready"),
    ],
)
def test_what_is_got_fits_the_schema_that_the_document_gives(document, service, path, address):
    schema = answer_schema(document, path, "get", "200", "application/json")
    validator(document, schema).validate(service.get(address).json())


def test_an_operator_that_is_not_found_fits_the_documents_schema_of_a_problem(document, service):
    schema = answer_schema(document, "/v1/ops/{name}", "get", "404", "application/problem+json")
    validator(document, schema).validate(service.get("/v1/ops/reluu").json())
