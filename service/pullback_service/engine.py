"""Bytes of a request in, bytes of the answer out: the whole way inside a worker."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Sequence

import orjson
import torch

from pullback_schemas.problems import InternalError, OpFailed, ProblemError, ProblemsError, TooDeep
from pullback_service.clock import Clock
from pullback_service.forms import Form, Piece
from pullback_service.gpu import WARM_UP_GPU, Gpu
from pullback_service.library import Library, NeedsDevice, NeedsIsolation
from pullback_service.operations.registry import OPERATIONS
from pullback_service.operations.repeats import answer_together
from pullback_service.program.failures import first_sentence, is_out_of_memory, out_of_memory
from pullback_service.program.inference import Limits
from pullback_service.program.placing import CPU
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.codings import inflate
from pullback_service.protocols.doors import Sent, write_answer
from pullback_service.protocols.native_json import encode_problem
from pullback_service.settings import Settings
from pullback_service.workers.base import NEEDS_DEVICE, NEEDS_ISOLATION, NEEDS_ROOM, Call, Reply
from pullback_service.workers.shared import INLINE_BYTES

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

    def __init__(
        self, limits: Limits, max_answer_bytes: int, gpu: Gpu | None = None, *, max_body_bytes: int = 2**28
    ) -> None:
        self.library = Library(limits, CPU if gpu is None else gpu.device)
        self.is_sound = True
        """Whether it can answer another call: a GPU that has failed cannot."""
        self._max_answer_bytes = max_answer_bytes
        self._max_body_bytes = max_body_bytes
        self._gpu = gpu

    @property
    def has_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self._gpu is not None

    def answer_all(self, calls: Sequence[Call]) -> list[Reply]:
        """The replies to calls that came together; one that goes through no run with others is to come alone."""
        if len(calls) == 1:
            return [self.answer(calls[0])]
        return self._together(calls)

    def practise(self) -> None:
        """Learn from the calls that were answered, for those to come."""
        while self.library.homework:
            try:
                self.library.homework.pop()()
            except Exception:  # the call was answered, and others are to come
                log.warning("nothing was learnt from a call", exc_info=True)

    def _together(self, calls: Sequence[Call]) -> list[Reply]:
        """Replies to those calls that may be answered in one run."""
        replies = [Reply(NEEDS_ROOM, b"")] * len(calls)
        if self._gpu is not None:
            return replies
        max_bytes = min(INLINE_BYTES, self._max_answer_bytes)
        try:
            for company in answer_together(self.library, [self._sent(call) for call in calls]):
                for index, text in company.texts.items():
                    if len(text) <= max_bytes:
                        replies[index] = Reply(200, text, company.server_timing, rides=True, graph=company.graph)
        except Exception:  # alone, each gets its own answer, or its own problem
            log.warning("calls could not be answered together", exc_info=True)
        return replies

    def _sent(self, call: Call) -> Sent:
        body = inflate(call.buffer(), call.forms.coding, self._max_body_bytes)
        return Sent(call.operation, body, call.forms)

    def _written(self, answer: Answer, clock: Clock, form: Form) -> Reply:
        pieces = write_answer(answer, form, self._max_answer_bytes)
        clock.lap("encode")
        return _reply(pieces, clock.server_timing(), answer)

    def answer(self, call: Call) -> Reply:
        """The reply to `call`; every problem is a reply too."""
        self.library.latest = None
        reply = self._answer(call)
        if not reply.graph and self.library.latest is not None:
            reply = reply._replace(graph=self.library.latest.program.digest)
        return reply if self._gpu is None else self._settled(reply, self._gpu)

    def _settled(self, reply: Reply, gpu: Gpu) -> Reply:
        """The reply, unless the GPU failed, which is told only afterwards: no number is to be believed then."""
        try:
            return reply._replace(device_bytes=gpu.settle())
        except RuntimeError as error:
            log.error("the GPU failed: %s", error)
            self.is_sound = False
            return reply if reply.status == OpFailed.status else Reply(*encode_problem(_failed(error)))

    def _answer(self, call: Call) -> Reply:
        try:
            return self._attempt(call)
        except Exception:
            log.exception("the operation %s failed", call.operation)
            internal = InternalError("The service failed on this request; this is its own bug.")
            return Reply(*encode_problem(internal))

    def _attempt(self, call: Call) -> Reply:
        clock = Clock()
        try:
            answer = OPERATIONS[call.operation](self.library, self._sent(call), clock)
            return self._written(answer, clock, call.forms.wanted)
        except (ProblemError, ProblemsError) as error:
            return Reply(*encode_problem(error))
        except NeedsIsolation as error:
            return Reply(NEEDS_ISOLATION, orjson.dumps({"nodes": error.nodes}))
        except NeedsDevice as error:
            return Reply(NEEDS_DEVICE, error.device.encode())
        except MemoryError:
            return Reply(*encode_problem(out_of_memory(None)))
        except RecursionError:
            return Reply(*encode_problem(TooDeep("The request is nested too deeply.")))
        except RuntimeError as error:  # outside of any node, as on the way to a GPU
            if is_out_of_memory(error):
                return Reply(*encode_problem(out_of_memory(None)))
            raise

    def settle(
        self,
        *,
        threads: int,
        is_alone: bool,
        gpus: Sequence[str] = (),
        admit: Callable[[bytes], None] | None = None,
    ) -> None:
        """Told once, in the process that will answer: its threads, and whether it may run isolated operators.

        `gpus` are those that other processes have, for calls that belong there. `admit` is called with a digest of each
        graph before it is even compiled, and may raise a problem.
        """
        torch.set_num_threads(threads)
        self.library.is_alone = is_alone
        self.library.gpus = gpus
        if admit is not None:
            self.library.admit = admit

    def warm_up(self) -> None:
        """Pay for first uses now: the tables of operators, fake tensors, autograd in both modes, vmap.

        A sealed process imports and reads nothing more.
        """
        # Where vmap loops inside an operator, torch writes so to stderr, for each call.
        torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]
        importlib.import_module("torch._subclasses.schema_check_mode")  # torch does so where quantile meets vmap
        with warnings.catch_warnings():
            # The first use of forward mode compiles decompositions in a way that torch deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            for operation, body in WARM_UP.items():
                assert self.answer(Call(operation, body)).status == 200
            for graph in WARM_UP_GPU if self.has_gpu else ():
                if self.answer(Call("backward", orjson.dumps({"graph": graph, "inputs": {"x": 1.5}}))).status != 200:
                    log.warning("the GPU cannot do this: %s", graph)


def _reply(pieces: list[Piece], server_timing: str, answer: Answer) -> Reply:
    if sum(map(len, pieces)) > INLINE_BYTES:
        return Reply(200, b"", server_timing, pieces=pieces, graph=answer.graph)
    return Reply(200, b"".join(pieces), server_timing, rides=answer.rides, graph=answer.graph)


def _failed(error: RuntimeError) -> OpFailed:
    return OpFailed(
        f"The GPU failed at this: {first_sentence(error)}",
        pointer="/graph",
        hint='Look for indices that are out of range. With device: "cpu", the node is named.',
    )


def build_engine(settings: Settings, device: str = "cpu") -> Engine:
    """A warm engine, which must settle yet. On the CPU it has used one thread only: the process may still be forked."""
    torch.set_num_threads(1)
    gpu = None if device == "cpu" else Gpu(device, settings.gpu_memory_fraction)
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
        gpu,
        max_body_bytes=settings.max_body_bytes,
    )
    engine.warm_up()
    return engine
