"""The checks that stand between a wrong rule and an answer: they catch what they are there for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pullback_schemas.problems import InconsistentDerivative, OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, random_cotangents, random_tangents, tolerance
from pullback_service.derivatives.hessian import SecondDerivative, dense_hessian
from pullback_service.derivatives.linear import AbstractLinearMap, Images, Vectors
from pullback_service.derivatives.routes import AbstractComparison, Route, first_right
from pullback_service.derivatives.run import Point, run_forward
from pullback_service.derivatives.work import Work
from pullback_service.library import Library
from pullback_service.program.inference import Limits
from pullback_service.program.types import types_of

MATRIX = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Matrix(SecondDerivative):
    """A matrix that claims to be a derivative."""

    def __init__(self, matrix: Tensor, work: Work) -> None:
        self.matrix = matrix
        self.source = self.target = {"x": torch.zeros(len(matrix), dtype=matrix.dtype)}
        self.work = work
        self.gradients = {"x": matrix.sum(1)}

    def one(self, vectors: Vectors) -> Images:
        return {"x": self.matrix @ vectors["x"]}

    def vmapped(self, vectors: Vectors) -> Images:
        return {"x": vectors["x"] @ self.matrix.T}


def point() -> Point:
    library = Library(Limits(10, 1000, 1000, 2**30, 10**6, 10**6))
    inputs = {"x": torch.ones(4, dtype=torch.float64)}
    plan, _ = library.plan(library.source("y = (x * x).sum()"), types_of(inputs), ["x"])
    return run_forward(plan, inputs, Work("reverse"))


def error_of(matrix: Tensor, claimed: Tensor) -> float | None:
    likes = {"x": torch.zeros(len(matrix), dtype=matrix.dtype)}
    w, v = random_cotangents(likes), random_tangents(likes)
    return adjoint_error(w, {"x": claimed @ v["x"]}, {"x": matrix.mH @ w["x"]}, v, [matrix])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_the_adjoint_identity_holds_for_a_right_derivative(dtype):
    matrix = MATRIX.to(dtype) * (1 + 1j if dtype.is_complex else 1)
    assert error_of(matrix, matrix) < tolerance({"x": matrix})


def test_the_adjoint_identity_catches_one_entry_that_is_wrong_by_one_part_in_a_thousand():
    wrong = MATRIX.clone()
    wrong[1, 2] *= 1.001
    assert error_of(MATRIX, wrong) > tolerance({"x": MATRIX})


def test_the_adjoint_identity_catches_a_transposed_matrix():
    assert error_of(MATRIX, MATRIX.T) > tolerance({"x": MATRIX})


def test_the_adjoint_identity_catches_a_missing_conjugate():
    matrix = MATRIX.to(torch.complex128) * (1 + 2j)
    assert error_of(matrix, matrix.conj()) > tolerance({"x": matrix})


def test_a_forward_rule_that_overflows_is_infinitely_wrong_and_a_gradient_that_does_says_nothing():
    assert error_of(MATRIX, MATRIX * math.nan) == math.inf
    assert error_of(MATRIX * math.nan, MATRIX) is None


class Told(AbstractComparison[Matrix]):
    """A comparison whose outcome is told beforehand, by route."""

    bound = 1e-7

    def __init__(self, *outcomes: tuple[float, bool | None]) -> None:
        self._outcomes = list(outcomes)

    def error(self, _: Matrix) -> float:
        return self._outcomes[0][0]

    def is_confirmed(self, _: Matrix) -> bool | None:
        return self._outcomes.pop(0)[1]


def routes(work: Work) -> list[Route]:
    return [(mode, lambda: Matrix(MATRIX, work)) for mode in ("forward", "double-reverse")]


def test_where_both_modes_and_the_values_disagree_nothing_is_given():
    work = Work("forward")
    with pytest.raises(InconsistentDerivative):
        first_right(routes(work), work, lambda linear: linear, Told((0.5, None)))


def test_a_rule_that_the_values_contradict_is_not_used():
    work = Work("forward")
    first_right(routes(work), work, lambda linear: linear, Told((0.5, False), (0.0, None)))
    assert work.mode == "double-reverse"
    assert "forward mode by 5.0e-01: it was not used" in work.notes[0]


def test_where_all_routes_are_contradicted_none_is_left():
    work = Work("forward")
    with pytest.raises(OpFailed):
        first_right(routes(work), work, lambda linear: linear, Told((0.5, False), (0.5, False)))


def test_forward_mode_that_the_values_confirm_is_used_though_reverse_mode_disagrees():
    work = Work("forward")
    first_right(routes(work), work, lambda linear: linear, Told((0.5, True)))
    assert work.mode == "forward"
    assert "values of the function are with forward mode" in work.notes[0]


def test_the_first_route_that_has_its_rules_and_passes_is_taken():
    def missing() -> AbstractLinearMap:
        raise OpFailed("there is no such rule")

    work = Work("forward")
    found = first_right([("forward", missing), *routes(work)[1:]], work, lambda linear: linear, Told((0.0, None)))
    assert work.mode == "double-reverse"
    torch.testing.assert_close(found.matrix, MATRIX)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [4, 100, 400])
def test_a_rule_that_is_wrong_altogether_is_caught_in_every_precision_and_size(dtype, n):
    matrix = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)).to(dtype)
    assert error_of(matrix, matrix) < tolerance({"x": matrix})
    for wrong in (matrix.T, -matrix, 2 * matrix, matrix.roll(1, 0)):
        assert error_of(matrix, wrong) > tolerance({"x": matrix})


def test_a_hessian_that_is_not_symmetric_is_not_given():
    symmetric = Matrix(MATRIX + MATRIX.T, Work("reverse-over-reverse"))
    torch.testing.assert_close(dense_hessian(symmetric, point(), None)["x"]["x"], symmetric.matrix)
    with pytest.raises(InconsistentDerivative):
        dense_hessian(Matrix(MATRIX, Work("reverse-over-reverse")), point(), None)
