"""Bytes of a request in, bytes of the answer out: the whole way inside a worker."""

from __future__ import annotations

import logging
import warnings

import torch

from pullback_schemas.problems import InternalError, ProblemError, ProblemsError, TooDeep
from pullback_service.clock import Clock
from pullback_service.library import Library
from pullback_service.operations.registry import OPERATIONS
from pullback_service.program.inference import Limits
from pullback_service.protocols.native_json import encode, encode_problem
from pullback_service.settings import Settings
from pullback_service.workers.base import Call, Reply

WARM_UP = {
    "backward": b'{"graph": "y = x @ x", "inputs": {"x": [[1, 2], [3, 4]]}, "grad_tensors": [[[1, 0], [0, 1]]]}',
    "jacobian": b'{"graph": "y = x @ x", "inputs": {"x": [[1, 2], [3, 4]]}}',
    "jvp": b'{"graph": "y = x @ x", "inputs": {"x": [[1, 2], [3, 4]]}, "tangents": {"x": [[1, 0], [0, 1]]}}',
}

log = logging.getLogger(__name__)


class Engine:
    """Answers calls one at a time, in the thread that calls it."""

    def __init__(self, limits: Limits) -> None:
        self.library = Library(limits)

    def answer(self, call: Call) -> Reply:
        """The reply to `call`; every problem is a reply too."""
        try:
            return self._attempt(call)
        except Exception:
            log.exception("the operation %s failed", call.operation)
            internal = InternalError("The service failed on this request; this is its own bug.")
            return Reply(*encode_problem(internal))

    def _attempt(self, call: Call) -> Reply:
        clock = Clock()
        try:
            document = OPERATIONS[call.operation](self.library, call.body, clock)
            body = encode(document)
            clock.lap("encode")
            return Reply(200, body, clock.server_timing())
        except (ProblemError, ProblemsError) as error:
            return Reply(*encode_problem(error))
        except RecursionError:
            return Reply(*encode_problem(TooDeep("The request is nested too deeply.")))

    def warm_up(self) -> None:
        """Pay for first uses now: the operator table, fake tensors, autograd in both modes, vmap."""
        with warnings.catch_warnings():
            # The first use of forward mode compiles decompositions in a way that torch deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            for operation, body in WARM_UP.items():
                assert self.answer(Call(operation, body)).status == 200


def build_engine(settings: Settings) -> Engine:
    """A warm engine for a process of its own: sets torch's threads."""
    torch.set_num_threads(settings.torch_threads)
    engine = Engine(
        Limits(settings.max_nodes, settings.max_tensor_elements, settings.max_total_elements),
    )
    engine.warm_up()
    return engine
