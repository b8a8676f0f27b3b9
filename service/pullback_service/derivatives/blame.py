"""Which node a failed pass failed in, found by going back one node at a time; only after a failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.adjoint import random_cotangents
from pullback_service.derivatives.local import Sweep
from pullback_service.derivatives.run import Point, plain_attention


@contextmanager
def naming_node(point: Point, *, is_twice: bool = False) -> Iterator[None]:
    """An OpFailed from inside that names no node is raised again as that of the node without a derivative.

    With `is_twice`, without a second derivative.
    """
    try:
        yield
    except OpFailed as error:
        if error.node is None:
            with plain_attention(point.plan.program) if is_twice else nullcontext():
                visits = Sweep(point).back(random_cotangents(point.only().outputs), is_twice=is_twice)
                deque(visits, maxlen=0)
        raise
