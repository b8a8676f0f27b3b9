"""What /v1/forward and /v1/backward promise: the semantics of torch.autograd over HTTP."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import torch
from torch import Tensor

from pullback_schemas import BackwardResult, CheckResult, ForwardResult

IMPLICIT = "grad can be implicitly created only for scalar outputs"
IMPLICIT_COMPLEX = "grad can be implicitly created only for real scalar outputs but got"
LOOPED = "y = masked_select(x[0, 0], x > -10).reshape([1, 4, 3])"
"""The backward pass of this operator, where the mask is the larger tensor, is one that vmap refuses."""


def real(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cplx(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def full(tensor: Tensor) -> dict[str, Any]:
    data = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "data": data.tolist()}


def decoded(value: dict[str, Any]) -> Tensor:
    """A nested or base64 answer as a tensor."""
    dtype = getattr(torch, value["dtype"])
    if value.get("encoding") == "base64":
        raw = bytearray(base64.b64decode(value["data"], validate=True))
        return torch.frombuffer(raw, dtype=dtype).reshape(value["shape"])
    if dtype.is_complex:
        return torch.view_as_complex(torch.tensor(value["data"], dtype=dtype.to_real()).reshape(*value["shape"], 2))
    return torch.tensor(value["data"], dtype=dtype).reshape(value["shape"])


def gradients(result: Any) -> dict[str, Tensor]:
    return {name: decoded(value) for name, value in result["gradients"].items()}


# grad_tensors


def test_several_outputs_add_up_their_contributions(answer):
    x, v, w = [1.0, -2.0, 3.0], [0.5, 1.0, -1.0], [2.0, 0.25, 1.0]
    graph = "y = 3 * x; z = x ** 2; return y, z"
    result = answer("backward", graph=graph, inputs={"x": x}, grad_tensors={"y": v, "z": w})
    assert result["gradients"]["x"]["data"] == [3 * a + 2 * b * c for a, b, c in zip(v, w, x, strict=True)]


def test_an_output_that_stands_under_two_names_counts_twice(answer):
    graph = {"nodes": [{"id": "y", "op": "mul", "args": ["$x", 3]}], "outputs": {"a": "$y", "b": "$y"}}
    result = answer("backward", graph=graph, inputs={"x": [1.0]}, grad_tensors={"a": [1.0], "b": [10.0]})
    assert result["gradients"]["x"]["data"] == [33.0]


@pytest.mark.parametrize("shape", [[], [1], [1, 1]])
def test_an_output_with_one_element_has_the_implicit_grad_tensor_1(answer, shape):
    x = {"dtype": "float64", "shape": shape, "data": [5.0]}
    result = answer("backward", graph="y = x * x", inputs={"x": x})
    assert result["gradients"]["x"] == full(torch.full(shape, 10.0, dtype=torch.float64))


@pytest.mark.parametrize("shape", [[2], [2, 1], [0]])
def test_an_output_with_any_other_number_of_elements_needs_its_grad_tensor(post, shape):
    x = {"dtype": "float64", "shape": shape, "data": [0.0] * (torch.Size(shape).numel())}
    response = post("backward", graph="y = x * x", inputs={"x": x})
    assert response.status_code == 422
    assert IMPLICIT in response.json()["detail"]
    assert response.json()["expected"] == {"dtype": "float64", "shape": shape}


def test_a_missing_grad_tensor_of_a_complex_scalar_is_refused_with_torchs_sentence(post):
    z = torch.tensor(1 + 2j, requires_grad=True)
    with pytest.raises(RuntimeError, match=IMPLICIT_COMPLEX):
        torch.autograd.grad(z * z, z)
    response = post("backward", graph="y = z * z", inputs={"z": {"dtype": "complex128", "data": [1.0, 2.0]}})
    assert response.status_code == 422
    assert IMPLICIT_COMPLEX in response.json()["detail"]


def test_the_refusal_names_every_output_whose_grad_tensor_is_missing(post):
    response = post("backward", graph="y = x * 2; z = x * 3; s = x.sum(); return y, z, s", inputs={"x": [1.0, 2.0]})
    assert [problem["node"] for problem in response.json()["errors"]] == ["y", "z"]


def test_grad_tensors_may_be_a_list_in_the_order_of_the_outputs(answer):
    graph = "y = 2 * x; z = 10 * x; return z, y"
    by_list = answer("backward", graph=graph, inputs={"x": [1.0, 1.0]}, grad_tensors=[[1.0, 2.0], [3.0, 4.0]])
    by_name = answer("backward", graph=graph, inputs={"x": [1.0, 1.0]}, grad_tensors={"y": [3.0, 4.0], "z": [1.0, 2.0]})
    assert by_list["gradients"] == by_name["gradients"]
    assert by_list["gradients"]["x"]["data"] == [16.0, 28.0]


def test_null_in_the_list_means_the_implicit_1_of_a_scalar_and_nothing_for_an_integer_output(answer):
    graph = "s = x.sum(); y = x * x; i = argmax(x); return s, y, i"
    result = answer("backward", graph=graph, inputs={"x": [3.0, 4.0]}, grad_tensors=[None, [1.0, 0.0], None])
    assert result["gradients"]["x"]["data"] == [1 + 6.0, 1.0]


def test_null_for_a_name_is_as_if_it_were_left_out(answer):
    result = answer("backward", graph="s = x.sum()", inputs={"x": [3.0, 4.0]}, grad_tensors={"s": None})
    assert result["gradients"]["x"]["data"] == [1.0, 1.0]


def test_no_grad_tensor_is_needed_for_an_output_that_no_wrt_reaches(answer):
    graph = "y = x.sum(); z = w * 2; return y, z"
    result = answer("backward", graph=graph, inputs={"x": [1.0, 2.0], "w": [1.0, 2.0]}, wrt=["x"])
    assert result["gradients"]["x"]["data"] == [1.0, 1.0]
    assert result["outputs"]["z"]["data"] == [2.0, 4.0]


@pytest.mark.parametrize("form", ["short", "full"])
def test_a_grad_tensor_has_exactly_the_outputs_shape_and_is_never_broadcast(post, form):
    v = [1.0] if form == "short" else full(torch.ones(1, dtype=torch.float64))
    response = post("backward", graph="y = x * x", inputs={"x": [1.0, 2.0]}, grad_tensors={"y": v})
    assert response.status_code == 422
    assert response.json()["code"] == "shape_mismatch"
    assert response.json()["pointer"] == "/grad_tensors/y"
    assert (response.json()["expected"], response.json()["got"]) == ([2], [1])


def test_a_grad_tensor_has_exactly_the_outputs_dtype(post):
    v = full(torch.ones(2, dtype=torch.float32))
    response = post("backward", graph="y = x * x", inputs={"x": [1.0, 2.0]}, grad_tensors={"y": v})
    assert response.json()["code"] == "dtype_mismatch"
    assert (response.json()["expected"], response.json()["got"]) == ("float64", "float32")


def test_a_short_grad_tensor_takes_the_dtype_of_its_output(answer):
    x = full(torch.tensor([1.0, 2.0], dtype=torch.float16))
    result = answer("backward", graph="y = x * x", inputs={"x": x}, grad_tensors={"y": [1, 1]})
    assert result["gradients"]["x"] == full(torch.tensor([2.0, 4.0], dtype=torch.float16))


# wrt and unused


def test_wrt_picks_inputs_and_constants(answer):
    graph = "c = [2.0, 3.0]; y = x * c + w"
    inputs = {"x": [5.0, 7.0], "w": [0.0, 0.0]}
    result = answer("backward", graph=graph, inputs=inputs, grad_tensors={"y": [1.0, 10.0]}, wrt=["c", "x"])
    assert {name: value["data"] for name, value in result["gradients"].items()} == {"c": [5.0, 70.0], "x": [2.0, 30.0]}


def test_by_default_every_floating_and_complex_input_gets_a_gradient_and_nothing_else_does(answer):
    graph = "c = [2.0]; y = (x * h * c).sum() + z.abs().sum() + k.sum() + m.sum()"
    inputs = {
        "x": full(torch.ones(1, dtype=torch.float32)),
        "h": full(torch.ones(1, dtype=torch.bfloat16)),
        "z": full(torch.ones(1, dtype=torch.complex64)),
        "k": full(torch.ones(1, dtype=torch.int64)),
        "m": full(torch.ones(1, dtype=torch.bool)),
    }
    result = answer("backward", graph=graph, inputs=inputs, grad_tensors={"y": 1.0})
    assert {name: value["dtype"] for name, value in result["gradients"].items()} == {
        "x": "float32",
        "h": "bfloat16",
        "z": "complex64",
    }


@pytest.mark.parametrize(("unused", "expected"), [("zeros", full(torch.zeros(2, 1).double())), ("null", None)])
def test_an_input_that_no_output_depends_on_gets_zeros_or_null_as_asked(answer, unused, expected):
    inputs = {"x": [1.0], "w": [[1.0], [2.0]]}
    result = answer("backward", graph="w: Tensor; y = x * x", inputs=inputs, unused=unused)
    assert result["gradients"] == {"x": full(torch.tensor([2.0]).double()), "w": expected}


def test_an_input_that_no_output_depends_on_gets_zeros_unless_told_otherwise(answer):
    result = answer("backward", graph="w: Tensor; y = x * x", inputs={"x": [1.0], "w": [1.0, 2.0]})
    assert result["gradients"]["w"]["data"] == [0.0, 0.0]


def test_an_input_that_no_output_depends_on_is_an_error_if_asked(post):
    response = post("backward", graph="w: Tensor; y = x * x", inputs={"x": [1.0], "w": [1.0]}, unused="error")
    assert response.status_code == 422
    assert response.json()["code"] == "unused_input"
    assert "'w'" in response.json()["detail"]


def test_a_detached_value_passes_no_gradient_on(answer):
    result = answer("backward", graph="y = (x * x.detach()).sum()", inputs={"x": [3.0, 4.0]})
    assert result["gradients"]["x"]["data"] == [3.0, 4.0]


def test_the_backward_of_an_operator_without_a_derivative_is_refused_with_torchs_sentence(post):
    x = torch.tensor([3.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="not implemented") as caught:
        torch.autograd.grad(x // 2, x)
    response = post("backward", graph="y = x // 2", inputs={"x": [3.0]})
    assert response.status_code == 422
    assert str(caught.value) in response.json()["detail"]


def test_an_input_that_torch_cannot_differentiate_by_is_refused_naming_the_node(post):
    inputs = {"x": [[1.0, 2.0]], "t": full(torch.tensor([1])), "w": [1.0, 1.0]}
    response = post("backward", graph="y = F.cross_entropy(x, t, w)", inputs=inputs)
    assert response.status_code == 422
    assert response.json()["node"] == "y"
    assert "not differentiable with respect to argument 'weight'" in response.json()["detail"]


# Many vectors at once


@pytest.mark.parametrize(
    ("graph", "path"),
    [
        ("y = tanh(x @ x.mT); z = (x * x).sum(); return y, z", "vmapped"),
        (LOOPED + "; z = x * x; return y, z", "looped"),
    ],
    ids=["vmapped", "looped"],
)
def test_batched_grad_tensors_equal_a_loop_of_single_ones_over_several_outputs(answer, graph, path):
    inputs = {"x": full(real(1, 4, 3))}
    shapes = {name: y["shape"] for name, y in answer("forward", graph=graph, inputs=inputs)["outputs"].items()}
    seeds = {name: real(5, *shape, seed=len(name)) for name, shape in shapes.items()}
    sent = {name: full(v) for name, v in seeds.items()}
    batched = answer("backward", graph=graph, inputs=inputs, grad_tensors=sent, is_grads_batched=True)
    assert batched["meta"]["path"] == path
    for index in range(5):
        one = {name: full(v[index]) for name, v in seeds.items()}
        single = gradients(answer("backward", graph=graph, inputs=inputs, grad_tensors=one))["x"]
        torch.testing.assert_close(gradients(batched)["x"][index], single, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("graph", "passes"), [("y = x * x", 1), (LOOPED, 7)], ids=["vmapped", "looped"])
def test_batched_grad_tensors_take_one_pass_when_vmapped_and_one_each_when_looped(answer, graph, passes):
    v = full(real(7, 1, 4, 3))
    result = answer("backward", graph=graph, inputs={"x": full(real(1, 4, 3))}, grad_tensors=[v], is_grads_batched=True)
    assert result["meta"]["backward_count"] == passes


@pytest.mark.parametrize("graph", ["y = x * x", LOOPED], ids=["vmapped", "looped"])
def test_a_batch_of_no_grad_tensors_gives_a_batch_of_no_gradients(answer, graph):
    none = full(real(0, 1, 4, 3))
    result = answer(
        "backward", graph=graph, inputs={"x": full(real(1, 4, 3))}, grad_tensors=[none], is_grads_batched=True
    )
    assert result["gradients"]["x"] == none


def test_an_unused_input_gets_a_batch_of_zeros(answer):
    result = answer(
        "backward",
        graph="w: Tensor; y = x * x",
        inputs={"x": [1.0], "w": [1.0, 2.0]},
        grad_tensors={"y": [[1.0], [2.0], [3.0]]},
        is_grads_batched=True,
    )
    assert result["gradients"]["w"]["data"] == [[0.0, 0.0]] * 3
    assert result["gradients"]["x"]["data"] == [[2.0], [4.0], [6.0]]


def test_batched_grad_tensors_of_two_outputs_must_be_equally_many(post):
    response = post(
        "backward",
        graph="y = x * 2; z = x * 3; return y, z",
        inputs={"x": [1.0]},
        grad_tensors={"y": [[1.0], [2.0]], "z": [[1.0]]},
        is_grads_batched=True,
    )
    assert response.status_code == 422
    assert response.json()["pointer"] == "/grad_tensors/z"
    assert (response.json()["expected"], response.json()["got"]) == (2, 1)


def test_a_batched_grad_tensor_without_its_leading_axis_is_refused_with_the_shape_to_send(post):
    response = post(
        "backward", graph="y = x * 2", inputs={"x": [1.0, 2.0]}, grad_tensors={"y": [1.0, 2.0]}, is_grads_batched=True
    )
    assert response.json()["code"] == "shape_mismatch"
    assert response.json()["expected"] == ["batch", 2]


def test_a_scalar_output_beside_a_batched_one_counts_as_1_for_each_vector(answer):
    result = answer(
        "backward",
        graph="y = x * 2; s = x.sum(); return y, s",
        inputs={"x": [1.0, 2.0]},
        grad_tensors={"y": [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]},
        is_grads_batched=True,
    )
    assert result["gradients"]["x"]["data"] == [[3.0, 1.0], [1.0, 3.0], [1.0, 1.0]]


# Jacobians


JACOBIANS = {
    "several inputs and outputs": (
        "y = tanh(x @ w); z = (x * x).sum(dim=1); return y, z",
        lambda x, w: (torch.tanh(x @ w), (x * x).sum(dim=1)),
        {"x": real(2, 3), "w": real(3, 2, seed=1)},
    ),
    "0-dim output": ("y = (x ** 3).sum()", lambda x: (x**3).sum(), {"x": real(2, 2)}),
    "0-dim input": ("y = x * w", lambda x, w: x * w, {"x": real(), "w": real(3, seed=1)}),
    "0-dim both": ("y = exp(x)", torch.exp, {"x": real()}),
    "an input that no output depends on": ("w: Tensor; y = x * x", lambda x, _: x * x, {"x": real(2), "w": real(2, 1)}),
    "looped": (LOOPED, lambda x: x[0, 0].expand(1, 4, 3), {"x": real(1, 4, 3)}),
    "matrix inverse": ("y = linalg.inv(x)", torch.linalg.inv, {"x": real(3, 3) + 3 * torch.eye(3)}),
    "an input as an output": ("y = x * 2; return x, y", lambda x: (x, x * 2), {"x": real(2)}),
}


@pytest.mark.parametrize(("graph", "function", "inputs"), JACOBIANS.values(), ids=JACOBIANS)
def test_the_jacobian_is_that_of_torch_autograd_functional(answer, graph, function, inputs):
    expected = torch.autograd.functional.jacobian(function, tuple(inputs.values()))
    several = isinstance(function(*inputs.values()), tuple)
    sent = {name: full(tensor) for name, tensor in inputs.items()}
    outputs = answer("forward", graph=graph, inputs=sent)["outputs"]
    ones = {name: full(torch.ones_like(decoded(value))) for name, value in outputs.items()}
    result = answer("backward", graph=graph, inputs=sent, grad_tensors=ones, jacobian=True)
    for y, rows in zip(outputs, expected if several else (expected,), strict=True):
        for x, block in zip(inputs, rows, strict=True):
            assert result["jacobians"][y][x]["shape"] == [*outputs[y]["shape"], *inputs[x].shape]
            torch.testing.assert_close(decoded(result["jacobians"][y][x]), block, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("y", "x"), [([0], [3]), ([2], [0]), ([0], [0]), ([], [0])])
def test_a_jacobian_without_elements_has_its_shape_all_the_same(answer, y, x):
    graph = f"y = x.sum() + zeros({y}, dtype='float64')"
    inputs = {"x": {"dtype": "float64", "shape": x, "data": [0.0] * torch.Size(x).numel()}}
    ones = {"dtype": "float64", "shape": y, "data": [1.0] * torch.Size(y).numel()}
    result = answer("backward", graph=graph, inputs=inputs, grad_tensors=[ones], jacobian=True)
    assert result["jacobians"]["y"]["x"]["shape"] == [*y, *x]


def test_the_gradient_is_the_sum_of_each_v_times_its_jacobian(answer):
    graph, _, inputs = JACOBIANS["several inputs and outputs"]
    seeds = {"y": real(2, 2, seed=5), "z": real(2, seed=6)}
    result = answer(
        "backward",
        graph=graph,
        inputs={name: full(x) for name, x in inputs.items()},
        grad_tensors={name: full(v) for name, v in seeds.items()},
        jacobian=True,
    )
    for x, gradient in gradients(result).items():
        parts = [torch.tensordot(v, decoded(result["jacobians"][y][x]), v.dim()) for y, v in seeds.items()]
        torch.testing.assert_close(gradient, parts[0] + parts[1], rtol=1e-13, atol=1e-14)


def test_the_jacobian_of_an_integer_output_is_left_out(answer):
    result = answer("backward", graph="i = argmax(x); y = x.sum(); return i, y", inputs={"x": [1.0]}, jacobian=True)
    assert list(result["jacobians"]) == ["y"]


def test_the_jacobian_is_of_wrt_only(answer):
    result = answer("backward", graph="y = (x * w).sum()", inputs={"x": [2.0], "w": [3.0]}, wrt=["w"], jacobian=True)
    assert {x: value["data"] for x, value in result["jacobians"]["y"].items()} == {"w": [2.0]}


def test_an_answer_has_jacobians_only_when_they_were_asked_for(answer):
    assert "jacobians" not in answer("backward", graph="y = x * x", inputs={"x": [2.0]})


@pytest.mark.parametrize("more", [{}, {"jacobian": True}, {"explain": True}, {"encoding": "base64"}], ids=str)
def test_outputs_are_left_out_if_nobody_wants_them_and_all_else_is_the_same(answer, more):
    request = {"graph": "y = exp(x) * w; z = x.sum()", "inputs": {"x": [0.1, 0.7], "w": [1 / 3, 2.0]}, **more}
    request["grad_tensors"] = {"y": [1.5, -1.0]}
    request["graph"] += "; return y, z"
    whole, rest = answer("backward", **request), answer("backward", **request, outputs=False)
    assert set(whole) - set(rest) == {"outputs"}
    assert {name: rest[name] for name in rest if name != "meta"} == {name: whole[name] for name in {*rest} - {"meta"}}


# Complex numbers

COMPLEX = {
    "y = exp(z) * w + z.conj()": lambda z, w: torch.exp(z) * w + z.conj(),
    "y = z.abs() ** 2 + w.angle()": lambda z, w: z.abs() ** 2 + w.angle(),
    "y = linalg.vecdot(z, w).real": lambda z, w: torch.linalg.vecdot(z, w).real,
    "y = fft.ifft(fft.fft(z) * w)": lambda z, w: torch.fft.ifft(torch.fft.fft(z) * w),
}


@pytest.mark.parametrize(("graph", "function"), COMPLEX.items(), ids=COMPLEX)
def test_complex_gradients_follow_torchs_convention(answer, graph, function):
    z, w = cplx(4).requires_grad_(), cplx(4, seed=1).requires_grad_()
    y = function(z, w)
    v = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    expected = torch.autograd.grad(y, (z, w), v)
    sent = {"z": full(z.detach()), "w": full(w.detach())}
    got = gradients(answer("backward", graph=graph, inputs=sent, grad_tensors={"y": full(v)}))
    assert torch.equal(got["z"], expected[0])
    assert torch.equal(got["w"], expected[1])


def test_the_gradient_of_the_squared_modulus_is_2z(answer):
    z = cplx(3)
    graph = "y = (z * z.conj()).real.sum()"
    got = gradients(answer("backward", graph=graph, inputs={"z": full(z)}))["z"]
    torch.testing.assert_close(got, 2 * z, rtol=1e-15, atol=0)


def test_the_gradient_of_a_holomorphic_square_is_the_conjugate_of_2z_times_v(answer):
    z, v = cplx(3), cplx(3, seed=1)
    got = gradients(answer("backward", graph="y = z ** 2", inputs={"z": full(z)}, grad_tensors={"y": full(v)}))["z"]
    torch.testing.assert_close(got, (2 * z).conj() * v, rtol=1e-14, atol=0)


def test_a_real_input_of_a_complex_function_has_a_real_gradient(answer):
    x, v = real(3), cplx(3, seed=1)
    result = answer("backward", graph="y = x * 1j", inputs={"x": full(x)}, grad_tensors={"y": full(v)})
    assert result["gradients"]["x"] == full(v.imag)


# Shapes that only the run can tell

DYNAMIC = {
    "y = x[x > 0] ** 2": (lambda x: x[x > 0] ** 2, [1.0, 10.0, 100.0]),
    "y = masked_select(x, x > 0) * 3": (lambda x: torch.masked_select(x, x > 0) * 3, [1.0, 10.0, 100.0]),
    "i = nonzero(x > 0); y = x[i[:, 0]].exp()": (lambda x: x[torch.nonzero(x > 0)[:, 0]].exp(), [1.0, 10.0, 100.0]),
    "i = argwhere(x < 0); y = x[i] * x": (lambda x: x[torch.argwhere(x < 0)] * x, [[1.0, 2.0, 3.0, 4.0, 5.0]] * 2),
}
FIVE = [1.5, -2.0, 3.0, -0.5, 0.25]


@pytest.mark.parametrize("form", ["short", "full"])
@pytest.mark.parametrize(("graph", "function", "v"), [(g, f, v) for g, (f, v) in DYNAMIC.items()], ids=DYNAMIC)
def test_a_shape_that_only_the_run_can_tell_takes_grad_tensors_of_that_shape(answer, graph, function, v, form):
    x, seed = torch.tensor(FIVE, dtype=torch.float64, requires_grad=True), torch.tensor(v, dtype=torch.float64)
    (expected,) = torch.autograd.grad(function(x), x, seed)
    sent = v if form == "short" else full(seed)
    result = answer("backward", graph=graph, inputs={"x": FIVE}, grad_tensors={"y": sent})
    assert result["gradients"]["x"] == full(expected)
    assert result["outputs"]["y"] == full(function(x.detach()))


@pytest.mark.parametrize("graph", DYNAMIC)
def test_a_grad_tensor_that_misses_the_shape_that_the_run_found_is_refused(post, graph):
    response = post("backward", graph=graph, inputs={"x": FIVE}, grad_tensors={"y": [1.0, 2.0]})
    assert response.status_code == 422
    assert response.json()["code"] == "shape_mismatch"
    assert response.json()["pointer"] == "/grad_tensors/y"


def test_a_missing_grad_tensor_of_such_an_output_is_refused_with_the_shape_found(post):
    response = post("backward", graph="y = x[x > 0]", inputs={"x": FIVE})
    assert IMPLICIT in response.json()["detail"]
    assert response.json()["expected"] == {"dtype": "float64", "shape": [3]}


def test_the_same_graph_gives_another_shape_for_other_numbers(answer):
    shapes = [
        answer("forward", graph="y = x[x > 0]", inputs={"x": x})["outputs"]["y"]["shape"]
        for x in ([1.0, 2.0, 3.0], [1.0, -2.0, 3.0], [-1.0, -2.0, -3.0])
    ]
    assert shapes == [[3], [2], [0]]


def test_nothing_selected_takes_an_empty_grad_tensor_and_gives_zeros(answer):
    result = answer("backward", graph="y = x[x > 9]", inputs={"x": FIVE}, grad_tensors={"y": []})
    assert result["gradients"]["x"]["data"] == [0.0] * 5


def test_a_scalar_behind_such_a_shape_needs_no_grad_tensor(answer):
    result = answer("backward", graph="y = (x[x > 0] ** 2).sum()", inputs={"x": FIVE}, jacobian=True)
    assert result["gradients"]["x"]["data"] == [3.0, 0.0, 6.0, 0.0, 0.5]
    assert result["jacobians"]["y"]["x"]["data"] == [3.0, 0.0, 6.0, 0.0, 0.5]


def test_batched_grad_tensors_work_behind_such_a_shape(answer):
    v = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    result = answer(
        "backward", graph="y = x[x > 0] * 2", inputs={"x": FIVE}, grad_tensors={"y": v}, is_grads_batched=True
    )
    assert result["gradients"]["x"]["data"] == [[2.0, 0, 0, 0, 0], [0, 0, 0, 0, 2.0]]


# What is said beside the numbers


def test_meta_says_what_was_done(answer):
    meta = answer("backward", graph="y = (x * x).sum()", inputs={"x": [1.0]})["meta"]
    assert meta["device"] == "cpu"
    assert (meta["mode"], meta["path"]) == ("reverse", "single")
    assert (meta["forward_count"], meta["backward_count"]) == (1, 1)
    assert meta["torch_version"] == torch.__version__


def test_meta_of_a_forward_run_counts_no_backward_pass(answer):
    meta = answer("forward", graph="y = x * x", inputs={"x": [1.0]})["meta"]
    assert (meta["mode"], meta["forward_count"], meta["backward_count"]) == ("forward", 1, 0)


def test_a_plan_is_cached_by_graph_and_shapes_and_dtypes(answer):
    graph = "only_here = sinh(x) * 3.25"
    known = [
        answer("forward", graph=graph, inputs={"x": x})["meta"]["plan_cached"]
        for x in ([1.0, 2.0], [3.0, 4.0], [1.0, 2.0, 3.0], full(torch.ones(2, dtype=torch.float32)), [5.0, 6.0])
    ]
    assert known == [False, True, False, False, True]


def test_a_cached_plan_computes_with_the_new_numbers(answer):
    values = [answer("forward", graph="y = cosh(x) * 0", inputs={"x": [1.0]})["outputs"]["y"]["data"]]
    for x in (2.0, -3.0):
        result = answer("backward", graph="y = x ** 2", inputs={"x": x})
        values.append((result["outputs"]["y"]["data"], result["gradients"]["x"]["data"]))
    assert values == [[0.0], (4.0, 4.0), (9.0, -6.0)]


def test_the_graph_hash_is_the_one_that_check_tells(answer):
    graph = "y = relu(x @ w)"
    inputs = {"x": [[1.0]], "w": [[2.0]]}
    hashes = {
        answer(operation, graph=graph, inputs=inputs)["meta"]["graph_sha256"] for operation in ("forward", "backward")
    }
    assert hashes == {answer("check", graph=graph)["sha256"]}


def test_timings_name_the_phases_in_meta_and_in_the_server_timing_header(post):
    response = post("backward", graph="y = (x * x).sum()", inputs={"x": [1.0]}, jacobian=True)
    timings = response.json()["meta"]["timings_ms"]
    phases = ["decode", "plan", "forward", "backward", "jacobian", "encode"]
    assert list(timings) == phases
    assert all(spent >= 0 for spent in timings.values())
    assert [entry.split(";dur=")[0] for entry in response.headers["server-timing"].split(", ")] == phases


def test_a_base64_answer_holds_the_same_bits_as_a_nested_one(answer):
    request = {
        "graph": "y = exp(x); z = polar(x.abs(), x); i = x.int(); m = x > 0; s = x[1]; return y, z, i, m, s",
        "inputs": {"x": [1 / 3, -2.5e-7, 700.0]},
        "grad_tensors": {"y": [1.0, 1.0, 1.0], "z": full(cplx(3)), "s": 1.0},
    }
    nested, packed = answer("backward", **request), answer("backward", **request, encoding="base64")
    for part in ("outputs", "gradients"):
        for name, value in nested[part].items():
            assert packed[part][name]["encoding"] == "base64"
            assert torch.equal(decoded(packed[part][name]), decoded(value))


def test_a_base64_answer_is_little_endian_in_row_major_order(answer):
    result = answer("forward", graph="y = x.T", inputs={"x": [[1.0, 2.0], [3.0, 4.0]]}, encoding="base64")
    raw = base64.b64decode(result["outputs"]["y"]["data"])
    assert raw == b"".join(torch.tensor(v, dtype=torch.float64).numpy().astype("<f8").tobytes() for v in (1, 3, 2, 4))


def test_jacobians_come_in_base64_too_when_asked(answer):
    result = answer("backward", graph="y = x * x", inputs={"x": [3.0]}, jacobian=True, encoding="base64")
    assert decoded(result["jacobians"]["y"]["x"]).tolist() == [[6.0]]


def test_numbers_that_are_not_finite_come_back_as_their_names(answer):
    result = answer("backward", graph="y = 1 / x", inputs={"x": [0.0, -0.0, "NaN", "Infinity"]}, grad_tensors=[[1] * 4])
    assert result["outputs"]["y"]["data"] == ["Infinity", "-Infinity", "NaN", 0.0]
    assert result["gradients"]["x"]["data"] == ["-Infinity", "-Infinity", "NaN", -0.0]


REQUESTS = [
    {
        "graph": "y = softmax(tanh(x @ w) @ w.T, dim=-1); z = logsumexp(x, 1); return y, z",
        "inputs": {"x": full(real(4, 3)), "w": full(real(3, 5, seed=1))},
        "grad_tensors": {"y": full(real(4, 3, seed=2)), "z": full(real(4, seed=3))},
    },
    {"graph": "y = x[x > 0].sum()", "inputs": {"x": FIVE}, "jacobian": True},
    {"graph": "y = linalg.solve(a, b)", "inputs": {"a": full(real(3, 3)), "b": [1, 2, 3]}, "grad_tensors": [[1, 2, 3]]},
    {"graph": "w: Tensor; y = x * x", "inputs": {"x": [1.0], "w": [1.0]}, "unused": "null", "encoding": "base64"},
    {"graph": "y = z.abs().sum()", "inputs": {"z": full(cplx(2))}},
    {
        "graph": "m = max(x, 0); return {'v': m.values, 'i': m.indices}",
        "inputs": {"x": [[1.0]]},
        "grad_tensors": [[1], None],
    },
    {"graph": "y = x / 0", "inputs": {"x": full(torch.zeros(2, dtype=torch.bfloat16))}, "grad_tensors": [[1, 1]]},
    {"graph": "y = x.sum()", "inputs": {"x": {"dtype": "float32", "shape": [0, 3], "data": []}}},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=[r["graph"] for r in REQUESTS])
def test_the_same_request_twice_gives_the_same_bits(post, request_):
    first, second = (post("backward", **request_).json() for _ in range(2))
    for part in ("outputs", "gradients", "jacobians"):
        assert first.get(part) == second.get(part)


@pytest.mark.parametrize("request_", REQUESTS, ids=[r["graph"] for r in REQUESTS])
def test_a_backward_answer_is_a_backward_result(post, request_):
    result = BackwardResult.model_validate_json(post("backward", **request_).content)
    assert result.meta.mode == "reverse"


@pytest.mark.parametrize("request_", REQUESTS, ids=[r["graph"] for r in REQUESTS])
def test_a_forward_answer_is_a_forward_result_with_the_values_of_the_backward_answer(post, answer, request_):
    plain = {key: request_[key] for key in ("graph", "inputs", "encoding") if key in request_}
    response = post("forward", **plain)
    assert ForwardResult.model_validate_json(response.content).meta.mode == "forward"
    assert response.json()["outputs"] == answer("backward", **request_)["outputs"]


@pytest.mark.parametrize("request_", REQUESTS, ids=[r["graph"] for r in REQUESTS])
def test_a_check_answer_is_a_check_result(post, request_):
    response = post("check", graph=request_["graph"], inputs=request_["inputs"])
    assert CheckResult.model_validate_json(response.content).outputs.keys() == response.json()["outputs"].keys()


# Two ways to write one graph

FORMS = {
    "arithmetic": (
        "h = x * w; y = relu(h).sum()",
        {
            "nodes": [
                {"id": "h", "op": "mul", "args": ["$x", "$w"]},
                {"id": "_1", "op": "relu", "args": ["$h"]},
                {"id": "y", "op": "sum", "args": ["$_1"]},
            ]
        },
    ),
    "several outputs of a node": (
        "m = max(x, 0); y = m.values * w[0]; return y",
        {
            "nodes": [
                {"id": "m", "op": "max", "args": ["$x"], "kwargs": {"dim": 0}},
                {"id": "_1", "op": "select", "args": ["$w", 0, 0]},
                {"id": "y", "op": "mul", "args": ["$m.values", "$_1"]},
            ],
            "outputs": ["y"],
        },
    ),
    "a declared input and a constant": (
        "x: float64['n']; w: float64['n']; c: float64 = [1.0, 2.0, 3.0]; y = (c * x / w).sum()",
        {
            "inputs": {"x": {"dtype": "float64", "shape": ["n"]}, "w": {"dtype": "float64", "shape": ["n"]}},
            "constants": {"c": {"dtype": "float64", "data": [1.0, 2.0, 3.0]}},
            "nodes": [
                {"id": "_1", "op": "mul", "args": ["$c", "$x"]},
                {"id": "_2", "op": "div", "args": ["$_1", "$w"]},
                {"id": "y", "op": "sum", "args": ["$_2"]},
            ],
        },
    ),
    "several outputs of the graph": (
        "a, b = split(x, [1, 2]); y = b.sum() * w.prod(); return {'first': a, 'rest': y}",
        {
            "nodes": [
                {"id": "_1", "op": "split", "args": ["$x", [1, 2]]},
                {"id": "_2", "op": "sum", "args": ["$_1.1"]},
                {"id": "_3", "op": "prod", "args": ["$w"]},
                {"id": "y", "op": "mul", "args": ["$_2", "$_3"]},
            ],
            "outputs": {"first": "$_1.0", "rest": "$y"},
        },
    ),
}


@pytest.mark.parametrize(("text", "graph"), FORMS.values(), ids=FORMS)
def test_text_and_json_form_give_the_same_answer(answer, text, graph):
    inputs = {"x": full(real(3)), "w": full(real(3, seed=1))}
    results = [answer("backward", graph=form, inputs=inputs, jacobian=True) for form in (text, graph)]
    for part in ("outputs", "gradients", "jacobians"):
        assert results[0][part] == results[1][part]


@pytest.mark.parametrize(("text", "graph"), FORMS.values(), ids=FORMS)
def test_the_canonical_graph_and_text_that_check_gives_compute_the_same(answer, text, graph):
    inputs = {"x": full(real(3)), "w": full(real(3, seed=1))}
    checked = answer("check", graph=text, inputs=inputs)
    expected = answer("backward", graph=graph, inputs=inputs)
    for form in (checked["graph"], checked["text"]):
        result = answer("backward", graph=form, inputs=inputs)
        assert (result["outputs"], result["gradients"]) == (expected["outputs"], expected["gradients"])


def test_nodes_may_stand_in_any_order(answer):
    nodes = [{"id": "y", "op": "sum", "args": ["$h"]}, {"id": "h", "op": "mul", "args": ["$x", "$x"]}]
    result = answer("backward", graph={"nodes": nodes, "outputs": ["y"]}, inputs={"x": [3.0]})
    assert result["gradients"]["x"]["data"] == [6.0]


@pytest.mark.parametrize("graph", ["return x", {"inputs": {"x": {}}, "outputs": ["x"]}], ids=["text", "json"])
def test_an_input_may_be_an_output_and_its_gradient_is_v(answer, graph):
    result = answer("backward", graph=graph, inputs={"x": [1.0, 2.0]}, grad_tensors={"x": [5.0, 7.0]})
    assert result["outputs"]["x"]["data"] == [1.0, 2.0]
    assert result["gradients"]["x"]["data"] == [5.0, 7.0]


def test_a_constant_may_be_an_output(answer):
    result = answer("forward", graph="c = [1.0, 2.0]; return c")
    assert result["outputs"]["c"]["data"] == [1.0, 2.0]


CONSTANTS = {
    "text, inferred": ("c = [1.0, 2.0]; y = x * c", "float64"),
    "text, declared": ("c: float32[2] = [1.0, 2.0]; y = x * c", "float64"),
    "text, integers declared": ("c: int64[2] = [1, 2]; y = x * c", "float64"),
    "text, a number": ("k = 2; c = [0.5, 1.0]; y = x * c * k", "float64"),
    "json, short": ({"constants": {"c": [1, 2]}, "nodes": [{"id": "y", "op": "mul", "args": ["$x", "$c"]}]}, "float64"),
    "json, full": (
        {
            "constants": {"c": {"dtype": "int8", "shape": [2], "data": [1, 2]}},
            "nodes": [{"id": "y", "op": "mul", "args": ["$x", "$c"]}],
        },
        "float64",
    ),
    "json, base64": (
        {
            "constants": {
                "c": {"dtype": "float32", "shape": [2], "encoding": "base64", "data": "AACAPwAAAEA="},
            },
            "nodes": [{"id": "y", "op": "mul", "args": ["$x", "$c"]}],
        },
        "float64",
    ),
}


@pytest.mark.parametrize(("graph", "dtype"), CONSTANTS.values(), ids=CONSTANTS)
def test_a_constant_multiplies_whatever_form_it_was_written_in(answer, graph, dtype):
    result = answer("backward", graph=graph, inputs={"x": [10.0, 10.0]}, grad_tensors={"y": [1.0, 1.0]})
    assert result["outputs"]["y"] == {"dtype": dtype, "shape": [2], "data": [10.0, 20.0]}
    assert result["gradients"]["x"]["data"] == [1.0, 2.0]


def test_a_constant_without_a_dtype_is_float64_even_if_its_numbers_are_whole(answer):
    assert answer("forward", graph="c = [1, 2]; return c")["outputs"]["c"]["dtype"] == "float64"


def test_a_short_input_has_the_dtype_that_the_graph_declares(answer):
    result = answer("backward", graph="x: float32['n']; y = (x * x).sum()", inputs={"x": [1, 2]})
    assert result["outputs"]["y"] == full(torch.tensor(5.0))
    assert result["gradients"]["x"]["dtype"] == "float32"


NAMED = {
    "inputs": {"x": {"shape": ["n", 3]}, "w": {"shape": [3, "n"]}},
    "nodes": [{"id": "y", "op": "matmul", "args": ["$x", "$w"]}],
}


@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("graph", [NAMED, "x: Tensor['n', 3]; w: Tensor[3, 'n']; y = x @ w"], ids=["json", "text"])
def test_a_named_size_is_free(answer, graph, n):
    inputs = {"x": full(real(n, 3)), "w": full(real(3, n))}
    assert answer("forward", graph=graph, inputs=inputs)["outputs"]["y"]["shape"] == [n, n]


def test_equal_names_are_equal_sizes(post):
    response = post("forward", graph=NAMED, inputs={"x": full(real(2, 3)), "w": full(real(3, 4))})
    assert response.status_code == 422
    assert response.json()["code"] == "shape_mismatch"
    assert "'n'" in response.json()["detail"]


def test_a_size_that_is_a_number_must_be_met(post):
    response = post("forward", graph=NAMED, inputs={"x": full(real(2, 4)), "w": full(real(3, 2))})
    assert response.json()["pointer"] == "/inputs/x"
    assert (response.json()["expected"], response.json()["got"]) == (["n", 3], [2, 4])
