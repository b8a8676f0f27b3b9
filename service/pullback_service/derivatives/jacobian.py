"""Dense Jacobians: refused if too large, by rows in reverse mode or by columns in forward mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pullback_schemas.problems import LimitExceeded, OpFailed
from pullback_service.derivatives.adjoint import random_tangents
from pullback_service.derivatives.chunks import rows_at_once
from pullback_service.derivatives.coloured import coloured
from pullback_service.derivatives.dense import Blocks, dense_by_columns, dense_by_rows, times
from pullback_service.derivatives.routes import Beside, Route, first_right, forward_routes
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


PASSES = {"forward": 1, "double-reverse": 2}
"""What a column costs by each route, in rows of reverse mode."""


def jacobians(point: Point, mode: Direction, chunk: int | None, work: Work) -> Blocks:
    """jacobians[y][x] of shape y.shape + x.shape, for every output and leaf of the point, which keeps its tape.

    `mode` auto goes by columns where a route that has all its rules makes them cheaper than the rows; with a `chunk` of
    the caller's, as many go through at a time, and nothing else is tried.
    """
    if mode != "forward" and chunk is None and (blocks := coloured(point, work)) is not None:
        return blocks
    chunk = chunk or rows_at_once(point.plan, point.outputs, point.leaves)
    routes = [] if mode == "reverse" else list(_routes(point, mode, work))
    if routes:
        v = random_tangents(point.leaves)
        beside: Beside[Blocks] = Beside(point, v, lambda blocks: times(blocks, v, point.outputs), work)
        try:
            return first_right(routes, work, lambda linear: dense_by_columns(linear, chunk), beside)
        except OpFailed:
            if mode == "forward":
                work.note("Forward mode has not all its rules here, or is wrong: reverse mode was taken.")
    work.mode = "reverse"
    return dense_by_rows(Pullback(point.outputs, point.leaves, work), chunk)


def _routes(point: Point, mode: Direction, work: Work) -> Iterator[Route]:
    """The ways by columns that are asked for, or cost less than the rows."""
    rows = sum(y.numel() * (2 if y.is_complex() else 1) for y in point.outputs.values())
    columns = sum(x.numel() * (2 if x.is_complex() else 1) for x in point.leaves.values())
    if mode == "auto" and columns >= rows:
        return
    for route, build in forward_routes(point, work):
        if mode == "forward" or PASSES[route] * columns < rows:
            yield route, build
