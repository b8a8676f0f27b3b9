"""Where PyTorch itself crashes, hangs, reaches outside or gives a tensor that is none: the service does not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.flows.against_torch import (
    Draw,
    assert_gradients_of_torch,
    assert_same_bits,
    assert_values_of_torch,
    base64_form,
    bits,
    decoded,
    full,
    nodes,
    row,
    send,
)
from torch import Tensor

from pullback_schemas import Problem
from pullback_schemas.tensors import FullTensor
from pullback_service.program.types import DTYPES
from pullback_service.protocols.tensor_reader import read_tensor

_draw = Draw(torch.Generator().manual_seed(20_260_101))
real, cplx, positive, regular = _draw.real, _draw.cplx, _draw.positive, _draw.regular
F64 = torch.float64


def needed(graph: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Those inputs that the text names."""
    return {name: value for name, value in inputs.items() if re.search(rf"\b{name}\b", graph)}


# A complex128 kernel crashes on a buffer whose address is 8 mod 16.

FORMS: dict[str, Callable[[Tensor], dict[str, Any]]] = {"nested": full, "base64": base64_form}
SIZES = [*range(1, 18), 31, 33, 127]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_complex128_inputs_and_constants_of_any_size_lie_where_kernels_can_read_them(answer, form):
    """Other tensors of odd sizes stand between them, so that their buffers would end up anywhere."""
    inputs = {f"z{n}": cplx(n) for n in SIZES}
    odd = {f"b{n}": torch.zeros(n, dtype=torch.uint8) for n in SIZES}
    constants = {f"k{n}": cplx(n) for n in SIZES}
    calls = [(f"y{n}", "mul", [f"$z{n}", f"$k{n}"], {}) for n in SIZES]
    calls += [(f"w{n}", "exp", [f"$y{n}"], {}) for n in SIZES]
    mixed = {name: form(x) for pair in zip(inputs.items(), odd.items(), strict=True) for name, x in pair}
    graph = nodes(
        *calls,
        inputs={name: {} for name in mixed},
        constants={n: form(x) for n, x in constants.items()},
        outputs=[f"w{n}" for n in SIZES],
    )
    result = answer(
        "backward",
        graph=graph,
        inputs=mixed,
        wrt=list(inputs),
        grad_tensors=[form(torch.ones(n, dtype=torch.complex128)) for n in SIZES],
        encoding="base64",
    )
    leaves = [z.clone().requires_grad_() for z in inputs.values()]
    outputs = [torch.exp(z * k) for z, k in zip(leaves, constants.values(), strict=True)]
    gradients = torch.autograd.grad(outputs, leaves, [torch.ones_like(y) for y in outputs])
    assert_same_bits(result["outputs"].values(), outputs)
    assert_same_bits(result["gradients"].values(), gradients)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_tensor_read_lies_at_an_address_that_is_a_multiple_of_16(form, dtype):
    for size in SIZES:
        sent = FullTensor.model_validate(form(torch.ones(size).to(DTYPES[dtype])))
        assert read_tensor(sent, None).data_ptr() % 16 == 0


@pytest.mark.parametrize(
    "graph",
    [
        "y = view_as_complex(x[1:].reshape(3, 2))",
        "y = x[1:].view('complex128')",
        "y = view_as_complex(as_strided(x, [3, 2], [2, 1], 1))",
    ],
)
def test_real_numbers_at_an_odd_place_are_not_viewed_as_complex_ones(post, graph):
    response = post("forward", graph=graph, inputs=send({"x": real(7)}))
    assert (response.status_code, response.json()["code"]) == (422, "incompatible_arguments")


# A gradient that is zero everywhere comes from torch as a tensor without memory.

FLAT = {
    # Functions that are constant between their kinks.
    "sgn": ("y = sgn(x)", torch.sgn),
    "sign": ("y = sign(x)", torch.sign),
    "floor": ("y = floor(x)", torch.floor),
    "the gradient of abs": ("y = sgn(x) * 2", lambda x: torch.sgn(x) * 2),
    "the gradient of l1_loss": ("y = sgn(x - 1) / 3", lambda x: torch.sgn(x - 1) / 3),
    "heaviside in a product": ("y = (x > 0) * 1.0 * sgn(x)", lambda x: (x > 0) * 1.0 * torch.sgn(x)),
}


@pytest.mark.parametrize(("graph", "function"), FLAT.values(), ids=FLAT)
def test_a_gradient_of_plain_zeros_where_a_function_is_flat(answer, graph, function):
    assert_gradients_of_torch(answer, row(graph, function, x=real(5)))


@pytest.mark.parametrize(("graph", "function"), FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("encoding", ["nested", "base64"])
def test_a_jacobian_of_plain_zeros_where_a_function_is_flat(answer, graph, function, encoding):
    result = answer(
        "backward", graph=graph, inputs={"x": [1.5, -2.5]}, grad_tensors=[[1.0, 3.0]], jacobian=True, encoding=encoding
    )
    jacobian, gradient = result["jacobians"]["y"]["x"], result["gradients"]["x"]
    if encoding == "base64":
        assert torch.equal(decoded(jacobian), torch.zeros(2, 2, dtype=F64))
        assert torch.equal(decoded(gradient), torch.zeros(2, dtype=F64))
    else:
        assert (jacobian["data"], gradient["data"]) == ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0])


def test_the_gradient_of_a_complex_sgn_is_torchs(answer):
    assert_gradients_of_torch(answer, row("y = sgn(x)", torch.sgn, x=cplx(4)))


def test_many_grad_tensors_pull_back_to_plain_zeros_too(answer):
    result = answer(
        "backward",
        graph="y = sgn(x)",
        inputs={"x": [1.5, -2.5]},
        grad_tensors=[[[1.0, 0.0], [0.0, 1.0]]],
        is_grads_batched=True,
    )
    assert result["gradients"]["x"] == {"dtype": "float64", "shape": [2, 2], "data": [[0.0, 0.0], [0.0, 0.0]]}


@pytest.mark.parametrize(
    ("graph", "function"),
    [
        ("y = norm(x)", torch.norm),
        ("y = abs(x).sum()", lambda x: torch.abs(x).sum()),
        ("y = F.l1_loss(x, x * 0)", lambda x: torch.nn.functional.l1_loss(x, x * 0)),
    ],
)
def test_the_gradient_at_a_kink_is_torchs(answer, graph, function):
    assert_gradients_of_torch(answer, row(graph, function, x=torch.zeros(3, dtype=F64)))


# The host's files

FROM_FILE = """
from_file aten.from_file aten::from_file torch.from_file aten.from_file.default torch.ops.aten.from_file
torch.ops.aten.from_file.default aten.from_file.out torch.Tensor.from_file Tensor.from_file F.from_file
nn.functional.from_file torch.nn.functional.from_file linalg.from_file aten::from_file.default from_file.out
"""


@pytest.mark.parametrize("spelling", FROM_FILE.split())
@pytest.mark.parametrize("operation", ["forward", "backward", "check"])
def test_no_spelling_of_from_file_reads_a_file(post, tmp_path, spelling, operation):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x2a" * 64)
    graph = nodes(("y", spelling, [str(secret), False, 16], {"dtype": "float32"}))
    response = post(operation, graph=graph)
    assert response.status_code == 422
    assert response.json()["code"] in ("refused_op", "unknown_op")
    assert "42" not in response.text.replace(str(secret), "").replace("422", "")


def test_no_method_of_a_tensor_reads_or_writes_a_file(post, tmp_path):
    target = tmp_path / "new"
    for text in (f"y = x.from_file('{target}', True, 4)", f"y = x.save('{target}')", f"y = torch.load('{target}')"):
        response = post("forward", graph=text, inputs={"x": [1.0]})
        assert response.status_code == 422, response.text
    assert not target.exists()


# Kernels that die or never end

ODD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", ["linalg.eigvals", "linalg.eig", "linalg.eigvalsh"])
def test_an_eigenvalue_of_a_matrix_that_is_not_finite_is_no_crash(post, name, dtype, odd):
    matrix = torch.eye(4, dtype=dtype)
    matrix[1, 2] = matrix[2, 1] = odd
    graph = nodes(("y", name, ["$a"], {}), outputs={"y": "$y" if "vals" in name else "$y.0"})
    response = post("forward", graph=graph, inputs={"a": base64_form(matrix)})
    assert (response.status_code, response.json()["code"]) == (422, "op_failed"), response.text[:300]
    assert response.json()["node"] == "y"


def test_a_batch_with_one_bad_matrix_is_refused_and_a_good_one_is_answered(post, answer):
    good = real(3, 4, 4)
    assert_gradients_of_torch(answer, row("y = linalg.eigvals(a)", torch.linalg.eigvals, a=good))
    bad = good.clone()
    bad[2, 0, 0] = math.nan
    response = post("forward", graph="y = linalg.eigvals(a)", inputs=send({"a": bad}))
    assert response.json()["code"] == "op_failed"


def test_a_matrix_that_becomes_infinite_in_the_graph_is_refused(post):
    response = post("forward", graph="y = linalg.eigvals(exp(a * 1000))", inputs=send({"a": regular(3)}))
    assert (response.status_code, response.json()["code"]) == (422, "op_failed")


@pytest.mark.parametrize(
    "graph",
    [
        "y = native_batch_norm(x, w, w, None, None, False, 0.1, 1e-5); return {'z': y[0]}",
        "y = native_batch_norm(x, None, None, v, None, False, 0.1, 1e-5); return {'z': y[0]}",
        "y = batch_norm(x, None, None, None, None, False, 0.1, 1e-5, False)",
        "y = F.batch_norm(x, None, None)",
        "y = F.instance_norm(x, use_input_stats=False)",
    ],
)
@pytest.mark.parametrize("operation", ["forward", "check"])
def test_batch_norm_in_evaluation_needs_statistics(post, operation, graph):
    inputs = needed(graph, {"x": real(4, 3), "w": real(3), "v": positive(3)})
    response = post(operation, graph=graph, inputs=send(inputs))
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code, problem.node) == (422, "incompatible_arguments", "y")
    assert "running_mean" in problem.detail


ENDLESS = {
    "a power of -2**63": "y = matrix_power(x, -9223372036854775808)",
    "a power of 2**62": "y = linalg.matrix_power(x, 4611686018427387904)",
    "a histogram of 1024^3 bins": "h, e = histogramdd(x, [1024, 1024, 1024])",
    "a polynomial of degree 2**31": "y = special.legendre_polynomial_p(x, 2147483648)",
    "a polynomial of a tensor's degree": "y = special.laguerre_polynomial_l(x, x * 1e9)",
    "a gamma function of a million factors": "y = special.multigammaln(x, 1000000000)",
    "a gamma function of a million factors, by its other name": "y = mvlgamma(x, 1000000000)",
    "combinations of a thousand": "y = combinations(x[0], 1000)",
    "a million pieces": "y = tensor_split(x, 1000000)[0]",
    "a million pieces by a tensor": "y = tensor_split(x, n)[0]",
    "a chain of pieces": "y = unbind(expand(x[0, 0], [60000000]))[0]",
    "10^12 additions without memory": "y = expand(x[0, 0], [1099511627776]).sum()",
    "a count that is no number": "y = binomial(x / 0 * 0, x * 0 + 0.5)",
    "a kronecker bomb": "; ".join(["k0 = x", *(f"k{i} = kron(k{i - 1}, k{i - 1})" for i in range(1, 9))]),
    "padding by 10^12": "y = F.pad(x, [0, 1000000000000])",
    "a repetition of 10^12": "y = x.repeat(1000000, 1000000)",
    "a range without end": "y = arange(0, 1e15, 1e-2)",
    "one_hot of 10^12": "y = F.one_hot(n, 1000000000000)",
}


@pytest.mark.parametrize("graph", ENDLESS.values(), ids=ENDLESS)
def test_what_would_run_for_hours_is_refused_at_once(post, graph):
    inputs = {"x": [[1.0, 2.0], [3.0, 4.0]], "n": {"dtype": "int64", "data": 10**6}}
    response = post("forward", graph=graph, inputs=needed(graph, inputs))
    assert response.status_code == 422, response.text[:300]
    assert response.json()["code"] in ("limit_exceeded", "refused_op", "op_failed"), response.text[:300]


# Views that conjugate or negate when they are read

LAZY = {
    "conj": row("y = x.conj()", lambda x: x.conj(), x=cplx(2, 3)),
    "conj of a view": row("y = x.mT.conj()", lambda x: x.mT.conj(), x=cplx(2, 3)),
    "adjoint": row("y = x.mH", lambda x: x.mH, x=cplx(2, 3)),
    "imag of conj, a negative view": row("y = x.conj().imag", lambda x: x.conj().imag, x=cplx(3)),
    "real of conj": row("y = x.conj().real", lambda x: x.conj().real, x=cplx(3)),
    "conj_physical": row("y = conj_physical(x)", lambda x: torch.conj_physical(x), x=cplx(3)),
    "_neg_view": row("y = aten._neg_view(x)", lambda x: torch._neg_view(x), x=real(3)),
    "_conj": row("y = aten._conj(x)", lambda x: torch._conj(x), x=cplx(3)),
    "real part of a product": row("y = (x * x.conj()).real", lambda x: (x * x.conj()).real, x=cplx(3)),
    "imag": row("y = x.imag", lambda x: x.imag, x=cplx(3)),
    "an expanded conj": row("y = x.conj().expand(2, 3)", lambda x: x.conj().expand(2, 3), x=cplx(3)),
    "resolve_conj": row("y = x.conj().resolve_conj()", lambda x: x.conj().resolve_conj(), x=cplx(3)),
    "resolve_neg": row("y = x.conj().imag.resolve_neg()", lambda x: x.conj().imag.resolve_neg(), x=cplx(3)),
    "a matrix product with an adjoint": row("y = x @ w.mH", lambda x, w: x @ w.mH, x=cplx(2, 3), w=cplx(2, 3)),
}


@pytest.mark.parametrize("case", LAZY.values(), ids=LAZY)
@pytest.mark.parametrize("encoding", ["nested", "base64"])
def test_lazy_views_are_resolved_in_outputs(answer, case, encoding):
    assert_values_of_torch(answer, case)
    value = answer("forward", graph=case.graph, inputs=send(case.inputs), encoding=encoding)["outputs"]["y"]
    if encoding == "nested":
        assert value == full(case.values()[0].resolve_conj().resolve_neg())


@pytest.mark.parametrize("case", LAZY.values(), ids=LAZY)
def test_lazy_views_are_resolved_in_gradients(answer, case):
    """The gradient of conj(x) is conj(v), itself a lazy view."""
    assert_gradients_of_torch(answer, case)


def test_an_input_handed_through_keeps_the_bits_of_its_nans(answer):
    quiet = torch.tensor([0x7FF8000000000001, 0x7FF0000000000123 | 1 << 51, -(2**51)], dtype=torch.int64).view(F64)
    value = answer("forward", graph="y = x.clone()", inputs={"x": base64_form(quiet)}, encoding="base64")["outputs"][
        "y"
    ]
    assert bits(decoded(value)) == bits(quiet)
