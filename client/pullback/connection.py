"""What both clients are made of: options, and the HTTP client that they send by."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

import httpx
from typing_extensions import Unpack

from pullback.options import Changes, Options

Http = TypeVar("Http", bound=httpx.Client | httpx.AsyncClient)
Method = TypeVar("Method", bound=Callable[..., Any])


class Connection(Generic[Http]):
    """Options and an HTTP client."""

    def __init__(self, options: Options, http: Http, *, is_owner: bool) -> None:
        self.options = options
        self._http = http
        self._is_owner = is_owner

    def with_options(self, **changes: Unpack[Changes]) -> Self:
        """The same connections with other `Options`, as `timeout_s`, `max_retries`, `api_key` or `wire`."""
        other = object.__new__(type(self))
        Connection.__init__(other, replace(self.options, **changes), self._http, is_owner=False)
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.options.shown_url!r})"


def as_method(ask: Method, question: Callable[..., Any]) -> Method:
    """`ask` with the name, the docstring and the arguments of `question`, and its answer as what it gives."""
    signature = inspect.signature(question)
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    answer = signature.return_annotation.removeprefix("Question[").removesuffix("]")
    parameters = [me, *signature.parameters.values()]
    ask.__name__, ask.__doc__ = question.__name__, question.__doc__
    ask.__signature__ = signature.replace(parameters=parameters, return_annotation=answer)  # type: ignore[attr-defined]
    return ask
