"""Dense Jacobians: refused if too large, by rows in reverse mode or by columns in forward mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pullback_schemas.problems import LimitExceeded, OpFailed
from pullback_service.derivatives.adjoint import adjoint_error, random_cotangents, random_tangents, tolerance
from pullback_service.derivatives.chunks import rows_at_once
from pullback_service.derivatives.dense import Blocks, dense_by_columns, dense_by_rows, times
from pullback_service.derivatives.jvp import first_right, forward_routes
from pullback_service.derivatives.known_wrong import wrong_forward_rules
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback
from pullback_service.derivatives.work import Work
from pullback_service.program.types import MAX_AXES, TensorType, extent

Direction = Literal["auto", "reverse", "forward"]


def check_blocks(
    rows: Mapping[str, TensorType], columns: Mapping[str, TensorType], max_elements: int, pointer: str, what: str
) -> None:
    """Refuse what is too large to be written down densely, before any work."""
    total = 0
    for y, output in rows.items():
        for x, leaf in columns.items():
            if not output.is_differentiable:
                continue
            if len(output.shape) + len(leaf.shape) > MAX_AXES:
                raise LimitExceeded(
                    f"The {what} of {y!r} with respect to {x!r} would have more than {MAX_AXES} axes.",
                    pointer=pointer,
                    expected=MAX_AXES,
                    got=len(output.shape) + len(leaf.shape),
                )
            total += extent(output.shape + leaf.shape)
            if total > max_elements:
                raise LimitExceeded(
                    f"The dense {what} up to that of {y!r} by {x!r} has {total:,} elements; the limit is "
                    f"{max_elements:,}.",
                    pointer=pointer,
                    node=y,
                    expected=max_elements,
                    got=total,
                    hint="Ask for products with vectors instead: grad_tensors, tangents, or /v1/hvp.",
                )


def jacobians(point: Point, mode: Direction, chunk: int | None, work: Work) -> Blocks:
    """jacobians[y][x] of shape y.shape + x.shape, for every output and leaf of the point, which keeps its tape.

    `mode` auto goes by rows unless there are more of them than columns.
    """
    chunk = chunk or rows_at_once(point.plan, point.outputs, point.leaves)
    if mode == "forward" or (mode == "auto" and _columns(point) < _rows(point)):
        try:
            return first_right(
                forward_routes(point, work),
                work,
                lambda linear: dense_by_columns(linear, chunk),
                lambda blocks: _error(point, blocks, work),
                tolerance({**point.outputs, **point.leaves}),
            )
        except OpFailed:
            work.note("An operator has neither a forward rule nor a second derivative: reverse mode was taken.")
    work.mode = "reverse"
    return dense_by_rows(Pullback(point.outputs, point.leaves, work), chunk)


def _rows(point: Point) -> int:
    return sum(y.numel() * (2 if y.is_complex() else 1) for y in point.outputs.values())


def _columns(point: Point) -> int:
    """The columns, each counted twice where the slower route through the tape must be taken."""
    factor = 2 if wrong_forward_rules(point.plan.program) else 1
    return factor * sum(x.numel() * (2 if x.is_complex() else 1) for x in point.leaves.values())


def _error(point: Point, blocks: Blocks, work: Work) -> float | None:
    w, v = random_cotangents(point.outputs), random_tangents(point.leaves)
    gradients = Pullback(point.outputs, point.leaves, work).one(w)
    return adjoint_error(w, times(blocks, v, point.outputs), gradients, v, point.outputs.values())
