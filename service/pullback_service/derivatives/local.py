"""The backward pass one node at a time: what comes into each node and what it passes on to each argument."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from pullback_schemas.problems import OpFailed
from pullback_service.derivatives.linear import settled
from pullback_service.derivatives.run import Point, argument_of, call_step
from pullback_service.program.failures import first_sentence, tensors_in
from pullback_service.program.inference import infer_late
from pullback_service.program.program import Step
from pullback_service.program.randomness import seeded
from pullback_service.program.references import Ref, literals, look_up, references


class Finiteness(IntEnum):
    """The worst that stands in a tensor."""

    FINITE = 0
    INFINITE = 1
    NAN = 2


def finiteness(tensors: list[Tensor]) -> Finiteness:
    """The worst that stands in any of the tensors."""
    if any(bool(tensor.isnan().any()) for tensor in tensors):
        return Finiteness.NAN
    is_finite = all(bool(tensor.isfinite().all()) for tensor in tensors)
    return Finiteness.FINITE if is_finite else Finiteness.INFINITE


def _of_number(number: complex) -> Finiteness:
    return Finiteness.NAN if cmath.isnan(number) else Finiteness(int(cmath.isinf(number)))


Place = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Passed:
    """What a node passes on to one argument: `argument` by parameter, `reference` as the graph writes it."""

    argument: str
    reference: str
    gradient: Tensor | None


@dataclass(frozen=True, slots=True)
class Visit:
    """A node on the way back: the gradient of each of its values (by place), and what it passes on."""

    step: Step
    incoming: dict[tuple[int, ...], Tensor]
    passed: list[Passed]


@dataclass(frozen=True, slots=True)
class _Leaf:
    argument: str
    reference: str
    place: Place
    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Local:
    """A step run on arguments of its own, so that its tape ends there."""

    step: Step
    leaves: list[_Leaf]
    value: Any


class Sweep:
    """A forward run with a tape for each node alone.

    `turned` is the first node whose value is worse than all of its arguments, `spoilt` the first input that is not
    finite itself.
    """

    def __init__(self, point: Point) -> None:
        self._plan = plan = point.plan
        self._locals: list[_Local] = []
        self.turned: str | None = None
        self._found: list[Finiteness] = []
        values: list[Any] = []
        active: set[int] = set()
        for slot, name in enumerate(plan.program.arguments):
            values.append(argument_of(plan, point.inputs, name).detach())
            if name in point.leaves:
                active.add(slot)
            self._found.append(finiteness([values[-1]]))
        self.spoilt = next(
            (name for name, found in zip(plan.program.arguments, self._found, strict=True) if found), None
        )
        with seeded(point.seed):
            for step in plan.program.steps:
                values.append(self._visit(step, values, active))

    def _visit(self, step: Step, values: list[Any], active: set[int]) -> Any:
        if step.slot in self._plan.inferred.late:
            infer_late(step, values, self._plan.limits)
        local = _run(step, values, active)
        if any(tensor.requires_grad for tensor in tensors_in(local.value)):
            active.add(step.slot)
            self._locals.append(local)
        self._found.append(finiteness(tensors_in(local.value)))
        if self.turned is None and self._found[-1] > self._worst_given(step):
            self.turned = step.id
        return _detached(local.value)

    def back(self, cotangents: Mapping[str, Tensor], *, is_twice: bool = False) -> Iterator[Visit]:
        """The nodes that a gradient flows through, from the outputs to the inputs.

        With `is_twice`, each node's pullback is differentiated too. Raises OpFailed with the node that has no
        derivative.
        """
        gradients: dict[Place, Tensor] = {}
        for name, cotangent in cotangents.items():
            ref = self._plan.program.outputs[name]
            _add(gradients, (ref.slot, ref.path), cotangent)
        for local in reversed(self._locals):
            roots = {path: out for path, out in _parts(local.value) if (local.step.slot, path) in gradients}
            incoming = {path: gradients[local.step.slot, path] for path, out in roots.items() if out.requires_grad}
            if not incoming:
                continue
            found = _pull(local, [roots[path] for path in incoming], list(incoming.values()), is_twice)
            for leaf, gradient in zip(local.leaves, found, strict=True):
                if gradient is not None:
                    _add(gradients, leaf.place, gradient)
            passed = [Passed(le.argument, le.reference, g) for le, g in zip(local.leaves, found, strict=True)]
            yield Visit(local.step, incoming, passed)

    def leads_to(self, predicate: Callable[[Tensor], bool]) -> dict[str, Step]:
        """The inputs that a gradient comes to from a value of this kind, each with the node that has it."""
        found: dict[int, Step] = {}
        for local in reversed(self._locals):
            moving = [tensor for tensor in tensors_in(local.value) if tensor.requires_grad]
            step = local.step if any(map(predicate, moving)) else found.get(local.step.slot)
            if step is not None:
                found |= {leaf.place[0]: step for leaf in local.leaves}
        return {name: found[slot] for slot, name in enumerate(self._plan.program.arguments) if slot in found}

    def worst_at(self, step: Step) -> Finiteness:
        """The worst of a node's value and arguments."""
        return max(self._found[step.slot], self._worst_given(step))

    def worst_output(self) -> Finiteness:
        """The worst of what the outputs are taken from."""
        return max(self._found[ref.slot] for ref in self._plan.program.outputs.values())

    def _worst_given(self, step: Step) -> Finiteness:
        given = [*step.call.args, *step.call.kwargs.values()]
        tensors = [self._found[ref.slot] for argument in given for ref in references(argument)]
        numbers = [_of_number(number) for argument in given for number in literals(argument)]
        return max([Finiteness.FINITE, *tensors, *numbers])


def _run(step: Step, values: list[Any], active: set[int]) -> _Local:
    leaves: list[_Leaf] = []

    def own(value: Any, argument: str, reference: str, place: Place) -> Any:
        if isinstance(value, tuple | list):
            slot, path = place
            return [own(v, f"{argument}.{i}", f"{reference}.{i}", (slot, (*path, i))) for i, v in enumerate(value)]
        if place[0] not in active or not (value.is_floating_point() or value.is_complex()):
            return value
        tensor = value.detach().requires_grad_()
        leaves.append(_Leaf(argument, reference, place, tensor))
        return tensor

    def fill(argument: Any, name: str) -> Any:
        if isinstance(argument, Ref):
            return own(look_up(argument, values), name, argument.text, (argument.slot, argument.path))
        if isinstance(argument, list):
            return [fill(item, f"{name}.{i}") for i, item in enumerate(argument)]
        return argument

    required = [a.name for a in step.call.operator.arguments if a.is_required and not a.is_keyword_only]
    args = [fill(argument, name) for argument, name in zip(step.call.args, required, strict=True)]
    kwargs = {name: fill(argument, name) for name, argument in step.call.kwargs.items()}
    with torch.enable_grad():
        return _Local(step, leaves, call_step(step, args, kwargs))


def _pull(local: _Local, roots: list[Tensor], cotangents: list[Tensor], is_twice: bool) -> list[Tensor | None]:
    leaves = [leaf.tensor for leaf in local.leaves]
    if is_twice:
        cotangents = [cotangent.detach().requires_grad_() for cotangent in cotangents]
    try:
        found = torch.autograd.grad(roots, leaves, cotangents, allow_unused=True, create_graph=is_twice)
        moving = [gradient for gradient in found if gradient is not None and gradient.requires_grad]
        if is_twice and moving:
            ones = [torch.ones_like(gradient) for gradient in moving]
            torch.autograd.grad(moving, [*leaves, *cotangents], ones, allow_unused=True)
    except Exception as error:  # whatever a derivative's kernel may raise
        what = "second derivative" if is_twice else "derivative"
        raise OpFailed(
            f"{local.step.call.operator.name} has no {what} here: {first_sentence(error)}",
            pointer=local.step.pointer,
            node=local.step.id,
            hint="Leave that input out of wrt, or write .detach() behind it where its gradient does not matter.",
        ) from None
    return [None if gradient is None else settled(gradient) for gradient in found]


def _add(gradients: dict[Place, Tensor], place: Place, more: Tensor) -> None:
    gradients[place] = gradients[place] + more if place in gradients else more


def _parts(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    else:
        for index, item in enumerate(value):
            yield from _parts(item, (*path, index))


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else [_detached(item) for item in value]
