"""A plan's forward and backward pass, if any, as one list of calls, for graphs that come again.

It is recorded once and believed only after it has given autograd's very bits for several requests. It saves building
and walking autograd's tape, which is most of what a small graph costs, and many requests go through it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pullback_service.derivatives.known_wrong import wrong_batching_rules
from pullback_service.derivatives.linear import Images
from pullback_service.derivatives.recording import NotRepeatable, Recorder, Tape
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.vjp import Pullback
from pullback_service.derivatives.wide import Wide
from pullback_service.derivatives.work import Work
from pullback_service.program.failures import tensors_in
from pullback_service.program.guards import VALUE_GUARDS
from pullback_service.program.placing import CPU
from pullback_service.program.plan import Plan
from pullback_service.program.program import Step
from pullback_service.program.purity import CHANGES

MAX_ELEMENTS = 2**14
"""Of all values of a plan: beyond, the tape is a small part of the cost."""

AGREEMENTS = 3
ROUNDING = 64
"""How many units in the last place, of the largest entry, the results of a run of many may differ from single ones."""

HALVES = frozenset({torch.float16, torch.bfloat16})

PACKETS = frozenset(
    {
        *("addmm", "bmm", "dot", "linear", "matmul", "mm", "mv", "outer"),
        *("log_softmax", "logsumexp", "mean", "softmax", "sum"),
        *("broadcast_to", "cat", "expand", "flatten", "permute", "reshape", "select", "slice", "squeeze", "stack"),
        *("swapaxes", "t", "transpose", "unflatten", "unsqueeze", "view"),
    }
)
"""What is recorded besides operators that torch tags as pointwise: none looks at a value to choose its calls."""

log = logging.getLogger(__name__)


class Values(NamedTuple):
    """Outputs and gradients by name."""

    outputs: dict[str, Tensor]
    gradients: Images


class Question(NamedTuple):
    """The arguments of a plan, and a cotangent for each output on the tape."""

    inputs: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]


class Joint:
    """What a plan gives together with its gradients, learnt from requests for it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._is_possible = is_recordable(plan)
        self._tape: Tape | None = None
        self._vectors: tuple[str, ...] = ()
        self._agreements = 0
        self._wide: Wide | None = None
        self.takes_many = self._is_possible and _takes_many(plan)
        """Whether it can be asked many questions at once."""

    def fits(self, vectors: Mapping[str, Tensor]) -> bool:
        """Whether it can be asked for these cotangents, and believed."""
        return self._agreements >= AGREEMENTS and tuple(sorted(vectors)) == self._vectors

    @property
    def wants_to_learn(self) -> bool:
        """Whether a request and its answer would help."""
        return self._is_possible and self._agreements < AGREEMENTS

    def arguments(self, question: Question) -> list[Tensor]:
        """What a run is given to answer the question: inputs, constants, vectors."""
        program = self._plan.program
        inputs = [question.inputs[name] for name in program.inputs]
        return [*inputs, *program.constants.values(), *[question.vectors[name] for name in self._vectors]]

    def place_of_input(self, name: str) -> int:
        """Where in the arguments an input is."""
        return list(self._plan.program.inputs).index(name)

    def place_of_vector(self, name: str) -> int:
        """Where in the arguments a vector is."""
        program = self._plan.program
        return len(program.inputs) + len(program.constants) + self._vectors.index(name)

    def answer(self, question: Question) -> Values:
        """Outputs and gradients, to the bit those of autograd. Raises whatever torch raises."""
        results = self.run(self.arguments(question))
        names = self._plan.program.outputs
        outputs = {name: tensor for name, tensor in zip(names, results, strict=False) if tensor is not None}
        return Values(outputs, dict(zip(self._plan.wrt, results[len(names) :], strict=True)))

    def run(self, arguments: Sequence[Tensor]) -> list[Tensor | None]:
        """The same in one list, from a list."""
        assert self._tape is not None
        with torch.inference_mode():
            return self._tape.run(arguments)

    def run_many(self, arguments: Sequence[Tensor], count: int) -> list[Tensor | None] | None:
        """The same for several questions along one leading axis, which constants lack, but for rounding.

        The numbers are finite. None where it turns out that this cannot be. Raises whatever torch raises.
        """
        with torch.inference_mode():
            if self._wide is not None:
                try:
                    return self._wide.run(arguments, count)
                except RuntimeError:  # it would again
                    self.takes_many = False
                    raise
            wide, results = self._widened(arguments, count)
        self._wide = wide
        self.takes_many = wide is not None
        return results

    def learn(self, question: Question, values: Values) -> None:
        """Compare with what autograd gave; without a tape, record one first."""
        try:
            if self._tape is None:
                self._vectors = tuple(sorted(question.vectors))
                self._tape = self._record(question)
            elif tuple(sorted(question.vectors)) != self._vectors:
                return
            self._is_possible = _is_same(self.answer(question), values)
        except NotRepeatable as error:
            log.debug("not recorded: %s", error)
            self._is_possible = False
        except Exception:
            log.warning("a recorded run failed", exc_info=True)
            self._is_possible = False
        self._agreements += self._is_possible

    def _record(self, question: Question) -> Tape:
        plan = self._plan
        arguments = self.arguments(question)
        names = [*plan.program.inputs, *plan.program.constants]
        given = dict(zip(names, arguments, strict=False))
        recorder = Recorder(arguments)
        with recorder:
            point = run_forward(plan, given, Work("reverse"))
            pullback = Pullback(point.outputs, point.leaves, Work("reverse"), keep=False)
            found = pullback.one(question.vectors) if plan.wrt else {}
        return recorder.tape([*point.outputs.values(), *found.values()])

    def _widened(self, arguments: Sequence[Tensor], count: int) -> tuple[Wide, list[Tensor | None]] | tuple[None, None]:
        """A wide tape and its results, which are held against those of single runs."""
        assert self._tape is not None
        fixed = range(len(self._plan.program.inputs), len(arguments) - len(self._vectors))
        try:
            wide = Wide(self._tape, arguments, [None if index in fixed else 0 for index in range(len(arguments))])
            results = wide.run(arguments, count)
            for row in range(count):
                one = self._tape.run([t if index in fixed else t[row] for index, t in enumerate(arguments)])
                if not _are_near([None if column is None else column[row] for column in results], one):
                    raise NotRepeatable("what is computed together is not what is computed alone")
        except Exception as error:
            log.log(logging.DEBUG if isinstance(error, NotRepeatable) else logging.WARNING, "not widened: %s", error)
            return None, None
        return wide, results


def is_recordable(plan: Plan) -> bool:
    """Whether the calls that a run makes are the same for all numbers, as far as can be told beforehand."""
    if not plan.is_static or plan.inferred.late or plan.inferred.elements > MAX_ELEMENTS:
        return False
    is_real = not any(kind.is_complex() for value in plan.inferred.values for kind in tensors_in(value))
    return is_real and all(map(_is_recordable, plan.program.steps))


def _takes_many(plan: Plan) -> bool:
    """Whether vmap is right.

    It is not for half precision: a number of another dtype beside such tensors is rounded to theirs under vmap, and not
    without. And no number is infinite: what some kernels make of one depends on its place in a tensor.
    """
    values = [tensor for value in plan.inferred.values for tensor in tensors_in(value)]
    has_halves = any(tensor.dtype in HALVES for tensor in values)
    return not has_halves and not wrong_batching_rules(plan) and all(map(_is_finite, plan.program.constants.values()))


def _is_recordable(step: Step) -> bool:
    operator = step.call.operator
    is_plain = operator.name not in VALUE_GUARDS and operator.name not in CHANGES and not operator.is_random
    is_known = torch.Tag.pointwise in operator.torch_op.tags or operator.packet in PACKETS
    return is_plain and is_known and all(device == CPU for device in step.placing.values())


def _is_same(some: Values, others: Values) -> bool:
    """Whether they are equal to the bit; one NaN is like another."""
    left, right = _named(some), _named(others)
    return left.keys() == right.keys() and all(_agree(left[name], right[name], _is_equal) for name in left)


def _named(values: Values) -> dict[Any, Tensor | None]:
    return {**values.outputs, **{(name,): gradient for name, gradient in values.gradients.items()}}


def _are_near(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    """Whether they are equal but for rounding."""
    return all(_agree(a, b, _is_near) for a, b in zip(some, others, strict=True))


def _agree(a: Tensor | None, b: Tensor | None, are_alike: Callable[[Tensor, Tensor], bool]) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and are_alike(a, b)


def _is_equal(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    is_equal = (a == b) & (a.signbit() == b.signbit()) | (a.isnan() & b.isnan())
    return bool(is_equal.all())


def _is_near(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=0, atol=_rounding(b), equal_nan=True)


def _rounding(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return ROUNDING * torch.finfo(tensor.dtype).eps * largest


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
