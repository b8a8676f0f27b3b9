"""`/v1/forward`."""

from __future__ import annotations

from pullback_schemas.requests import ForwardRequest
from pullback_service.clock import Clock
from pullback_service.library import Library
from pullback_service.operations.evaluation import Evaluation, using
from pullback_service.operations.plain import PlainForward
from pullback_service.operations.repeats import answer_again, answer_first
from pullback_service.protocols.answer import Answer
from pullback_service.protocols.doors import Sent


def forward(library: Library, sent: Sent, clock: Clock) -> Answer:
    """The values of the outputs, as a ForwardResult."""

    def first(request: ForwardRequest) -> Answer:
        return answer_first(library, sent, PlainForward(Evaluation(request, library, clock)))

    return answer_again(library, sent, clock) or using(ForwardRequest, sent, first)
