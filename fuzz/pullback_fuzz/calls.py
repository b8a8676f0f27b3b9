"""The calls of a run: call number n of a seed is always the same."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from pullback_fuzz.cases import MAX_OUTPUTS, Case, Request, request_for, stride_oddly
from pullback_fuzz.literals import changed_literal, random_literal
from pullback_fuzz.tensors import USUAL, Shape, near, poisoned, random_dtype, random_shape, random_tensor
from pullback_service.program.catalogue import Argument, Operator, catalogue
from pullback_service.program.types import DTYPES


@dataclass(frozen=True)
class Calls:
    """All calls of one seed."""

    seed: int
    operators: list[Operator]
    corpus: dict[str, list[Case]]

    def operator(self, number: int) -> Operator:
        """What call `number` is about: all operators take turns."""
        return self.operators[number % len(self.operators)]

    def request(self, number: int) -> Request:
        """Call `number`."""
        rng = Random(f"{self.seed}/{number}")
        operator = self.operator(number)
        known = self.corpus.get(operator.name)
        if known and rng.random() < 0.7:
            case = rng.choice(known).copy()
            for _ in range(rng.choice((0, 1, 1, 1, 2))):
                _mutate(rng, case, operator)
        else:
            case = _random_case(rng, operator)
        if case.inputs and rng.random() < 0.25:
            stride_oddly(rng, case, rng.choice(list(case.inputs)))
        return request_for(rng, case, operator)


def operators_in_random_order(seed: int, only: str | None) -> list[Operator]:
    """Every overload that is served, or those whose name contains `only`."""
    served = [operator for packet in catalogue().packets for operator in catalogue().overloads(packet)]
    chosen = [operator for operator in served if only is None or only in operator.name]
    Random(seed).shuffle(chosen)
    return chosen


def _random_case(rng: Random, operator: Operator) -> Case:
    usual = rng.choice(USUAL) if rng.random() < 0.8 else rng.choice(list(DTYPES))
    shape = random_shape(rng)
    case = Case([], {}, {}, [])
    arguments = {}
    for parameter in operator.arguments:
        if parameter.is_required or rng.random() < 0.4:
            arguments[parameter.name] = _random_argument(rng, case, parameter, usual, shape)
    case.nodes.append({"id": "node", "op": operator.name, "args": [], "kwargs": arguments})
    case.outputs += _results(rng, operator)[:MAX_OUTPUTS]
    return case


def _random_argument(rng: Random, case: Case, parameter: Argument, usual: str, shape: Shape) -> Any:
    kind = parameter.kind
    if kind.base != "Tensor":
        return random_literal(rng, parameter)
    if kind.is_optional and rng.random() < 0.4:
        return None
    if not kind.is_list:
        return _new_input(rng, case, parameter.name, usual, shape)
    count = rng.choice((0, 1, 2, 2, 3, 4))
    items = [_new_input(rng, case, parameter.name, usual, shape) for _ in range(count)]
    return [None if kind.has_optional_items and rng.random() < 0.3 else item for item in items]


def _new_input(rng: Random, case: Case, parameter: str, usual: str, shape: Shape) -> str:
    name = f"x{len(case.inputs)}"
    chance = rng.random()
    chosen = shape if chance < 0.6 else near(rng, shape) if chance < 0.85 else random_shape(rng)
    case.inputs[name] = random_tensor(rng, chosen, random_dtype(rng, parameter, usual))
    return f"${name}"


def _results(rng: Random, operator: Operator) -> list[str]:
    """References to what the node gives; a list of unknown length gives its first."""
    if len(operator.returns) == 1:
        return [f"$node.{rng.choice((0, 0, 1))}" if operator.returns[0].is_list else "$node"]
    return [f"$node.{place}.0" if given.is_list else f"$node.{place}" for place, given in enumerate(operator.returns)]


def _mutate(rng: Random, case: Case, operator: Operator) -> None:
    """Change one thing about a good call: a literal of the operator's node, or one of the tensors."""
    if case.inputs and rng.random() < 0.5:
        _mutate_tensor(rng, case, rng.choice(list(case.inputs)))
        return
    node = rng.choice([node for node in case.nodes if node["op"] == operator.name])
    positional = [parameter for parameter in operator.arguments if not parameter.is_keyword_only]
    for parameter, value in zip(positional, node["args"], strict=False):
        node["kwargs"][parameter.name] = value
    node["args"] = []
    parameter = rng.choice(operator.arguments)
    before = node["kwargs"].get(parameter.name, parameter.default)
    if parameter.kind.base == "Tensor":
        usual = str(next(iter(case.inputs.values())).dtype).removeprefix("torch.") if case.inputs else "float64"
        node["kwargs"][parameter.name] = _random_argument(rng, case, parameter, usual, random_shape(rng))
    else:
        node["kwargs"][parameter.name] = changed_literal(rng, before, parameter)


def _mutate_tensor(rng: Random, case: Case, name: str) -> None:
    tensor = case.inputs[name]
    dtype = str(tensor.dtype).removeprefix("torch.")
    match rng.randrange(4):
        case 0:
            case.inputs[name] = random_tensor(rng, near(rng, tuple(tensor.shape)), dtype)
        case 1:
            case.inputs[name] = random_tensor(rng, tuple(tensor.shape), dtype)
        case 2:
            case.inputs[name] = tensor.to(DTYPES[rng.choice(list(DTYPES))])
        case _:
            case.inputs[name] = poisoned(rng, tensor)
