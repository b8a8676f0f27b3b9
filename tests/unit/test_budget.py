"""What a run is estimated to take, against what torch says that it took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pullback_service.library import Library
from pullback_service.program.budget import Cost, estimate
from pullback_service.program.inference import Limits
from pullback_service.program.types import types_of

NO_LIMITS = Limits(10_000, 2**26, 2**28, 2**60, 2**60, 2**60)
N = 300
MATRIX = torch.rand(N, N, dtype=torch.float64)
INPUTS = {"x": MATRIX, "w": MATRIX + N * torch.eye(N, dtype=torch.float64)}

Function = Callable[[Tensor, Tensor], Tensor]


def cost(graph: str, *, is_backward: bool, inputs: dict[str, Tensor] | None = None) -> Cost:
    library = Library(NO_LIMITS)
    source = library.source(graph)
    used = {name: value for name, value in (inputs or INPUTS).items() if name in source.program.inputs}
    plan, _ = library.plan(source, types_of(used), None if is_backward else [])
    return estimate(plan.program, plan.inferred, is_backward=is_backward)


def real_peak(run: Callable[[], Any]) -> int:
    """Bytes that torch held at one time, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    now = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def looped(count: int, step: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def run(x: Tensor, _: Tensor) -> Tensor:
        h = x * 2
        for _ in range(count):
            h = step(h, x)
        return h.sum()

    return run


def chain(step: str) -> str:
    return "\n".join(["h0 = x * 2", *(f"h{k + 1} = {step.format(f'h{k}')}" for k in range(20)), "y = h20.sum()"])


CASES: list[tuple[str, Function]] = [
    ("y = exp(x).sum()", lambda x, _: x.exp().sum()),
    ("y = (relu(x @ w) @ w).sum()", lambda x, w: ((x @ w).relu() @ w).sum()),
    (chain("tanh({})"), looped(20, lambda h, _: h.tanh())),
    (chain("{} + x"), looped(20, lambda h, x: h + x)),
    ("y = (softmax(x, 1) ** 2).sum()", lambda x, _: (x.softmax(1) ** 2).sum()),
    (f"y = layer_norm(x, [{N}]).pow(3).sum()", lambda x, _: torch.layer_norm(x, [N]).pow(3).sum()),
    ("y = exp(x) * sin(x)", lambda x, _: x.exp() * x.sin()),
    ("y = x.expand([9, 300, 300]).transpose(0, 1).sum()", lambda x, _: x.expand(9, N, N).transpose(0, 1).sum()),
    ("y = linalg.solve(w, x).sum()", lambda x, w: torch.linalg.solve(w, x).sum()),
    ("y = linalg.svdvals(x).sum()", lambda x, _: torch.linalg.svdvals(x).sum()),
]
COMPOSITE = (
    "y = cosine_similarity(x[:, None], w, 2).sum()",
    lambda x, w: torch.cosine_similarity(x[:, None], w, 2).sum(),
)


def peaks(graph: str, function: Function, *, is_backward: bool) -> tuple[int, int]:
    """As estimated, and as it is."""

    def run() -> None:
        leaves = [value.detach().requires_grad_(is_backward) for value in INPUTS.values()]
        result = function(*leaves)
        if is_backward:
            torch.autograd.grad(result, leaves, torch.ones_like(result), allow_unused=True)

    used = Library(NO_LIMITS).source(graph).program.inputs
    given = sum(INPUTS[name].nbytes for name in used)
    return cost(graph, is_backward=is_backward).peak_bytes, given + real_peak(run)


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize(("graph", "function"), CASES, ids=[graph[:40] for graph, _ in CASES])
def test_the_peak_is_foretold_within_a_third(graph, function, is_backward):
    told, real = peaks(graph, function, is_backward=is_backward)
    assert real / 1.34 <= told <= real * 1.34


@pytest.mark.parametrize("is_backward", [False, True])
def test_values_inside_a_composite_operator_count_at_least_once(is_backward):
    """All arguments and results have N^2 elements; what is between has N^3, and is there more than once."""
    told, real = peaks(*COMPOSITE, is_backward=is_backward)
    assert N * MATRIX.nbytes <= told <= real


def flops(graph: str) -> int:
    return cost(graph, is_backward=False).flops


def test_products_count_two_operations_a_term():
    assert flops("y = x @ w") == 2 * N**3
    assert flops("y = einsum('ij,kj->ik', [x, w])") == 2 * N**3
    assert flops("y = matrix_power(x, 8)") == 3 * 2 * N**3
    assert flops("y = x * w + exp(x)") == 0


def test_a_backward_run_counts_as_three():
    graph = "y = (x @ w).sum()"
    once, thrice = (cost(graph, is_backward=is_backward) for is_backward in (False, True))
    assert (thrice.flops, thrice.touched) == (3 * once.flops, 3 * once.touched)


def test_an_elementwise_operator_touches_its_arguments_and_its_result():
    assert cost("y = x * w", is_backward=False).touched == 3 * N**2


def test_a_view_touches_nothing_and_what_reads_it_touches_all_that_it_shows():
    assert cost("h = x.expand([50, 300, 300]); y = h.transpose(0, 1)", is_backward=False).touched == 0
    assert cost("y = x.expand([50, 300, 300]).sum()", is_backward=False).touched == 50 * N**2 + 1


def test_a_pool_reads_a_window_for_each_result():
    image = {"x": torch.rand(1, 1, 40, 40, dtype=torch.float64)}
    small, large = (
        cost(f"y = max_pool2d(x, [{k}, {k}], [1, 1])", is_backward=False, inputs=image).touched for k in (2, 20)
    )
    assert large > 21 * 21 * 20 * 20
    assert small < 39 * 39 * 2 * 2 + 4 * 1600 + 1
