"""`/v1/ops` and `/v1/ops/{name}`."""

from __future__ import annotations

from pullback_service.clock import Clock
from pullback_service.library import Library
from pullback_service.operations.reports import describe_op, list_ops
from pullback_service.program.catalogue import catalogue
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent


def ops(_: Library, __: Sent, ___: Clock) -> Answer:
    """The catalogue, as an OpList."""
    return Answer(list_ops(catalogue()))


def op(_: Library, sent: Sent, __: Clock) -> Answer:
    """One operator of the catalogue, as an OpInfo; the body is its name."""
    return Answer(describe_op(catalogue(), str(sent.body, "utf-8", "replace")))
