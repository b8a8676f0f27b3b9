"""Jacobians that the graph shows to be sparse: rows of one colour come out of one pullback together."""

from __future__ import annotations

import torch
from torch import Tensor

from pullback_service.derivatives.adjoint import tolerance
from pullback_service.derivatives.dense import Blocks
from pullback_service.derivatives.linear import Batches
from pullback_service.derivatives.run import Point
from pullback_service.derivatives.vjp import Pullback, zeros_for_none
from pullback_service.derivatives.work import Work
from pullback_service.program.sparsity import Colouring

WORTH = 4
"""Rows that a colour must stand for."""

MIN_ELEMENTS = 2**15
"""Of all blocks; fewer come out of one pass of all rows as soon."""

Values = dict[str, Tensor]
"""By input: the entries of one output's Jacobian, in the order of the colouring's."""


def coloured(point: Point, work: Work) -> Blocks | None:
    """jacobians[y][x], if the graph shows all of them to be sparse enough."""
    colourings = _colourings(point)
    if colourings is None:
        return None
    pullback = Pullback(point.outputs, point.leaves, work)
    values = {y: _values(pullback, y, colouring) for y, colouring in colourings.items()}
    if not _is_confirmed(pullback, colourings, values):
        work.note("The graph looks sparse, but its entries contradict a pullback: they were not used.")
        return None
    work.path = "coloured"
    return {y: _dense(values[y], colouring, point, y) for y, colouring in colourings.items()}


def _is_confirmed(pullback: Pullback, colourings: dict[str, Colouring], values: dict[str, Values]) -> bool:
    """Whether J^T w is what the pullback of some w gives: a missing entry would show."""
    w = {y: torch.linspace(1, 2, o.numel(), dtype=o.dtype, device=o.device) for y, o in pullback.source.items()}
    w = {y: ramp.reshape(pullback.source[y].shape) for y, ramp in w.items()}
    for x, found in zeros_for_none(pullback.one(w), pullback.target).items():
        total = torch.zeros(2, found.numel(), dtype=torch.float64, device=found.device)
        for y, colouring in colourings.items():
            entries = colouring.entries[x]
            terms = w[y].flatten()[entries.rows] * values[y][x].double()
            total.index_add_(1, entries.columns, torch.stack([terms, terms.abs()]))
        error = (total[0] - found.flatten()).abs()
        if bool((error > tolerance(pullback.target) * total[1]).any()):
            return False
    return True


def _colourings(point: Point) -> dict[str, Colouring] | None:
    if any(tensor.is_complex() for tensor in [*point.outputs.values(), *point.leaves.values()]):
        return None
    rows, columns = (sum(t.numel() for t in end.values()) for end in (point.outputs, point.leaves))
    if rows * columns < MIN_ELEMENTS:
        return None
    found = {}
    for y, output in point.outputs.items():
        colouring = point.plan.sparsity.colouring(y, tuple(point.leaves))
        if colouring is None or colouring.count * WORTH > output.numel():
            return None
        found[y] = colouring.on(output.device)
    return found


def _values(pullback: Pullback, y: str, colouring: Colouring) -> Values:
    output, count = pullback.source[y], colouring.count
    seeds = torch.zeros(count, output.numel(), dtype=output.dtype, device=output.device)
    for colour in range(count):
        seeds[colour, colour::count] = 1
    images = Batches(pullback).images({y: seeds.reshape(count, *output.shape)})
    values = {}
    for x, image in zeros_for_none(images, pullback.target, count).items():
        entries = colouring.entries[x]
        values[x] = image.reshape(count, -1)[entries.rows % count, entries.columns]
    return values


def _dense(values: Values, colouring: Colouring, point: Point, y: str) -> dict[str, Tensor]:
    output, row = point.outputs[y], {}
    for x, leaf in point.leaves.items():
        block = torch.zeros(output.numel(), leaf.numel(), dtype=leaf.dtype, device=leaf.device)
        block[colouring.entries[x].rows, colouring.entries[x].columns] = values[x]
        row[x] = block.reshape(output.shape + leaf.shape)
    return row
