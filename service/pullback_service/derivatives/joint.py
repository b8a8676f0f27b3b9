"""A plan's forward and backward pass as one list of calls, for graphs that come again.

It is recorded once and believed only after it has given autograd's very bits for several requests. It saves building
and walking autograd's tape, which is most of what a small graph costs, and many requests go through it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from pullback_service.derivatives.known_wrong import wrong_batching_rules
from pullback_service.derivatives.linear import Images, settled
from pullback_service.derivatives.recording import NotRepeatable, Recorder, Tape
from pullback_service.derivatives.run import run_forward
from pullback_service.derivatives.vjp import Pullback
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
        self._many_agree: bool | None = None if not wrong_batching_rules(plan) else False

    def fits(self, vectors: Mapping[str, Tensor]) -> bool:
        """Whether it can be asked for these cotangents, and believed."""
        return self._agreements >= AGREEMENTS and tuple(sorted(vectors)) == self._vectors

    @property
    def takes_many(self) -> bool:
        """Whether it can be asked many questions at once."""
        return self._many_agree is not False

    @property
    def wants_to_learn(self) -> bool:
        """Whether a request and its answer would help."""
        return self._is_possible and self._agreements < AGREEMENTS

    def answer(self, question: Question) -> Values:
        """Outputs and gradients, to the bit those of autograd. Raises whatever torch raises."""
        assert self._tape is not None
        with torch.no_grad():
            return self._named(self._tape.run(self._arguments(question)))

    def answer_many(self, questions: Question, count: int) -> Values | None:
        """The same for several at once, along one leading axis, but for rounding. Raises whatever torch raises.

        None where a number is not finite: what some kernels make of it depends on its place in a tensor.
        """
        assert self._tape is not None
        arguments = self._arguments(questions)
        if not all(bool(tensor.isfinite().all()) for tensor in arguments if tensor.is_floating_point()):
            return None
        before, constants = len(self._plan.program.inputs), len(self._plan.program.constants)
        axes = tuple(None if before <= index < before + constants else 0 for index in range(len(arguments)))
        known = [index for index, slot in enumerate(self._tape.results) if slot is not None]

        def run(*some: Tensor) -> list[Tensor]:
            assert self._tape is not None
            results = self._tape.run(some)
            return [result for index in known if (result := results[index]) is not None]

        results: list[Tensor | None] = [None] * len(self._tape.results)
        with torch.no_grad():
            for index, column in zip(known, vmap(run, in_dims=axes)(*arguments), strict=True):
                results[index] = column
            values = self._named(results)
            if self._many_agree is None:
                self._many_agree = all(
                    _is_near(_row(values, k), self.answer(_question(questions, k))) for k in range(count)
                )
        return values if self._many_agree else None

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
        arguments = self._arguments(question)
        names = [*plan.program.inputs, *plan.program.constants]
        given = dict(zip(names, arguments, strict=False))
        recorder = Recorder(arguments)
        with recorder:
            point = run_forward(plan, given, Work("reverse"))
            found = Pullback(point.outputs, point.leaves, Work("reverse"), keep=False).one(question.vectors)
        return recorder.tape([*point.outputs.values(), *found.values()])

    def _arguments(self, question: Question) -> list[Tensor]:
        program = self._plan.program
        inputs = [question.inputs[name] for name in program.inputs]
        return [*inputs, *program.constants.values(), *[question.vectors[name] for name in self._vectors]]

    def _named(self, results: Sequence[Tensor | None]) -> Values:
        names = self._plan.program.outputs
        outputs = {name: tensor for name, tensor in zip(names, results, strict=False) if tensor is not None}
        gradients = dict(zip(self._plan.wrt, results[len(names) :], strict=True))
        return Values(outputs, {n: None if g is None else settled(g) for n, g in gradients.items()})


def _row(values: Values, index: int) -> Values:
    gradients = {name: None if column is None else column[index] for name, column in values.gradients.items()}
    return Values({name: column[index] for name, column in values.outputs.items()}, gradients)


def _question(questions: Question, index: int) -> Question:
    inputs, vectors = ({name: column[index] for name, column in columns.items()} for columns in questions)
    return Question(inputs, vectors)


def is_recordable(plan: Plan) -> bool:
    """Whether the calls that a run makes are the same for all numbers, as far as can be told beforehand."""
    if not plan.is_static or not plan.wrt or plan.inferred.late or plan.inferred.elements > MAX_ELEMENTS:
        return False
    is_real = not any(kind.is_complex() for value in plan.inferred.values for kind in tensors_in(value))
    return is_real and all(map(_is_recordable, plan.program.steps))


def _is_recordable(step: Step) -> bool:
    operator = step.call.operator
    is_plain = operator.name not in VALUE_GUARDS and operator.name not in CHANGES and not operator.is_random
    is_known = torch.Tag.pointwise in operator.torch_op.tags or operator.packet in PACKETS
    return is_plain and is_known and all(device == CPU for device in step.placing.values())


def _is_same(some: Values, others: Values) -> bool:
    """Whether they are equal to the bit; one NaN is like another."""
    pairs = _pairs(some, others)
    return pairs is not None and all(a.dtype == b.dtype and a.shape == b.shape and _is_equal(a, b) for a, b in pairs)


def _is_equal(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    is_equal = (a == b) & (a.signbit() == b.signbit()) | (a.isnan() & b.isnan())
    return bool(is_equal.all())


def _is_near(some: Values, others: Values) -> bool:
    """Whether they are equal but for rounding."""
    pairs = _pairs(some, others)
    return pairs is not None and all(
        torch.allclose(a, b, rtol=0, atol=_rounding(b), equal_nan=True) if a.is_floating_point() else torch.equal(a, b)
        for a, b in pairs
    )


def _rounding(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return ROUNDING * torch.finfo(tensor.dtype).eps * largest


def _pairs(some: Values, others: Values) -> list[tuple[Tensor, Tensor]] | None:
    """The tensors of both, side by side; None if one has what the other lacks."""
    left, right = (
        {**values.outputs, **{(name,): g for name, g in values.gradients.items()}} for values in (some, others)
    )
    if left.keys() != right.keys():
        return None
    both = [(left[name], right[name]) for name in left]
    if any((a is None) != (b is None) for a, b in both):
        return None
    return [(a, b) for a, b in both if a is not None and b is not None]
