"""What to do to get an answer: a generator that decides, and touches neither the network nor the clock.

It yields what to do next, a request to send or seconds to wait, and is told what came of it. Both clients drive it.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from pullback.answers import Answer
from pullback.errors import AnswerError, NoAnswerError
from pullback.operations import Question
from pullback.options import Options
from pullback.trace_context import trace_headers
from pullback.wire import JSON, decode, encode
from pullback_schemas import Problem
from pullback_schemas.problems import ProblemError

log = logging.getLogger("pullback")

AGAIN = frozenset({408, 429, 502, 503, 504})
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
FINAL = (
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.DecodingError,
    httpx.TooManyRedirects,
)
"""Failures that come again, or that were waited for long enough."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; tell the response, or the error that came in its place."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    timeout: httpx.Timeout
    label: str | None
    """What to show progress of, if at all."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so long."""

    seconds: float


Outcome: TypeAlias = httpx.Response | httpx.RequestError | None
Exchange: TypeAlias = Generator[Send | Wait, Outcome, Model]


def exchange(
    question: Question[Model], options: Options, jitter: Callable[[], float] = random.random
) -> Exchange[Model]:
    """Ask until there is an answer, or no reason to ask again.

    `jitter` draws from [0, 1). Raises NoAnswerError or AnswerError.
    """
    request_id = str(uuid.uuid4())
    request = _request(question, options, request_id)
    outcome: Outcome = None
    for attempt in range(options.max_retries + 1):
        outcome = yield request
        assert outcome is not None, "a request was sent"
        asked_s = retry_after(outcome)
        is_last = attempt == options.max_retries or (asked_s or 0) > options.max_retry_after_s
        if is_last or not _may_pass(outcome, question):
            break
        wait_s = _wait_s(attempt, asked_s, jitter())
        log.info("%s: %s; trying again in %.1f s (request %s)", question.path, _told(outcome), wait_s, request_id)
        yield Wait(wait_s)
    if isinstance(outcome, httpx.RequestError):
        raise NoAnswerError(f"no answer from {options.shown_url}: {_told(outcome)}", request_id) from outcome
    assert outcome is not None
    return _read(question, outcome, outcome.headers.get("x-request-id", request_id))


def _request(question: Question[Model], options: Options, request_id: str) -> Send:
    headers = {"x-request-id": request_id, **trace_headers(), **options.sent_headers(), "accept": JSON}
    content = None
    if question.fields is not None:
        body = encode(question.fields, options.wire, wants_tensors=issubclass(question.model, Answer))
        headers, content = headers | body.headers, body.content
    return Send(
        "GET" if content is None else "POST",
        options.url(question.path),
        headers,
        content,
        options.http_timeout(),
        question.path.rpartition("/")[2] if question.is_long and options.progress else None,
    )


def _may_pass(outcome: httpx.Response | httpx.RequestError, question: Question[Model]) -> bool:
    """Whether it may go better the next time."""
    if isinstance(outcome, httpx.RequestError):
        return not isinstance(outcome, FINAL)
    return outcome.status_code in AGAIN and outcome.status_code not in question.statuses and not _is_overdue(outcome)


def _is_overdue(response: httpx.Response) -> bool:
    """Whether the service itself says that it took too long: it would again. A proxy's 504 may pass."""
    return response.status_code == httpx.codes.GATEWAY_TIMEOUT and b'"deadline_exceeded"' in response.content


def _wait_s(attempt: int, asked_s: float | None, drawn: float) -> float:
    if asked_s is not None:
        return asked_s + min(asked_s, LONGEST_WAIT_S) * drawn / 4
    return min(FIRST_WAIT_S * 2.0**attempt, LONGEST_WAIT_S) * (1 - drawn / 2)


def retry_after(outcome: httpx.Response | httpx.RequestError) -> float | None:
    """The seconds in Retry-After, given as such or as a date; None where there are none that can be read."""
    text = "" if isinstance(outcome, httpx.RequestError) else outcome.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        at: datetime = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return max(0.0, wait.total_seconds())


def _told(outcome: httpx.Response | httpx.RequestError) -> str:
    if isinstance(outcome, httpx.Response):
        return f"status {outcome.status_code}"
    return str(outcome) or type(outcome).__name__


def _read(question: Question[Model], response: httpx.Response, request_id: str) -> Model:
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code in question.statuses:
        try:
            text, rebuild = decode(response.content, media, question.build)
            return question.model.model_validate_json(text, context=rebuild)
        except (ProblemError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise _strange(response, request_id) from error
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        raise _strange(response, request_id) from None
    raise AnswerError(response.status_code, problem, "", request_id, retry_after(response))


def _strange(response: httpx.Response, request_id: str) -> AnswerError:
    url = response.url.copy_with(userinfo=b"")
    message = f"{url} does not answer as Pullback does"
    return AnswerError(response.status_code, None, message, request_id, retry_after(response))
