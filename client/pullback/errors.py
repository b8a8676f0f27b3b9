"""What can go wrong between a caller and the service."""

from __future__ import annotations

from typing import Any

from pullback_schemas import Problem


class PullbackError(Exception):
    """The base of everything this package raises about a call, a graph or a function."""


class NoAnswerError(PullbackError):
    """No answer came: the service could not be reached, the connection was lost, or the time was over.

    `request_id` is what the service would have been told.
    """

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message, request_id)
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message}{_told_id(self.request_id)}"


class AnswerError(PullbackError):
    """An answer came, and it is not what was asked for.

    `status` is that of HTTP. `problem` is the document that the service sent; None where somebody else answered, such
    as a proxy. `code`, `pointer`, `node`, `expected`, `got` and `hint` are its fields, each None where it has none.
    `retry_after_s` is how long the service asked to be left alone, if it did.
    """

    def __init__(
        self,
        status: int,
        problem: Problem | None = None,
        message: str = "",
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, problem, message, request_id, retry_after_s)
        self.status = status
        self.problem = problem
        self.message = problem.detail if problem else message
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> str | None:
        """Which kind of problem it is; stable, so that programs may switch on it."""
        return self.problem.code if self.problem else None

    @property
    def pointer(self) -> str | None:
        """The place in the request, as a JSON pointer."""
        return self.problem.pointer if self.problem else None

    @property
    def node(self) -> str | None:
        """The graph's node."""
        return self.problem.node if self.problem else None

    @property
    def expected(self) -> Any:
        """What was needed there."""
        return self.problem.expected if self.problem else None

    @property
    def got(self) -> Any:
        """What came instead."""
        return self.problem.got if self.problem else None

    @property
    def hint(self) -> str | None:
        """What to do about it."""
        return self.problem.hint if self.problem else None

    def __str__(self) -> str:
        problem = self.problem
        if problem is None:
            return f"{self.status}: {self.message}{_told_id(self.request_id)}"
        lines = [f"{problem.code}: {problem.detail}"]
        lines += [problem.excerpt] if problem.excerpt else []
        lines += [f"at {problem.pointer}"] if problem.pointer else []
        lines += [f"hint: {problem.hint}"] if problem.hint else []
        return "\n".join(lines) + _told_id(self.request_id)


class TracingError(PullbackError):
    """A function cannot be written as a graph; the message says why."""


def _told_id(request_id: str | None) -> str:
    return f" (request {request_id})" if request_id else ""
