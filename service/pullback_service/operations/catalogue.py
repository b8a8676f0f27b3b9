"""`/v1/ops` and `/v1/ops/{name}`."""

from __future__ import annotations

from pullback_service.clock import Clock
from pullback_service.library import Library
from pullback_service.operations.evaluation import Body, Document
from pullback_service.operations.reports import describe_op, list_ops
from pullback_service.program.catalogue import catalogue


def ops(_: Library, __: Body, ___: Clock) -> Document:
    """The catalogue, as an OpList."""
    return list_ops(catalogue())


def op(_: Library, body: Body, __: Clock) -> Document:
    """One operator of the catalogue, as an OpInfo; the body is its name."""
    return describe_op(catalogue(), str(body, "utf-8", "replace"))
