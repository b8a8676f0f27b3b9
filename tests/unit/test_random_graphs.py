"""Random graphs: the service's values and gradients are those of torch.autograd on the same program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-12
"""Gradients that meet in one value add up in an order that depends on the order of the nodes."""
BOUND = 8.0
"""Values beyond it are squashed at once, so that nothing overflows and little cancels."""

SMALL = settings(max_examples=80, deadline=None, derandomize=True)

Values = dict[str, Tensor]
Pick = Callable[..., str | None]

ALONE: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "atan": torch.atan,
    "erf": torch.erf,
    "torch.relu": torch.relu,
    "neg": torch.neg,
    "abs": torch.abs,
    "aten::softplus": F.softplus,
    "F.gelu": F.gelu,
    "nn.functional.silu": F.silu,
    "special.expit": torch.special.expit,
    "aten.square.default": torch.square,
    "sum": torch.sum,
    "mean": torch.mean,
    "t": torch.t,
}
PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "torch.mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "logaddexp": torch.logaddexp,
}
WITH_NUMBER: dict[str, Callable[[Tensor, float], Tensor]] = {
    "add": lambda x, c: x + c,
    "sub": lambda x, c: x - c,
    "mul": lambda x, c: x * c,
    "div": lambda x, c: x / c,
    "leaky_relu": F.leaky_relu,
}
ALONG: dict[str, Callable[[Tensor, int], Any]] = {
    "sum": lambda x, dim: x.sum(dim),
    "mean": lambda x, dim: x.mean(dim),
    "amax": lambda x, dim: x.amax(dim),
    "logsumexp": lambda x, dim: x.logsumexp(dim),
    "softmax": lambda x, dim: x.softmax(dim),
    "log_softmax": lambda x, dim: x.log_softmax(dim),
    "cumsum": lambda x, dim: x.cumsum(dim),
    "unsqueeze": lambda x, dim: x.unsqueeze(dim),
    "max": lambda x, dim: x.max(dim),
    "var_mean": lambda x, dim: torch.var_mean(x, dim, correction=0),
}
PARTS = {"max": ("values", "indices"), "var_mean": ("0", "1")}
VIEWS: dict[str, tuple[list[Any], Callable[[Tensor], Any]]] = {
    "transpose": ([0, 1], lambda x: x.transpose(0, 1)),
    "reshape": ([[-1]], lambda x: x.reshape(-1)),
    "flip": ([[0]], lambda x: x.flip(0)),
    "select": ([0, -1], lambda x: x.select(0, -1)),
    "getitem": ([-1], lambda x: x[-1]),
    "slice": ([1, 0, 2], lambda x: x[:, 0:2]),
    "expand": ([[2, -1, -1]], lambda x: x.expand(2, -1, -1)),
    "tril": ([], torch.tril),
}
SHAPES = [(), (1,), (3,), (2, 3), (3, 2), (3, 3), (1, 3), (2, 1, 3)]


# A program: nodes as the service reads them, and the same steps in Python


@dataclass(frozen=True)
class Step:
    """One node, and what Python computes for it from the values called `operands`."""

    id: str
    op: str
    args: list[Any]
    operands: list[str]
    function: Callable[..., Any]
    parts: tuple[str, ...] = ()
    kwargs: dict[str, Any] | None = None

    def run(self, values: Values) -> Values:
        result = self.function(*(values[name] for name in self.operands))
        return {f"{self.id}.{part}": result[i] for i, part in enumerate(self.parts)} or {self.id: result}

    @property
    def node(self) -> dict[str, Any]:
        return {"id": self.id, "op": self.op, "args": self.args, "kwargs": self.kwargs or {}}


@dataclass(frozen=True)
class Program:
    """A whole request, and what torch.autograd is to be asked."""

    inputs: Values
    constants: Values
    steps: list[Step]
    outputs: dict[str, str]
    grads: Values
    wrt: list[str] | None

    def request(self, nodes: list[dict[str, Any]]) -> dict[str, Any]:
        constants = {name: full(tensor) for name, tensor in self.constants.items()}
        outputs = {name: f"${value}" for name, value in self.outputs.items()}
        declared: dict[str, Any] = {name: {} for name in self.inputs}
        return {
            "graph": {"inputs": declared, "constants": constants, "nodes": nodes, "outputs": outputs},
            "inputs": {name: full(tensor) for name, tensor in self.inputs.items()},
            "grad_tensors": {name: full(tensor) for name, tensor in self.grads.items()},
            "wrt": self.wrt,
        }

    def expected(self) -> tuple[Values, Values]:
        """The outputs and gradients, by torch.autograd."""
        wrt = list(self.inputs) if self.wrt is None else self.wrt
        values = {name: tensor.clone() for name, tensor in [*self.inputs.items(), *self.constants.items()]}
        leaves = {name: values[name].requires_grad_() for name in wrt}
        for step in self.steps:
            values.update(step.run(values))
        outputs = {name: values[value] for name, value in self.outputs.items()}
        roots = [name for name, output in outputs.items() if output.requires_grad]
        found: Any = [None] * len(leaves)
        if roots:
            seeds = [self.grads[name] for name in roots]
            tensors = [outputs[name] for name in roots]
            found = torch.autograd.grad(tensors, list(leaves.values()), seeds, allow_unused=True)
        pairs = zip(leaves.items(), found, strict=True)
        return outputs, {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}


def full(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": "float64", "shape": list(tensor.shape), "data": tensor.tolist()}


# Drawing one


def draw_step(rng: Random, pick: Pick, values: Values) -> tuple[Any, ...] | None:
    """The op, arguments, operands, function, and parts if several; None where nothing fits."""
    kind = rng.choice(["alone", "pair", "pair", "number", "along", "along", "matmul", "split", "cat", "view"])
    if kind == "alone":
        op = rng.choice(list(ALONE))
        x = pick(lambda value: value.dim() <= 2 or op != "t")
        return x and (op, [f"${x}"], [x], ALONE[op])
    if kind == "pair":
        op, x = rng.choice(list(PAIRS)), pick()
        z = pick(lambda value: broadcasts(value, values[x]))
        return op, [f"${x}", f"${z}"], [x, z], PAIRS[op]
    if kind == "number":
        op, x, c = rng.choice(list(WITH_NUMBER)), pick(), rng.choice([0.1, 0.5, -0.75, 2, 1.25])
        return op, [f"${x}", c], [x], lambda v: WITH_NUMBER[op](v, c)
    return draw_shaped(rng, pick, values, kind)


def draw_shaped(rng: Random, pick: Pick, values: Values, kind: str) -> tuple[Any, ...] | None:
    if kind == "view":
        op, x = rng.choice(list(VIEWS)), pick(lambda value: value.dim() == 2)
        return x and (op, [f"${x}", *VIEWS[op][0]], [x], VIEWS[op][1])
    x = pick(lambda value: value.dim() > 0)
    if x is None:
        return None
    if kind == "along":
        op, dim = rng.choice(list(ALONG)), rng.randrange(-values[x].dim(), values[x].dim())
        kwargs = {"correction": 0} if op == "var_mean" else {}
        return (
            op,
            [f"${x}", [dim] if op == "mean" else dim],
            [x],
            lambda v: ALONG[op](v, dim),
            PARTS.get(op, ()),
            kwargs,
        )
    if kind == "matmul":
        z = pick(lambda value: multiplies(values[x], value))
        return z and ("matmul", [f"${x}", f"${z}"], [x, z], torch.matmul)
    if kind == "split":
        parts = tuple(str(i) for i in range(-(-values[x].shape[-1] // 2)))
        return "split", [f"${x}", 2, -1], [x], lambda v: v.split(2, -1), parts
    z = pick(lambda value: value.shape == values[x].shape)
    op = rng.choice(["cat", "stack"])
    return op, [[f"${x}", f"${z}", f"${x}"]], [x, z], lambda v, w: getattr(torch, op)([v, w, v])


def broadcasts(x: Tensor, z: Tensor) -> bool:
    pairs = zip(reversed(x.shape), reversed(z.shape), strict=False)
    return all(a == b or 1 in (a, b) for a, b in pairs)


def multiplies(x: Tensor, z: Tensor) -> bool:
    return x.dim() <= 2 and 0 < z.dim() <= 2 and x.shape[-1] == z.shape[-2 if z.dim() == 2 else -1]


@st.composite
def programs(draw: Any) -> Program:
    """Up to fifteen nodes on a few small tensors, one or more outputs, and random grad_tensors for them.

    A smaller size with the same randomness is the beginning of the larger program, so failures shrink.
    """
    size, rng = draw(st.integers(1, 15)), draw(st.randoms(use_true_random=True))
    generator = torch.Generator().manual_seed(rng.getrandbits(32))

    def numbers(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).clamp(-4, 4)

    def pick(fits: Callable[[Tensor], bool] = lambda _: True) -> str | None:
        names = [name for name, value in values.items() if fits(value)]
        return rng.choice(names) if names else None

    inputs = {name: numbers(rng.choice(SHAPES)) for name in ("a", "b", "c")[: rng.randint(1, 3)]}
    constants = {name: numbers(rng.choice(SHAPES)) for name in ("w",)[: rng.randint(0, 1)]}
    values = {**inputs, **constants}
    steps: list[Step] = []
    for _ in range(size):
        drawn = draw_step(rng, pick, values)
        if drawn is None:
            continue
        steps.append(Step(f"n{len(steps)}", *drawn))
        for name, value in steps[-1].run(values).items():
            if not value.is_floating_point() or value.dim() > 4:
                continue
            if value.abs().max() <= BOUND:
                values[name] = value
                continue
            steps.append(Step(f"n{len(steps)}", "tanh", [f"${name}"], [name], torch.tanh))
            values[steps[-1].id] = torch.tanh(value)
    names = [*rng.choices(list(values), k=rng.randint(0, 2)), list(values)[-1]]
    outputs = {f"y{i}": name for i, name in enumerate(names)}
    grads = {y: numbers(tuple(values[name].shape)) for y, name in outputs.items()}
    leaves = [*inputs, *constants]
    wrt = rng.choice([None, None, rng.sample(leaves, rng.randint(1, len(leaves)))])
    return Program(inputs, constants, steps, outputs, grads, wrt)


# What must hold


def read(tensors: dict[str, Any]) -> Values:
    return {name: torch.tensor(t["data"], dtype=torch.float64).reshape(t["shape"]) for name, t in tensors.items()}


def assert_equal(found: Values, expected: Values) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor.detach()), name


def assert_close(found: Values, expected: Values) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(found[name], tensor.detach(), rtol=TOLERANCE, atol=TOLERANCE * max(1.0, largest))


@SMALL
@given(program=programs())
def test_a_random_graph_has_exactly_the_values_and_gradients_of_torch(answer, program):
    result = answer("backward", **program.request([step.node for step in program.steps]))
    outputs, gradients = program.expected()
    assert_equal(read(result["outputs"]), outputs)
    assert_equal(read(result["gradients"]), gradients)


@SMALL
@given(program=programs(), data=st.data())
def test_a_random_graph_sent_in_any_order_has_the_values_and_gradients_of_torch(answer, program, data):
    nodes = data.draw(st.permutations([step.node for step in program.steps]))
    result = answer("backward", **program.request(nodes))
    outputs, gradients = program.expected()
    assert_equal(read(result["outputs"]), outputs)
    assert_close(read(result["gradients"]), gradients)


@SMALL
@given(program=programs())
def test_a_random_graph_that_was_printed_has_the_gradients_of_torch(answer, program):
    request = program.request([step.node for step in program.steps])
    text = answer("check", graph=request["graph"])["text"]
    result = answer("backward", **{**request, "graph": text})
    outputs, gradients = program.expected()
    assert_equal(read(result["outputs"]), outputs)
    assert_equal(read(result["gradients"]), gradients)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(program=programs())
def test_a_random_graph_has_the_same_values_with_and_without_gradients(answer, program):
    request = program.request([step.node for step in program.steps])
    forward = answer("forward", graph=request["graph"], inputs=request["inputs"])
    assert_equal(read(forward["outputs"]), program.expected()[0])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(program=programs())
def test_check_tells_the_shapes_that_a_random_graph_has_when_it_runs(answer, program):
    request = program.request([step.node for step in program.steps])
    report = answer("check", graph=request["graph"], inputs=request["inputs"])
    shapes = {name: (value["dtype"], value["shape"]) for name, value in report["outputs"].items()}
    expected = program.expected()[0]
    assert shapes == {name: ("float64", list(tensor.shape)) for name, tensor in expected.items()}


def test_the_random_graphs_of_these_tests_are_not_trivial():
    """Most must have several nodes, finite gradients that are not all zero, and some of every kind of operator."""
    seen: list[tuple[int, bool]] = []
    ops: set[str] = set()

    @SMALL
    @given(programs())
    def look(program: Program) -> None:
        gradients = program.expected()[1].values()
        assert all(bool(g.isfinite().all()) for g in gradients)
        seen.append((len(program.steps), any(bool(g.any()) for g in gradients)))
        ops.update(step.op for step in program.steps)

    look()
    assert sum(count >= 4 and flows for count, flows in seen) >= len(seen) // 2
    assert ops >= {*ALONE, *PAIRS, *WITH_NUMBER, *ALONG, *VIEWS, "matmul", "split", "cat", "stack"}
