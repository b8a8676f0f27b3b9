"""What can go wrong between a caller and the service."""

from __future__ import annotations

from pullback_schemas import Problem


class PullbackError(Exception):
    """The base of everything this package raises."""


class NoAnswerError(PullbackError):
    """The service could not be reached, or did not answer in time."""


class AnswerError(PullbackError):
    """The service answered with a problem. `problem` holds its code, pointer, node, expected, got and hint."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem

    def __str__(self) -> str:
        problem = self.problem
        lines = [f"{problem.code}: {problem.detail}"]
        lines += [problem.excerpt] if problem.excerpt else []
        lines += [f"at {problem.pointer}"] if problem.pointer else []
        lines += [f"hint: {problem.hint}"] if problem.hint else []
        return "\n".join(lines)


class TracingError(PullbackError):
    """A function cannot be written as a graph; the message says why."""
