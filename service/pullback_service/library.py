"""What a worker has learnt: programs by the graph that was sent, plans by program and types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from cachetools import LRUCache

from pullback_schemas.expressions import Translation, translate
from pullback_schemas.graphs import Graph, WrittenGraph
from pullback_schemas.problems import (
    MAX_LISTED,
    BadReference,
    DeviceUnavailable,
    Findings,
    LimitExceeded,
    ProblemError,
    ProblemsError,
    each_problem,
    pointer_to,
    under,
)
from pullback_service.derivatives.joint import Joint
from pullback_service.program.compiler import compile_program
from pullback_service.program.inference import Limits
from pullback_service.program.placing import CPU, place
from pullback_service.program.plan import Plan, make_plan
from pullback_service.program.program import Program, Step
from pullback_service.program.types import TensorType
from pullback_service.protocols.native_safetensors import FileTensor
from pullback_service.protocols.strict_json import parse_json
from pullback_service.protocols.tensor_reader import read_tensor
from pullback_service.protocols.validation import validate

PROGRAM_BYTES = 64 * 2**20
STEP_BYTES = 4096
PLANS = 16
PATTERNS = 64
TEXT_BYTES = 4 * 2**20
Written = dict[str, Any] | str | WrittenGraph


@dataclass(frozen=True, eq=False)
class Source:
    """A program and the text it came from, if it came as text."""

    program: Program
    translation: Translation | None
    digest: bytes
    plans: LRUCache[Any, Plan] = field(default_factory=lambda: LRUCache(PLANS))
    joints: LRUCache[Plan, Joint] = field(default_factory=lambda: LRUCache(PLANS))

    def joint_of(self, plan: Plan) -> Joint:
        """What was learnt of one of its plans."""
        joint = self.joints.get(plan)
        if joint is None:
            self.joints[plan] = joint = Joint(plan)
        return joint

    @contextmanager
    def quoted(self) -> Iterator[None]:
        """Problems raised inside have pointers into the graph; point into the request, and quote the text."""
        with _quoting(self.translation):
            yield


class NeedsIsolation(Exception):
    """The graph has isolated operators, and this process is to answer others after it."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.nodes = [
            {
                "node": step.id,
                "op": step.call.operator.name,
                "pointer": "/graph" if source.translation else f"/graph{step.pointer}",
            }
            for step in source.program.isolated[:MAX_LISTED]
        ]


class NeedsDevice(Exception):
    """The call belongs on a GPU, of which another process has charge: "cuda" for any of them."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device


class Library:
    """Compiles and plans what is new, finds again what is known."""

    def __init__(self, limits: Limits, device: torch.device = CPU) -> None:
        self.limits = limits
        self.device = device
        self.gpus: Sequence[str] = ()
        """What other workers have: a call that belongs there NeedsDevice."""
        self.is_alone = False
        self.latest: Source | None = None
        """What was asked for last, since this was None."""
        self.admit: Callable[[bytes], None] = lambda _: None
        self.patterns: LRUCache[tuple[Any, ...], Any] = LRUCache(PATTERNS)
        """What is known of requests but for their numbers."""
        self.homework: list[Callable[[], None]] = []
        """What is to be done once the answer is sent."""
        self._sources: LRUCache[Any, tuple[Source, int]] = LRUCache(PROGRAM_BYTES, getsizeof=lambda v: v[1])

    def source(self, graph: Written) -> Source:
        """The program of a graph in either form.

        Raises its problems, with pointers into the request, or NeedsIsolation.
        """
        source = self.latest = self._known(graph)
        if source.program.isolated and self.device != CPU:
            raise _only_on_the_cpu(source.program.isolated[0])
        if source.program.isolated and not self.is_alone:
            raise NeedsIsolation(source)
        return source

    def _known(self, graph: Written) -> Source:
        key = _key(graph)
        known = self._sources.get(key)
        digest = known[0].digest if known else hashlib.sha256(key).digest()
        self.admit(digest)
        if known:
            return known[0]
        source = self._compile(graph, digest)
        constants = sum(constant.nbytes for constant in source.program.constants.values())
        weight = len(key) + constants + STEP_BYTES * (1 + len(source.program.steps))
        if weight <= PROGRAM_BYTES:
            self._sources[key] = source, weight
        return source

    def plan(
        self, source: Source, inputs: Mapping[str, TensorType | None], wrt: Sequence[str] | None
    ) -> tuple[Plan, bool]:
        """The plan, and whether it was known. Raises the problems of shapes and dtypes."""
        key = (tuple(sorted(inputs.items())), None if wrt is None else tuple(wrt))
        known = source.plans.get(key)
        if known is not None:
            return known, True
        with source.quoted():
            plan = make_plan(source.program, inputs, wrt, self.limits)
            if source.translation:
                _check_unpacked(source.translation, plan)
        source.plans[key] = plan
        return plan, False

    def _compile(self, raw: Written, digest: bytes) -> Source:
        translation = None
        if isinstance(raw, WrittenGraph):
            raw = parse_json(raw.text)
        if isinstance(raw, str):
            with under("/graph"):
                if len(raw) > TEXT_BYTES:
                    raise LimitExceeded(
                        f"The graph's text has {len(raw):,} characters; the limit is {TEXT_BYTES:,}.",
                        expected=TEXT_BYTES,
                        got=len(raw),
                        hint="Send large constants as inputs.",
                    )
                translation = translate(raw, self.limits.max_nodes)
        with _quoting(translation):
            graph = validate(Graph, raw if translation is None else translation.graph)
            if len(graph.nodes) > self.limits.max_nodes:
                raise LimitExceeded(
                    f"The graph has {len(graph.nodes):,} nodes; the limit is {self.limits.max_nodes:,}.",
                    pointer="/nodes",
                    expected=self.limits.max_nodes,
                    got=len(graph.nodes),
                )
            findings = Findings()
            constants = {}
            for name, value in graph.constants.items():
                with findings.catch(), under(pointer_to("constants", name)):
                    tensor = read_tensor(value, max_elements=self.limits.max_tensor_elements)
                    is_borrowed = isinstance(value, FileTensor)  # from a body that is gone with its request
                    constants[name] = place(tensor.clone() if is_borrowed else tensor, self.device)
            findings.check()
            return Source(compile_program(graph, constants, self.device), translation, digest)


def _only_on_the_cpu(step: Step) -> DeviceUnavailable:
    return DeviceUnavailable(
        f"{step.call.operator.name} runs in a process of its own, on the CPU.",
        pointer="/device",
        node=step.id,
        expected=["auto", "cpu"],
        hint="Its kernel does not check its arguments, and a GPU is shared by all requests.",
    )


def _check_unpacked(translation: Translation, plan: Plan) -> None:
    """`a, b = split(x, 2)` names all the values there are, as in Python."""
    for step in plan.program.steps:
        count = translation.unpacked.get(step.id)
        value = plan.inferred.values[step.slot]
        if count is not None and isinstance(value, tuple | list) and len(value) != count:
            raise BadReference(
                f"{step.call.operator.name} gives {len(value)} values; {count} names stand before the =.",
                pointer=step.pointer,
                node=step.id,
                expected=len(value),
                got=count,
            )


@contextmanager
def _quoting(translation: Translation | None) -> Iterator[None]:
    try:
        yield
    except (ProblemError, ProblemsError) as error:
        for problem in each_problem(error):
            if translation is None:
                problem.pointer = "/graph" + problem.pointer
            else:
                problem.excerpt = problem.excerpt or translation.excerpt_at(problem.pointer)
                problem.pointer = "/graph"
        raise


def _describe(constant: FileTensor) -> dict[str, Any]:
    dtype, shape, data = constant.stored
    digest = hashlib.sha256(data).hexdigest()
    return {"stored": dtype, "shape": shape, "is_paired": constant.is_paired, "sha256": digest}


def _key(graph: Written) -> bytes:
    """What tells one graph from another: its text, as far as it was kept. Where memory ends, json does not crash."""
    if isinstance(graph, WrittenGraph):
        return graph.text
    return (graph if isinstance(graph, str) else json.dumps(graph, default=_describe)).encode("utf-8", "surrogatepass")
