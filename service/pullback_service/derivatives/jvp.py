"""J v for the vectors of a request, by the first route that is right."""

from __future__ import annotations

import torch
from torch import Tensor

from pullback_service.derivatives.chunks import rows_at_once
from pullback_service.derivatives.linear import AbstractLinearMap, Batches, Vectors
from pullback_service.derivatives.pushforwards import RowByRow
from pullback_service.derivatives.routes import Beside, Unchecked, first_right, forward_routes
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import zeros_for_none
from pullback_service.derivatives.work import Work

CHECKED_ELEMENTS = 2**20
"""Of all values of a graph: up to here the adjoint identity is checked, which takes some milliseconds at most."""


def push_forward(point: Point, tangents: Vectors, *, is_batched: bool, work: Work) -> dict[str, Tensor]:
    """J v for each output of the point, summed over the tangents; v has one extra leading axis if batched."""
    chunk = rows_at_once(point.plan, point.outputs, point.leaves)
    batch = len(next(iter(tangents.values()))) if is_batched else None

    def compute(linear: AbstractLinearMap) -> dict[str, Tensor]:
        images = Batches(linear).apply(tangents, chunk) if is_batched else linear.one(tangents)
        return zeros_for_none(images, point.outputs, batch)

    routes = [*forward_routes(point, work), ("reverse", lambda: RowByRow(point, work))]
    if batch == 0 or point.plan.inferred.elements > CHECKED_ELEMENTS:
        return first_right(routes, work, compute, Unchecked())
    return first_right(
        routes, work, compute, Beside(point, _mixed(tangents, batch), lambda images: _mixed(images, batch), work)
    )


def _mixed(vectors: Vectors, batch: int | None) -> dict[str, Tensor]:
    """One vector in which all of a batch take part."""
    if batch is None:
        return dict(vectors)
    weights = torch.linspace(1, 2, batch, dtype=torch.float64)
    return {n: torch.tensordot(weights.to(t.device, _wide(t)), t.to(_wide(t)), 1) for n, t in vectors.items()}


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.complex128 if tensor.is_complex() else torch.float64
