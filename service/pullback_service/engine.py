"""Bytes of a request in, bytes of the answer out: the whole way inside a worker."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable

import torch

from pullback_schemas.problems import InternalError, ProblemError, ProblemsError, TooDeep
from pullback_service.clock import Clock
from pullback_service.library import Library, NeedsIsolation
from pullback_service.operations.registry import OPERATIONS
from pullback_service.program.failures import out_of_memory
from pullback_service.program.inference import Limits
from pullback_service.program.placing import CPU
from pullback_service.protocols.native_json import encode, encode_problem
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_ISOLATION, Call, Reply

WARM_UP = {
    "ops": b"",
    "op": b"relu",
    "backward": b'{"graph": "y = x @ x", "inputs": {"x": [[1, 2], [3, 4]]}, "grad_tensors": [[[1, 0], [0, 1]]]}',
    "jacobian": b'{"graph": "y = x @ x", "inputs": {"x": [[1, 2], [3, 4]]}}',
    "jvp": b'{"graph": "y = x @ x", "inputs": {"x": [[1, 2], [3, 4]]}, "tangents": {"x": [[1, 0], [0, 1]]}}',
}

log = logging.getLogger(__name__)


class Engine:
    """Answers calls one at a time, in the thread that calls it."""

    def __init__(self, limits: Limits, max_answer_bytes: int, device: torch.device = CPU) -> None:
        self.library = Library(limits, device)
        self._max_answer_bytes = max_answer_bytes

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
            document = OPERATIONS[call.operation](self.library, call.buffer(), clock)
            body = encode(document, self._max_answer_bytes)
            clock.lap("encode")
            return Reply(200, body, clock.server_timing())
        except (ProblemError, ProblemsError) as error:
            return Reply(*encode_problem(error))
        except NeedsIsolation as error:
            return Reply(NEEDS_ISOLATION, encode({"nodes": error.nodes}, self._max_answer_bytes))
        except MemoryError:
            return Reply(*encode_problem(out_of_memory(None)))
        except RecursionError:
            return Reply(*encode_problem(TooDeep("The request is nested too deeply.")))

    def settle(self, *, threads: int, is_alone: bool, admit: Callable[[bytes], None] | None = None) -> None:
        """Told once, in the process that will answer: its threads, and whether it may run isolated operators.

        `admit` is called with a digest of each graph before it is even compiled, and may raise a problem.
        """
        torch.set_num_threads(threads)
        self.library.is_alone = is_alone
        if admit is not None:
            self.library.admit = admit

    def warm_up(self) -> None:
        """Pay for first uses now: the tables of operators, fake tensors, autograd in both modes, vmap.

        A sealed process imports and reads nothing more.
        """
        importlib.import_module("torch._subclasses.schema_check_mode")  # torch does so where quantile meets vmap
        with warnings.catch_warnings():
            # The first use of forward mode compiles decompositions in a way that torch deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            for operation, body in WARM_UP.items():
                assert self.answer(Call(operation, body)).status == 200


def build_engine(settings: Settings, device: torch.device = CPU) -> Engine:
    """A warm engine, which must settle yet. On the CPU it has used one thread only: the process may still be forked."""
    torch.set_num_threads(1)
    engine = Engine(
        Limits(
            max_nodes=settings.max_nodes,
            max_tensor_elements=settings.max_tensor_elements,
            max_total_elements=settings.max_total_elements,
            max_memory_bytes=settings.worker_memory_bytes,
            max_touched_elements=settings.max_touched_elements,
            max_flops=settings.max_flops,
        ),
        settings.max_answer_bytes,
        device,
    )
    engine.warm_up()
    return engine
