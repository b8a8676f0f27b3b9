"""Every way to write an argument, and every dtype: what arrives at torch is what the graph says."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.flows.against_torch import (
    Draw,
    Row,
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

_draw = Draw(torch.Generator().manual_seed(20_230_401))
real, cplx, positive = _draw.real, _draw.cplx, _draw.positive
F64 = torch.float64
INF, NAN = math.inf, math.nan

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
INTEGER = tuple(getattr(torch, f"{sign}int{width}") for sign in ("", "u") for width in (8, 16, 32, 64))
EVERY = (*FLOATING, *COMPLEX, *INTEGER, torch.bool)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def one(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return nodes(("y", op, list(args), kwargs))


# Every dtype, in and out


def extremes(dtype: torch.dtype) -> Tensor:
    """Values of a dtype that are easily lost on the way: its ends, its smallest steps, its zeros."""
    if dtype == torch.bool:
        return torch.tensor([True, False, True])
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        smallest = info.smallest_normal * info.eps
        values = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            info.max,
            info.min,
            info.smallest_normal,
            smallest,
            1 + info.eps,
            INF,
            -INF,
            NAN,
        ]
        return torch.tensor(values, dtype=dtype)
    if dtype.is_complex:
        parts = extremes(torch.float32 if dtype == torch.complex64 else F64)
        return torch.complex(parts, parts.flip(0))
    info = torch.iinfo(dtype)
    return torch.tensor([info.min, info.max, 0, 1, info.max - 1], dtype=dtype)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3), "all"], ids=str)
@pytest.mark.parametrize("encoding", ["nested", "base64"])
@pytest.mark.parametrize("form", [full, base64_form], ids=["nested", "base64"])
@pytest.mark.parametrize("dtype", EVERY, ids=name_of)
def test_every_value_of_every_dtype_comes_back_bit_for_bit(answer, dtype, form, encoding, shape):
    values = extremes(dtype)
    x = values if shape == "all" else values[: math.prod(shape)].reshape(shape)
    output = answer("forward", graph="return x", inputs={"x": form(x)}, encoding=encoding)["outputs"]["x"]
    if encoding == "nested":
        assert (output["dtype"], output["shape"]) == (name_of(dtype), list(x.shape))
        output = answer("forward", graph="return x", inputs={"x": output}, encoding="base64")["outputs"]["x"]
    assert bits(decoded(output)) == bits(x)


@pytest.mark.parametrize("dtype", EVERY, ids=name_of)
def test_a_constant_of_every_dtype_is_as_good_as_an_input(answer, dtype):
    x = extremes(dtype)
    graph = {**one("clone", "$k"), "constants": {"k": full(x)}}
    assert_same_bits(answer("forward", graph=graph, encoding="base64")["outputs"].values(), [x])


@pytest.mark.parametrize("dtype", [*FLOATING, *COMPLEX], ids=name_of)
@pytest.mark.parametrize("form", [full, base64_form], ids=["nested", "base64"])
def test_gradients_have_the_dtype_of_their_input_and_torchs_bits(answer, form, dtype):
    x, w, v = (torch.randn(3, 4).to(dtype) for _ in range(3))
    result = answer(
        "backward",
        graph="y = tanh(x * w) / (w * w + 2)",
        inputs={"x": form(x), "w": form(w)},
        grad_tensors={"y": form(v)},
        encoding="base64",
    )
    leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]
    y = torch.tanh(leaves[0] * leaves[1]) / (leaves[1] * leaves[1] + 2)
    assert_same_bits(result["outputs"].values(), [y])
    assert_same_bits(result["gradients"].values(), torch.autograd.grad(y, leaves, v))


@pytest.mark.parametrize("source", [*FLOATING, *COMPLEX], ids=name_of)
@pytest.mark.parametrize("target", [*FLOATING, *COMPLEX], ids=name_of)
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_a_cast_and_its_gradient_are_torchs(answer, source, target):
    case = row(one("to", "$x", name_of(target)), lambda x: x.to(target), x=torch.randn(5).to(source))
    assert_gradients_of_torch(answer, case)


@pytest.mark.parametrize("dtype", [*INTEGER, torch.bool], ids=name_of)
@pytest.mark.parametrize("floating", [*FLOATING, *COMPLEX], ids=name_of)
def test_integers_beside_differentiable_inputs_have_no_gradient(answer, floating, dtype):
    graph = "y = x * k.to('float32')"  # torch promotes unsigned integers of more than a byte with nothing else
    k = torch.tensor([1, 0, 1, 1]).to(dtype)
    case = row(graph, lambda x, k: x * k.to(torch.float32), x=torch.randn(4).to(floating), k=k)
    assert_gradients_of_torch(answer, case)


@pytest.mark.parametrize("dtype", [*INTEGER, torch.bool], ids=name_of)
def test_an_integer_input_cannot_be_differentiated(post, dtype):
    inputs = {"x": [1.0, 2.0], "k": full(torch.tensor([1, 0]).to(dtype))}
    response = post("backward", graph="y = (x * k).sum()", inputs=inputs, wrt=["k"])
    assert (response.status_code, response.json()["code"]) == (422, "not_differentiable")
    assert response.json()["pointer"] == "/wrt/0"
    assert name_of(dtype) in response.text


@pytest.mark.parametrize("dtype", INTEGER, ids=name_of)
@pytest.mark.parametrize("target", EVERY, ids=name_of)
def test_integers_convert_to_every_dtype_as_in_torch(answer, target, dtype):
    case = row(one("to", "$k", name_of(target)), lambda k: k.to(target), k=extremes(dtype)[2:])
    assert_values_of_torch(answer, case)


# A number where a tensor may stand

LITERALS: dict[str, tuple[Any, Any]] = {
    # By kind: as JSON has it, and as Python has it.
    "int": (3, 3),
    "float": (2.5, 2.5),
    "whole float": (2.0, 2.0),
    "bool": (True, True),
    "complex": ([1.5, -2.0], 1.5 - 2j),
    "infinity": ("Infinity", INF),
    "nan": ("NaN", NAN),
}
BINARY: dict[str, Callable[[Any, Any], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "eq": torch.eq,
    "lt": torch.lt,
    "remainder": torch.remainder,
    "floor_divide": torch.floor_divide,
    "bitwise_and": torch.bitwise_and,
    "xlogy": torch.xlogy,
}


def outcome(function: Callable[..., Tensor], *args: Any) -> Tensor | None:
    """What torch gives; None where it refuses, or gives a dtype that the wire lacks (complex32)."""
    try:
        value = function(*args)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    return value if value.dtype in EVERY else None


@pytest.mark.parametrize("dtype", EVERY, ids=name_of)
@pytest.mark.parametrize("literal", LITERALS, ids=str)
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_a_number_is_promoted_with_a_tensor_as_torch_does_it(post, name, literal, dtype):
    written, meant = LITERALS[literal]
    x = torch.tensor([1, 2, 5]).to(dtype)
    expected = outcome(BINARY[name], x, meant)
    response = post("forward", graph=one(name, "$x", written), inputs=send({"x": x}), encoding="base64")
    if expected is None:
        assert response.status_code == 422, response.text
    else:
        assert response.status_code == 200, response.text
        assert_same_bits(response.json()["outputs"].values(), [expected])


@pytest.mark.parametrize("dtype", EVERY, ids=name_of)
@pytest.mark.parametrize("literal", ["int", "float", "bool", "infinity"])
@pytest.mark.parametrize("name", ["pow", "rsub", "where"])
def test_a_number_before_a_tensor_is_promoted_as_torch_does_it(post, name, literal, dtype):
    written, meant = LITERALS[literal]
    x = torch.tensor([1, 2, 5]).to(dtype)
    m = torch.tensor([True, False, True])
    calls: dict[str, tuple[list[Any], Callable[..., Tensor]]] = {
        "pow": ([written, "$x"], lambda: torch.pow(meant, x)),
        "rsub": (["$x", written], lambda: torch.rsub(x, meant)),
        "where": (["$m", written, "$x"], lambda: torch.where(m, meant, x)),
    }
    args, function = calls[name]
    expected = outcome(function)
    inputs = {"x": x, "m": m} if name == "where" else {"x": x}
    response = post("forward", graph=one(name, *args), inputs=send(inputs), encoding="base64")
    assert response.status_code == (422 if expected is None else 200), response.text
    if expected is not None:
        assert_same_bits(response.json()["outputs"].values(), [expected])


@pytest.mark.parametrize("left", EVERY, ids=name_of)
@pytest.mark.parametrize("right", EVERY, ids=name_of)
def test_two_tensors_are_promoted_as_torch_does_it(post, left, right):
    x, w = torch.tensor([1, 2, 1]).to(left), torch.tensor([1, 1, 0]).to(right)
    expected = outcome(torch.add, x, w)
    response = post("forward", graph="y = x + w", inputs=send({"x": x, "w": w}), encoding="base64")
    assert response.status_code == (422 if expected is None else 200), response.text
    if expected is not None:
        assert_same_bits(response.json()["outputs"].values(), [expected])


def test_a_tensor_without_axes_is_promoted_as_a_number_is(answer):
    """In torch a float64 of shape [] does not widen a float32 of shape [1]."""
    case = row("y = x * w", operator.mul, x=real(3).float(), w=real())
    assert_gradients_of_torch(answer, case)
    value = answer("forward", graph="y = x * w", inputs=send(case.inputs))["outputs"]["y"]
    assert value["dtype"] == "float32"


# Literals

ARGUMENTS: dict[str, Row] = {
    "int": row(one("select", "$x", 1, -1), lambda x: x.select(1, -1), x=real(2, 3)),
    "float": row(one("leaky_relu", "$x", 0.25), lambda x: F.leaky_relu(x, 0.25), x=real(3)),
    "an int for a float": row(one("leaky_relu", "$x", 2), lambda x: F.leaky_relu(x, 2), x=real(3)),
    "bool": row(one("cumsum", "$x", 0), lambda x: x.cumsum(0), x=real(3)),
    "true": row(one("sum", "$x", [0], True), lambda x: x.sum([0], True), x=real(2, 3)),
    "str": row(one("gelu", "$x", approximate="tanh"), lambda x: F.gelu(x, approximate="tanh"), x=real(3)),
    "null": row(one("clamp", "$x", None, 0.5), lambda x: x.clamp(None, 0.5), x=real(3)),
    "null by name": row(one("sum", "$x", dim=None, dtype=None), lambda x: x.sum(), x=real(3)),
    "null for a tensor": row(
        one("layer_norm", "$x", [3], None, "$b"), lambda x, b: F.layer_norm(x, [3], None, b), x=real(2, 3), b=real(3)
    ),
    "null for a list": row(one("fft_fftn", "$x", None, [0]), lambda x: torch.fft.fftn(x, None, [0]), x=real(2, 3)),
    "a list of ints": row(one("permute", "$x", [2, 0, 1]), lambda x: x.permute(2, 0, 1), x=real(2, 3, 4)),
    "an empty list of ints": row(one("reshape", "$x", []), lambda x: x.reshape([]), x=real(1)),
    "one int for a list of a fixed size": row(
        one("avg_pool2d", "$x", 2, 1), lambda x: F.avg_pool2d(x, 2, 1), x=real(1, 1, 4, 4)
    ),
    "a list of floats": row(
        one("upsample_bilinear2d", "$x", None, False, [2.0, 1.5]),
        lambda x: torch._C._nn.upsample_bilinear2d(x, None, False, [2.0, 1.5]),
        x=real(1, 1, 3, 3),
    ),
    "numbers of two kinds": row(
        one("nan_to_num", "$x", 1, 2.5, -3), lambda x: x.nan_to_num(1, 2.5, -3), x=torch.tensor([NAN, INF, -INF])
    ),
    "infinity before a tensor": row(one("mul", "Infinity", "$x"), lambda x: INF * x, x=real(3)),
    "infinity": row(one("clamp", "$x", "-Infinity", "Infinity"), lambda x: x.clamp(-INF, INF), x=real(3)),
    "nan": row(one("nan_to_num", "$x", "NaN", 1.0), lambda x: x.nan_to_num(NAN, 1.0), x=torch.tensor([NAN, INF, 1.0])),
    "nan to fill with": row(
        one("masked_fill", "$x", "$m", "NaN"),
        lambda x, m: x.masked_fill(m, NAN),
        x=real(2),
        m=torch.tensor([True, False]),
    ),
    "infinity for padding": row(
        one("constant_pad_nd", "$x", [1, 1], "-Infinity"), lambda x: F.pad(x, [1, 1], value=-INF), x=real(2)
    ),
    "the order of a norm": row(
        one("linalg_vector_norm", "$x", "Infinity"), lambda x: torch.linalg.vector_norm(x, INF), x=real(3)
    ),
    "a complex number": row(one("mul", "$x", [0.5, -2.0]), lambda x: x * (0.5 - 2j), x=cplx(3)),
    "a complex number of a real tensor": row(one("add", "$x", [1, 2]), lambda x: x + (1 + 2j), x=real(3)),
    "a complex number with an infinite part": row(
        one("full_like", "$z", ["Infinity", 0.0]), lambda z: torch.full_like(z, complex(INF, 0.0)), z=cplx(2)
    ),
    "a complex exponent": row(one("pow", "$x", [2.0, 1.0]), lambda x: x ** (2 + 1j), x=cplx(3)),
    "alpha": row(one("add", "$x", "$x", alpha=[0.0, 1.0]), lambda x: torch.add(x, x, alpha=1j), x=cplx(3)),
    "dtype": row(one("sum", "$x", dtype="float64"), lambda x: x.sum(dtype=F64), x=real(3).float()),
    "dtype with its module": row(one("to", "$x", "torch.float32"), lambda x: x.to(torch.float32), x=real(3)),
    "layout": row(
        one("zeros_like", "$x", layout="strided"), lambda x: torch.zeros_like(x, layout=torch.strided), x=real(3)
    ),
    **{
        f"memory format {text}": row(
            one("clone", "$x", memory_format=text),
            lambda x, text=text: x.clone(memory_format=getattr(torch, text.removeprefix("torch."))),
            x=real(1, 2, 3, 3),
        )
        for text in ("contiguous_format", "preserve_format", "channels_last", "torch.channels_last")
    },
    "memory format in five axes": row(
        one("contiguous", "$x", memory_format="channels_last_3d"),
        lambda x: x.contiguous(memory_format=torch.channels_last_3d),
        x=real(1, 2, 2, 2, 2),
    ),
    "what channels_last changes is seen by as_strided": row(
        nodes(
            ("c", "contiguous", ["$x"], {"memory_format": "channels_last"}),
            ("y", "as_strided", ["$c", [4], [1], 0], {}),
        ),
        lambda x: x.contiguous(memory_format=torch.channels_last).as_strided((4,), (1,), 0),
        x=real(1, 2, 2, 2),
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_arrives_as_it_was_meant(answer, case):
    assert_values_of_torch(answer, case)
    if case.values()[0].dtype.is_floating_point or case.values()[0].is_complex():
        outputs, _ = case.differentiable()
        if outputs[0].requires_grad:
            assert_gradients_of_torch(answer, case)


def test_a_word_that_begins_with_two_dollars_is_a_word(post):
    response = post("forward", graph=one("gelu", "$x", approximate="$$x"), inputs={"x": [1.0]})
    assert (response.status_code, response.json()["code"]) == (422, "incompatible_arguments")
    assert "tanh" in response.json()["detail"]


def test_a_pair_is_a_list_wherever_some_overload_takes_a_list(answer):
    """`sum(x, [0, 1])` sums over two axes; only where no list fits is a pair a complex number."""
    case = row(one("sum", "$x", [0, 1]), lambda x: x.sum([0, 1]), x=real(2, 3, 4))
    assert_gradients_of_torch(answer, case)


# References

REFERENCES: dict[str, Row] = {
    "to inputs, constants and nodes": row(
        nodes(
            ("h", "mul", ["$x", "$k"], {}),
            ("y", "addcmul", ["$h", "$x", "$k"], {"value": 2}),
            constants={"k": [2.0, 3.0]},
        ),
        lambda x: torch.addcmul(
            x * torch.tensor([2.0, 3.0], dtype=F64), x, torch.tensor([2.0, 3.0], dtype=F64), value=2
        ),
        x=real(2),
    ),
    "the same one twice": row(one("mul", "$x", "$x"), lambda x: x * x, x=real(2)),
    "by name": row(one("sub", input="$x", other="$w"), lambda x, w: x - w, x=real(2), w=real(2)),
    "to a value by its name": row(
        nodes(("m", "sort", ["$x"], {}), ("y", "mul", ["$m.values", "$m.indices"], {})),
        lambda x: torch.sort(x).values * torch.sort(x).indices,
        x=real(4),
    ),
    "to a value by its position": row(
        nodes(("m", "sort", ["$x"], {}), ("y", "mul", ["$m.0", "$m.1"], {})),
        lambda x: torch.sort(x)[0] * torch.sort(x)[1],
        x=real(4),
    ),
    "to a value of a decomposition, by both": row(
        nodes(("d", "linalg.eigh", ["$x"], {}), outputs={"w": "$d.eigenvalues", "also": "$d.0"}),
        lambda x: (torch.linalg.eigh(x)[0],) * 2,
        x=real(3, 3),
    ),
    "to one tensor of a list": row(
        nodes(("p", "split", ["$x", 2], {}), ("y", "mul", ["$p.1", "$p.0"], {})),
        lambda x: x.split(2)[1] * x.split(2)[0],
        x=real(4),
    ),
    "to a whole list": row(
        nodes(("p", "split", ["$x", [1, 3]], {}), ("y", "cat", ["$p"], {})),
        lambda x: torch.cat(x.split([1, 3])),
        x=real(4),
    ),
    "in a list": row(one("stack", ["$x", "$w", "$x"], 1), lambda x, w: torch.stack([x, w, x], 1), x=real(2), w=real(2)),
    "in a list, to values of several": row(
        nodes(("m", "sort", ["$x"], {}), ("y", "cat", [["$m.values", "$x"]], {})),
        lambda x: torch.cat([torch.sort(x).values, x]),
        x=real(3),
    ),
    "with nulls between them": row(
        one("aten.index.Tensor", "$x", [None, "$i"]), lambda x, i: x[:, i], x=real(2, 3), i=torch.tensor([2, 0, 0])
    ),
    "with nulls before and after": row(
        one("aten.index.Tensor", "$x", [None, "$i", None]),
        lambda x, i: x[:, i],
        x=real(2, 3, 2),
        i=torch.tensor([1, 1]),
    ),
    "two, with a null between": row(
        one("aten.index.Tensor", "$x", ["$i", None, "$i"]),
        lambda x, i: x[i, :, i],
        x=real(3, 2, 3),
        i=torch.tensor([2, 0]),
    ),
    "to put by index, with a null": row(
        one("index_put", "$x", [None, "$i"], "$v", True),
        lambda x, i, v: x.index_put((torch.tensor([[0], [1]]), i), v, accumulate=True),
        x=real(2, 3),
        i=torch.tensor([2, 2]),
        v=real(2, 2),
    ),
    "in a list that torch takes as optional": row(
        one("einsum", "ij,jk->ik", ["$x", "$w"]),
        lambda x, w: torch.einsum("ij,jk->ik", x, w),
        x=real(2, 3),
        w=real(3, 2),
    ),
    "outputs listed by name": row(
        nodes(("a", "sin", ["$x"], {}), ("b", "cos", ["$x"], {}), outputs=["b", "a"]),
        lambda x: (torch.cos(x), torch.sin(x)),
        x=real(3),
    ),
    "an input as an output": row(
        nodes(("a", "sin", ["$x"], {}), outputs={"a": "$a", "x": "$x"}), lambda x: (torch.sin(x), x * 1), x=real(3)
    ),
    "one value under two names": row(
        nodes(("a", "sin", ["$x"], {}), outputs={"a": "$a", "b": "$a"}), lambda x: (torch.sin(x),) * 2, x=real(3)
    ),
}


@pytest.mark.parametrize("case", REFERENCES.values(), ids=REFERENCES)
def test_a_reference_means_the_value_it_names(answer, case):
    assert_gradients_of_torch(answer, case)


def test_every_value_of_several_has_its_name_and_its_position(answer):
    """max(dim=...) gives values and indices; each is asked for both ways."""
    graph = nodes(
        ("m", "max", ["$x"], {"dim": 1}),
        outputs={"a": "$m.values", "b": "$m.0", "c": "$m.indices", "d": "$m.1"},
    )
    outputs = answer("forward", graph=graph, inputs={"x": [[1.0, 3.0], [5.0, 4.0]]})["outputs"]
    assert outputs["a"] == outputs["b"] == {"dtype": "float64", "shape": [2], "data": [3.0, 5.0]}
    assert outputs["c"] == outputs["d"] == {"dtype": "int64", "shape": [2], "data": [1, 0]}
