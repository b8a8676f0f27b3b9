"""What /v1/jacobian and `jacobian` of /v1/backward promise: dense derivatives, by rows or by columns, within memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from tests.flows.float64 import random

from pullback_schemas import JacobianResult

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
MODES = ["reverse", "forward"]


FUNCTIONS = {
    "elementwise": ("y = tanh(x) * x", lambda x: torch.tanh(x) * x, [(5,)]),
    "wide": ("y = (x * x).sum(0)", lambda x: (x * x).sum(0), [(4, 2)]),
    "tall": ("y = x.repeat(3) ** 2", lambda x: x.repeat(3) ** 2, [(2,)]),
    "two inputs": ("y = tanh(x @ w)", lambda x, w: torch.tanh(x @ w), [(2, 3), (3, 4)]),
    "two outputs": ("y = x * w; z = (x * x).sum(); return y, z", lambda x, w: (x * w, (x * x).sum()), [(3,), (3,)]),
    "an unused input": ("w: Tensor; y = x * x", lambda x, w: x * x + 0 * w.sum(), [(3,), (2, 2)]),
    "linear algebra": ("y = linalg.solve(x, w)", torch.linalg.solve, [(3, 3), (3, 2)]),
    "no rows": ("y = x[:0] * 2", lambda x: x[:0] * 2, [(3,)]),
    "no columns": ("y = x.sum() + ones([2], dtype='float64')", lambda x: x.sum() + torch.ones(2).double(), [(0,)]),
    "0-dim": ("y = exp(x) * w", lambda x, w: torch.exp(x) * w, [(), ()]),
}


@pytest.mark.parametrize("mode", [*MODES, "auto"])
@pytest.mark.parametrize(("graph", "function", "shapes"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_jacobians_are_those_of_torch_func_in_every_mode(derive, graph, function, shapes, mode):
    inputs = dict(zip("xw", [random(*shape, seed=i) for i, shape in enumerate(shapes)], strict=False))
    expected = torch.func.jacrev(function, argnums=tuple(range(len(shapes))))(*inputs.values())
    result = derive("jacobian", graph, inputs=inputs, mode=mode)
    several = expected if isinstance(expected[0], tuple) else (expected,)
    for row, blocks in zip(result["jacobians"].values(), several, strict=True):
        torch.testing.assert_close(list(row.values()), list(blocks))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_jacobian_has_the_dtype_of_its_input(derive, dtype, mode):
    x = random(3, dtype=dtype)
    block = derive("jacobian", "y = x ** 3", inputs={"x": x}, mode=mode)["jacobians"]["y"]["x"]
    torch.testing.assert_close(block, torch.diag(3 * x**2), rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_and_outputs_may_have_different_precisions(derive, mode):
    inputs = {"x": random(2, dtype=torch.float32), "w": random(2)}
    row = derive("jacobian", "y = x * w", inputs=inputs, mode=mode)["jacobians"]["y"]
    assert {name: block.dtype for name, block in row.items()} == {"x": torch.float32, "w": torch.float64}
    torch.testing.assert_close(row["x"], torch.diag(inputs["w"]).float())


# Complex numbers


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_the_jacobian_of_a_holomorphic_function_is_its_complex_derivative(derive, dtype, mode):
    z = random(2, 2, dtype=dtype)
    block = derive("jacobian", "y = z @ z", inputs={"z": z}, mode=mode)["jacobians"]["y"]["z"]
    eye = torch.eye(2, dtype=dtype)
    expected = torch.einsum("ik,lj->ijkl", eye, z) + torch.einsum("ik,lj->ijkl", z, eye)
    torch.testing.assert_close(block, expected)


@pytest.mark.parametrize("mode", MODES)
def test_the_jacobian_of_a_complex_output_by_a_real_input_is_the_ordinary_derivative(derive, mode):
    x = random(3).abs()
    block = derive("jacobian", "y = polar(x, x)", inputs={"x": x}, mode=mode)["jacobians"]["y"]["x"]
    torch.testing.assert_close(block, torch.diag(torch.exp(1j * x) * (1 + 1j * x)))


@pytest.mark.parametrize("mode", MODES)
def test_the_jacobian_of_a_real_output_by_a_complex_input_is_torchs_gradient(derive, mode):
    z = random(3, dtype=torch.complex128).requires_grad_()
    z.abs().sum().backward()
    block = derive("jacobian", "y = z.abs()", inputs={"z": z.detach()}, mode=mode)["jacobians"]["y"]["z"]
    torch.testing.assert_close(block, torch.diag(z.grad))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("graph", ["y = z.conj() * 2", "y = z * z.abs()"])
def test_a_complex_output_that_is_not_holomorphic_has_no_jacobian(refusal, graph, mode):
    problem = refusal("jacobian", graph, inputs={"z": random(2, dtype=torch.complex128)}, mode=mode)
    assert problem["code"] == "not_differentiable"
    assert "holomorphic" in problem["detail"]
    assert "view_as_real" in problem["hint"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("graph", ["y = stack([z[0] * 1000, z[1].conj()])", "y = z + 1e-3 * z.conj()"])
def test_a_small_part_that_is_not_holomorphic_is_not_overlooked(refusal, graph, dtype, mode):
    z = random(2, dtype=torch.complex128).to(dtype)
    problem = refusal("jacobian", graph, inputs={"z": z}, mode=mode)
    assert (problem["code"], "'y'" in problem["detail"]) == ("not_differentiable", True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("graph", ["y = exp(z) * exp(-z)", "y = sin(z) ** 2 + cos(z) ** 2", "y = fft.ifft(fft.fft(z))"])
def test_entries_that_cancel_are_no_sign_of_another_part(derive, graph, mode):
    z = random(4, dtype=torch.complex128)
    block = derive("jacobian", graph, inputs={"z": z}, mode=mode)["jacobians"]["y"]["z"]
    expected = torch.eye(4, dtype=z.dtype) if "fft" in graph else torch.zeros(4, 4, dtype=z.dtype)
    torch.testing.assert_close(block, expected, rtol=0, atol=1e-13)


# Which, and how


def test_of_and_wrt_choose_the_blocks(derive):
    graph = "c = [2.0, 3.0]; y = x * c; z = w * x; k = argmax(x); return y, z, k"
    inputs = {"x": random(2), "w": random(2, seed=1)}
    blocks = derive("jacobian", graph, inputs=inputs, of=["z", "y"], wrt=["c", "x"])["jacobians"]
    assert {y: list(row) for y, row in blocks.items()} == {"z": ["c", "x"], "y": ["c", "x"]}
    torch.testing.assert_close(blocks["y"]["c"], torch.diag(inputs["x"]))
    torch.testing.assert_close(blocks["z"]["c"], torch.zeros(2, 2).double())
    assert list(derive("jacobian", graph, inputs=inputs)["jacobians"]) == ["y", "z"]


@pytest.mark.parametrize(
    ("graph", "mode"),
    [
        ("y = x.sum()", "reverse"),
        ("y = x * x", "reverse"),
        ("y = x.repeat(2)", "forward"),
        ("y = polar(x, x)", "forward"),
    ],
)
def test_auto_goes_by_rows_unless_there_are_more_of_them_than_columns(derive, graph, mode):
    assert derive("jacobian", graph, inputs={"x": random(3).abs()})["meta"]["mode"] == mode


CORNERS = torch.tensor([[[[-1.0, -1], [1, -1]], [[-1, 1], [1, 1]]]]).double()


@pytest.mark.parametrize(
    "call",
    ["cholesky_inverse(x)", "F.grid_sample(x[None, None], g, align_corners=True)[0, 0]"],
    ids=["a wrong rule", "a missing one"],
)
def test_auto_counts_columns_twice_where_they_need_another_route_than_the_forward_rule(derive, call):
    fields = {"inputs": {"x": torch.eye(2).double(), "g": CORNERS}, "wrt": ["x"]}
    few, many = (f"g: Tensor; l = {call}; y = cat([{', '.join(['l'] * n)}])" for n in (2, 3))
    assert derive("jacobian", few, **fields)["meta"]["mode"] == "reverse"
    result = derive("jacobian", many, **fields)
    assert result["meta"]["mode"] == "double-reverse"
    reverse = derive("jacobian", many, mode="reverse", **fields)
    torch.testing.assert_close(result["jacobians"]["y"]["x"], reverse["jacobians"]["y"]["x"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("chunk", "path"), [(1, "chunked"), (3, "chunked"), (7, "vmapped"), (100, "vmapped")])
def test_chunks_change_the_path_and_no_number(derive, mode, chunk, path):
    inputs = {"x": random(7)}
    graph = "y = softmax(x, 0)"
    result = derive("jacobian", graph, inputs=inputs, mode=mode, chunk_size=chunk)
    assert result["meta"]["path"] == path
    torch.testing.assert_close(
        result["jacobians"]["y"]["x"], torch.func.jacrev(lambda x: torch.softmax(x, 0))(inputs["x"])
    )


def test_meta_counts_the_passes(derive):
    reverse = derive("jacobian", "y = x * x", inputs={"x": random(7)}, mode="reverse", chunk_size=3)["meta"]
    assert (reverse["forward_count"], reverse["backward_count"]) == (1, 3)
    forward = derive("jacobian", "y = x * x", inputs={"x": random(7)}, mode="forward", chunk_size=3)["meta"]
    assert (forward["forward_count"], forward["backward_count"]) == (1 + 3, 1)
    assert forward["adjoint_error"] < 1e-12


def test_an_operator_without_a_batching_rule_is_looped(derive):
    result = derive("jacobian", "y = masked_select(x[0], x > -10) ** 2", inputs={"x": random(2, 3)})
    assert result["meta"]["path"] == "looped"
    expected = torch.autograd.functional.jacobian(lambda x: (x[0] ** 2).repeat(2), random(2, 3))
    torch.testing.assert_close(result["jacobians"]["y"]["x"], expected)


def test_forward_mode_without_any_forward_route_goes_by_rows_and_says_so(derive):
    inputs = {"x": random(2, 2), "w": random(3, 2, seed=1)}
    result = derive("jacobian", "y = cdist(x, w)", inputs=inputs, mode="forward")
    assert result["meta"]["mode"] == "reverse"
    assert any("reverse mode was taken" in note for note in result["meta"]["notes"])
    expected = torch.autograd.functional.jacobian(torch.cdist, tuple(inputs.values()))
    torch.testing.assert_close(tuple(result["jacobians"]["y"].values()), expected)


def test_a_shape_that_only_the_run_knows_is_no_hindrance(derive):
    x = torch.tensor([1.0, -2.0, 3.0]).double()
    for mode in MODES:
        block = derive("jacobian", "y = x[x > 0] ** 2", inputs={"x": x}, mode=mode)["jacobians"]["y"]["x"]
        torch.testing.assert_close(block, torch.tensor([[2.0, 0, 0], [0, 0, 6.0]]).double())


# Inside backward


def test_backward_takes_the_same_options(derive):
    graph = "y = x * w; z = x.sum(); return y, z"
    inputs = {"x": random(3), "w": random(3, seed=1)}
    options = {"of": ["y"], "wrt": ["w"], "mode": "forward", "chunk_size": 2}
    result = derive("backward", graph, inputs=inputs, grad_tensors={"y": [1.0] * 3}, wrt=["x"], jacobian=options)
    assert list(result["gradients"]) == ["x"]
    torch.testing.assert_close(result["gradients"]["x"], inputs["w"] + 1)
    assert {y: list(row) for y, row in result["jacobians"].items()} == {"y": ["w"]}
    torch.testing.assert_close(result["jacobians"]["y"]["w"], torch.diag(inputs["x"]))
    meta = result["meta"]
    assert (meta["mode"], meta["path"]) == ("reverse", "single")
    assert meta["jacobian"] == {"mode": "forward", "path": "chunked"}
    assert (meta["forward_count"], meta["backward_count"]) == (1 + 2, 1 + 1)  # one more pass checks forward mode


def test_an_output_that_only_the_jacobian_needs_takes_no_grad_tensor(derive, refusal):
    inputs = {"x": random(3), "w": random(3, seed=1)}
    options = {"wrt": ["w"], "of": ["z"]}
    result = derive("backward", "y = x.sum(); z = w * 2; return y, z", inputs=inputs, wrt=["x"], jacobian=options)
    torch.testing.assert_close(result["gradients"], {"x": torch.ones(3).double()})
    torch.testing.assert_close(result["jacobians"]["z"]["w"], 2 * torch.eye(3).double())
    cut = {"inputs": inputs, "wrt": ["x"], "jacobian": {"wrt": ["w"]}}
    assert refusal("backward", "y = (x.detach() * w).sum()", **cut)["code"] == "not_differentiable"


@pytest.mark.parametrize("mode", MODES)
def test_v_times_the_jacobian_is_the_gradient_in_backward(derive, mode):
    inputs, v = {"x": random(3, 3)}, random(3, 3, seed=1)
    result = derive("backward", "y = linalg.inv(x)", inputs=inputs, grad_tensors={"y": v}, jacobian={"mode": mode})
    torch.testing.assert_close(torch.tensordot(v, result["jacobians"]["y"]["x"], 2), result["gradients"]["x"])


# What is refused


PRODUCT = "a = ones([1000, 1000], dtype='float64') * x[0]; b = a @ a; y = x * b[0, 0]"
LONG = torch.ones(4000).double()
TOO_MANY = {
    "rows": ("jacobian", {}, ""),
    "rows beside a gradient": ("backward", {"grad_tensors": {"y": LONG}, "jacobian": True}, "/jacobian"),
    "rows of a Hessian": ("hessian", {"grad_tensors": {"y": LONG}}, ""),
    "cotangents": (
        "backward",
        {"grad_tensors": {"y": torch.ones(4000, 4000).double()}, "is_grads_batched": True},
        "/grad_tensors",
    ),
}


@pytest.mark.parametrize(("operation", "fields", "pointer"), TOO_MANY.values(), ids=TOO_MANY)
def test_passes_that_would_take_minutes_are_refused_before_any_work(refusal, operation, fields, pointer):
    problem = refusal(operation, PRODUCT, inputs={"x": LONG}, **fields)
    assert (problem["code"], problem.get("pointer", ""), problem["node"]) == ("limit_exceeded", pointer, "b")
    assert "passes" in problem["detail"]


REFUSED = {
    "an output that is none": ({"of": ["ys"]}, "unknown_output", "/of/0"),
    "an integer output": ({"of": ["y", "k"]}, "not_differentiable", "/of/1"),
    "an input that is none": ({"wrt": ["xs"]}, "unknown_input", "/wrt/0"),
    "an integer input": ({"wrt": ["i"]}, "not_differentiable", "/wrt/0"),
    "no output": ({"of": []}, "invalid_field", "/of"),
    "another mode": ({"mode": "sideways"}, "invalid_field", "/mode"),
    "a chunk of nothing": ({"chunk_size": 0}, "invalid_field", "/chunk_size"),
}
POINT = {"x": [1.0, 2.0], "i": {"dtype": "int64", "data": [1, 0]}}


@pytest.mark.parametrize(("fields", "code", "pointer"), REFUSED.values(), ids=REFUSED)
def test_choices_that_do_not_fit_are_refused_at_their_place(refusal, fields, code, pointer):
    graph = "y = x * i; k = argmax(x); return y, k"
    problem = refusal("jacobian", graph, inputs=POINT, **fields)
    assert (problem["code"], problem["pointer"]) == (code, pointer)
    inside = refusal("backward", graph, inputs=POINT, grad_tensors={"y": [1.0, 1.0]}, jacobian=fields)
    assert (inside["code"], inside["pointer"]) == (code, "/jacobian" + pointer)


def test_a_misspelt_option_inside_backward_is_told_with_the_right_one(refusal):
    problem = refusal("backward", "y = x.sum()", inputs={"x": [1.0]}, jacobian={"modes": "forward"})
    assert (problem["code"], problem["pointer"]) == ("unknown_field", "/jacobian/modes")
    assert "'mode'" in problem["hint"]


@pytest.mark.parametrize("operation", ["jacobian", "backward"])
def test_a_jacobian_past_the_limit_is_refused_before_any_work_with_its_size(refusal, operation):
    fields = {"jacobian": True, "grad_tensors": {"y": {"dtype": "float64", "data": [1.0] * 10_000}}}
    x = torch.ones(10_000).double()
    problem = refusal(operation, "y = x * x", inputs={"x": x}, **(fields if operation == "backward" else {}))
    assert problem["code"] == "limit_exceeded"
    assert problem["got"] == 100_000_000
    assert "100,000,000 elements" in problem["detail"]


@pytest.mark.parametrize("graph", ["y = argmax(x)", "y = x.detach() * 2"])
def test_outputs_without_a_derivative_are_refused(refusal, graph):
    assert refusal("jacobian", graph, inputs={"x": [1.0, 2.0]})["code"] == "not_differentiable"


def test_the_node_whose_derivative_fails_is_named(refusal):
    graph = "h = x * 2; k = h // 2; y = k + 1"
    problem = refusal("jacobian", graph, inputs={"x": [1.0, 2.0]})
    assert (problem["code"], problem["node"]) == ("op_failed", "k")
    assert "^" in problem["excerpt"]


def test_a_jacobian_answer_is_a_jacobian_result(post):
    response = post("jacobian", graph="y = x * x", inputs={"x": [3.0]})
    assert JacobianResult.model_validate_json(response.content).jacobians["y"]["x"].data == [[6.0]]


# Memory

MEASURE = """
import json, sys
from pathlib import Path
import torch
from pullback_service.derivatives.jacobian import jacobians
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.work import Work
from pullback_service.engine import build_engine
from pullback_service.program.types import types_of
from pullback_service.settings import Settings

engine = build_engine(Settings())
source = engine.library.source("y = tanh(x) * x + sin(x)")

def dense(n, mode):
    inputs = {"x": torch.linspace(-2, 2, n, dtype=torch.float64)}
    plan, _ = engine.library.plan(source, types_of(inputs), ["x"])
    work = Work("reverse")
    point = run_forward(plan, inputs, work)
    return jacobians(point.only(), mode, None, work)["y"]["x"]

def peak():
    # getrusage would begin with the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

for mode in ("reverse", "forward"):
    dense(64, mode)
before = peak()
block = dense(4000, sys.argv[1])
x = torch.linspace(-2, 2, 4000, dtype=torch.float64)
is_right = torch.allclose(block.diagonal(), x / torch.cosh(x) ** 2 + torch.tanh(x) + torch.cos(x))
print(json.dumps({"bytes": block.nbytes, "grown": peak() - before, "right": is_right}))
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_dense_jacobian_takes_little_more_memory_than_its_own_numbers(mode):
    """Elementwise with n = 4000: 128 MB of answer. A single temporary of that size would pass the bound."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, mode], capture_output=True, text=True, check=True, timeout=120
    )
    measured = json.loads(done.stdout)
    assert measured["right"]
    assert measured["bytes"] == 8 * 4000**2
    assert measured["grown"] < 1.5 * measured["bytes"]
