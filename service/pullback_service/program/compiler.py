"""From a graph as it was sent to a program: names, order, operators, arguments."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.graphs import Graph, Node, is_reference, split_reference
from pullback_schemas.problems import (
    MAX_LISTED,
    BadReference,
    DuplicateName,
    EmptyGraph,
    Findings,
    GraphCycle,
    ProblemError,
    UndefinedName,
    pointer_to,
    under,
)
from pullback_schemas.tensors import TensorSpec
from pullback_schemas.wire import why_not_a_name
from pullback_service.program.binding import Call, bind
from pullback_service.program.catalogue import catalogue
from pullback_service.program.guards import LITERAL_GUARDS
from pullback_service.program.placing import CPU
from pullback_service.program.program import Program, Step
from pullback_service.program.references import Ref
from pullback_service.program.scope import Scope

GETITEM = "getitem"
"""`x[i]` of the text form: one of several values, a row of a tensor, or what index tensors pick."""


def compile_program(graph: Graph, constants: Mapping[str, Tensor], device: torch.device = CPU) -> Program:
    """Resolve `graph`, whose constants are given as tensors on the device where it will run.

    Raises every problem found: names defined twice or not at all, cycles, unknown or refused operators,
    arguments that do not fit, references that pick no single value. Pointers are relative to the graph.
    """
    findings = Findings()
    findings.errors += _duplicates(graph)
    needs = [_needs(node) for node in graph.nodes]
    inputs, undefined = _inputs(graph, needs)
    findings.errors += undefined
    findings.check()
    compiler = _Compiler(graph, dict(sorted(inputs.items())), dict(sorted(constants.items())), findings, device)
    for index in _order(graph, needs):
        compiler.add(index, needs[index])
    outputs = compiler.outputs()
    findings.check()
    return Program(compiler.inputs, compiler.constants, tuple(compiler.steps), outputs)


class _Compiler:
    """Adds node after node; a node that needs a broken one is skipped in silence."""

    def __init__(
        self,
        graph: Graph,
        inputs: dict[str, TensorSpec],
        constants: dict[str, Tensor],
        findings: Findings,
        device: torch.device,
    ) -> None:
        self.graph = graph
        self.inputs = inputs
        self.constants = constants
        self.findings = findings
        self.device = device
        self.steps: list[Step] = []
        self.broken: set[str] = set()
        self.scope = Scope()
        for slot, name in enumerate([*inputs, *constants]):
            self.scope.define(name, slot)

    def add(self, index: int, needs: Mapping[str, str]) -> None:
        node = self.graph.nodes[index]
        if self.broken.isdisjoint(needs):
            with self.findings.catch(), under(pointer_to("nodes", index)):
                self.resolve(node, pointer_to("nodes", index))
                return
        self.broken.add(node.id)

    def resolve(self, node: Node, pointer: str) -> None:
        if self.picks_part(node):
            source, index = node.args
            self.scope.alias(node.id, self.scope.pick(source[1:], (str(index),), "/args/1", node.id))
            return
        args = [self.scope.read(arg, pointer_to("args", i), node.id) for i, arg in enumerate(node.args)]
        kwargs = {name: self.scope.read(arg, pointer_to("kwargs", name), node.id) for name, arg in node.kwargs.items()}
        if node.op == GETITEM and not _has_index_tensors(args):
            args.insert(1, 0)
        call = _call(node, args, kwargs)
        slot = len(self.inputs) + len(self.constants) + len(self.steps)
        self.steps.append(Step(node.id, call, slot, pointer, _placing(call, self.device)))
        self.scope.define(node.id, slot, call.operator.returns)

    def picks_part(self, node: Node) -> bool:
        """Whether it is `getitem` of one of several values, a mere name for it."""
        match node.args:
            case [str() as source, int()] if node.op == GETITEM and is_reference(source) and not node.kwargs:
                return self.scope.has_parts(source[1:])
        return False

    def outputs(self) -> dict[str, Ref]:
        resolved: dict[str, Ref] = {}
        for name, text, pointer in _wanted(self.graph):
            if split_reference(text)[0] in self.broken:
                continue
            with self.findings.catch():
                resolved[name] = self.output(text, pointer)
        if not resolved and not self.findings.errors:
            self.findings.add(EmptyGraph("The graph has no output.", pointer="/outputs", hint="Add a node."))
        return resolved

    def output(self, text: str, pointer: str) -> Ref:
        if not is_reference(text):
            raise BadReference("An output is a reference.", pointer=pointer, expected="$name", got=text)
        name, path = split_reference(text)
        ref = self.scope.pick(name, path, pointer, name)
        if ref.is_list:
            raise BadReference(
                f"{name!r} is a list of tensors; an output is one tensor.",
                pointer=pointer,
                node=name,
                expected=f"${name}.0",
                hint=f'Name the outputs one by one: {{"first": "${name}.0"}}.',
            )
        return ref


def _call(node: Node, args: list[Any], kwargs: dict[str, Any]) -> Call:
    try:
        spelling, candidates = catalogue().find(_lowered(node, args))
    except ProblemError as error:
        error.pointer, error.node = "/op", node.id
        raise
    call = bind(spelling, candidates, args, kwargs, node.id)
    if node.op == GETITEM:
        call = replace(call, needs_flat_masks=True)
    guard = LITERAL_GUARDS.get(call.operator.name)
    if guard:
        try:
            guard(call)
        except ProblemError as error:
            error.node = node.id
            raise
    return call


def _placing(call: Call, device: torch.device) -> dict[str, torch.device]:
    is_told = device != CPU and any(argument.name == "device" for argument in call.operator.arguments)
    return {"device": device} if is_told else {}


def _lowered(node: Node, args: list[Any]) -> str:
    if node.op != GETITEM:
        return node.op
    return "aten.index.Tensor" if _has_index_tensors(args) else "aten.select.int"


def _has_index_tensors(args: list[Any]) -> bool:
    return len(args) == 2 and isinstance(args[1], list)


def _duplicates(graph: Graph) -> Iterator[DuplicateName]:
    seen: dict[str, str] = {}
    definitions = [(name, "an input", pointer_to("inputs", name)) for name in graph.inputs or {}]
    definitions += [(name, "a constant", pointer_to("constants", name)) for name in graph.constants]
    definitions += [(n.id, "a node", pointer_to("nodes", i, "id")) for i, n in enumerate(graph.nodes)]
    listed: set[str] = set()
    for place, name in enumerate(graph.outputs if isinstance(graph.outputs, list) else []):
        if name not in listed:
            listed.add(name)
        else:
            yield DuplicateName(
                f"{name!r} is listed twice.", pointer=pointer_to("outputs", place), hint="List each output once."
            )
    for name, kind, pointer in definitions:
        if name in seen:
            yield DuplicateName(
                f"{name!r} is defined twice: it already names {seen[name]}.",
                pointer=pointer,
                node=name,
                hint="Every name is defined once.",
            )
        seen.setdefault(name, kind)


def _needs(node: Node) -> dict[str, str]:
    """The names a node refers to, each with the pointer (in the node) of its first reference."""
    found: dict[str, str] = {}

    def walk(value: Any, pointer: str) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{pointer}/{index}")
        elif is_reference(value):
            found.setdefault(split_reference(value)[0], pointer)

    walk(node.args, "/args")
    for key, value in node.kwargs.items():
        walk(value, pointer_to("kwargs", key))
    return found


def _inputs(graph: Graph, needs: list[dict[str, str]]) -> tuple[dict[str, TensorSpec], list[ProblemError]]:
    """The declared inputs (when none are: every name that is used and not defined), and what is undefined."""
    inputs = dict(graph.inputs or {})
    defined = {*inputs, *graph.constants, *(node.id for node in graph.nodes)}
    undefined: list[ProblemError] = []
    for name, pointer, node in _uses(graph, needs):
        if name in defined:
            continue
        if len(undefined) == MAX_LISTED:
            break
        if graph.inputs is None and not why_not_a_name(name):
            inputs[name] = TensorSpec()
        else:
            undefined.append(_undefined(name, pointer, node, defined))
    return inputs, undefined


def _uses(graph: Graph, needs: list[dict[str, str]]) -> Iterator[tuple[str, str, str | None]]:
    for index, (node, names) in enumerate(zip(graph.nodes, needs, strict=True)):
        for name, pointer in names.items():
            yield name, pointer_to("nodes", index) + pointer, node.id
    for _, text, pointer in _wanted(graph):
        if is_reference(text):
            yield split_reference(text)[0], pointer, None


def _wanted(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """The outputs: name, reference, pointer."""
    if graph.outputs is None:
        for index, node in list(enumerate(graph.nodes))[-1:]:
            yield node.id, f"${node.id}", pointer_to("nodes", index)
    elif isinstance(graph.outputs, dict):
        for name, text in graph.outputs.items():
            yield name, text, pointer_to("outputs", name)
    else:
        for index, name in enumerate(graph.outputs):
            yield name, f"${name}", pointer_to("outputs", index)


def _undefined(name: str, pointer: str, node: str | None, defined: set[str]) -> UndefinedName:
    close = difflib.get_close_matches(name[:64], sorted(defined)[:10_000], n=1)
    return UndefinedName(
        f"Nothing defines {name[:64]!r}.",
        pointer=pointer,
        node=node,
        hint=f"Did you mean '${close[0]}'?" if close else "Declare it as an input or constant, or add a node.",
    )


def _order(graph: Graph, needs: list[dict[str, str]]) -> list[int]:
    """The nodes' indices, so ordered that everything is defined before it is used; as sent if that will do.

    The order of the calls is the order in which autograd adds gradients up, so it shows in the last bits.
    """
    position = {node.id: index for index, node in enumerate(graph.nodes)}
    after = [[position[name] for name in names if name in position] for names in needs]
    if all(earlier < index for index, earlier_ones in enumerate(after) for earlier in earlier_ones):
        return list(range(len(after)))
    try:
        return list(TopologicalSorter(dict(enumerate(after))).static_order())
    except CycleError as error:
        cycle = [graph.nodes[index].id for index in reversed(error.args[1])]
        shown = cycle if len(cycle) <= 12 else [*cycle[:6], "...", *cycle[-5:]]
        raise GraphCycle(
            f"The nodes {' -> '.join(shown)} need each other's values.",
            pointer=pointer_to("nodes", position[cycle[0]]),
            node=cycle[0],
            hint="A node can only use what does not depend on it.",
        ) from None
