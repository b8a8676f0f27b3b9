"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import httpx
from numpy.typing import ArrayLike
from pydantic import BaseModel
from typing_extensions import Unpack

from pullback import operations
from pullback.connection import Connection, as_method
from pullback.exchange import Exchange, Outcome, Send, Wait, exchange
from pullback.graphs import GraphLike
from pullback.operations import Question
from pullback.options import Chosen, settle
from pullback.progress import shown

if TYPE_CHECKING:
    from pullback.jax_function import JaxFunction
    from pullback.scipy_objective import ScipyObjective
    from pullback.torch_function import TorchFunction

P = ParamSpec("P")
Model = TypeVar("Model", bound=BaseModel)


def _asks(question: Callable[P, Question[Model]]) -> Callable[Concatenate[Client, P], Model]:
    """A method with the arguments of `question`, which gives its answer."""

    def ask(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Model:
        return self._answer(exchange(question(*args, **kwargs), self.options))

    return as_method(ask, question)


class Client(Connection[httpx.Client]):
    """A connection to one service; threads may share it.

    `base_url` and `api_key` are those of the environment's PULLBACK_BASE_URL and PULLBACK_API_KEY if left out; what
    else may be given is told by `Options`. `http_client` is an httpx client of the caller's own, which stays the
    caller's to close; `transport` is what httpx sends by.

    Every operation raises NoAnswerError where no answer comes, AnswerError where the service refuses.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        http_client: httpx.Client | None = None,
        **options: Unpack[Chosen],
    ) -> None:
        settled = settle(base_url, http_client, options)
        http = http_client or httpx.Client(transport=transport)
        super().__init__(settled, http, is_owner=http_client is None)

    forward = _asks(operations.forward)
    backward = _asks(operations.backward)
    jvp = _asks(operations.jvp)
    jacobian = _asks(operations.jacobian)
    hvp = _asks(operations.hvp)
    hessian = _asks(operations.hessian)
    gradcheck = _asks(operations.gradcheck)
    check = _asks(operations.check)
    ops = _asks(operations.ops)
    op = _asks(operations.op)
    health = _asks(operations.health)

    def torch_function(
        self, graph: GraphLike, inputs: Sequence[str] | None = None, *, seed: int | None = None
    ) -> TorchFunction:
        """The graph as a function of torch tensors that `backward()` goes through, once or twice.

        `inputs` are its arguments in order; left out: as the graph declares them, or as a text mentions them first.
        """
        from pullback.torch_function import TorchFunction

        return TorchFunction(self, graph, inputs, seed)

    def jax_function(self, graph: GraphLike, inputs: Sequence[str] | None = None, *, seed: int = 0) -> JaxFunction:
        """The graph as a function of JAX arrays, under jit, vmap and, once or twice, grad.

        `inputs` are its arguments in order; left out: as the graph declares them, or as a text mentions them first.
        """
        from pullback.jax_function import JaxFunction

        return JaxFunction(self, graph, inputs, seed)

    def scipy_objective(
        self,
        graph: GraphLike,
        variables: Mapping[str, ArrayLike],
        data: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
    ) -> ScipyObjective:
        """The graph as `fun`, `jac`, `hess` and `hessp` of one vector, for scipy.optimize.

        `variables` are the inputs to optimise over, each with where it starts; `data` are the other inputs.
        """
        from pullback.scipy_objective import ScipyObjective

        return ScipyObjective(self, graph, variables, data, seed=seed)

    def close(self) -> None:
        """Close the connections, if this client opened them."""
        if self._is_owner:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, call: Exchange[Model]) -> Model:
        outcome: Outcome = None
        while True:
            try:
                step = call.send(outcome)
            except StopIteration as done:
                answer: Model = done.value
                return answer
            outcome = self._do(step)

    def _do(self, step: Send | Wait) -> Outcome:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        try:
            with (
                shown(step.label) as watch,
                self._http.stream(
                    step.method, step.url, headers=step.headers, content=step.content, timeout=step.timeout
                ) as response,
            ):
                watch(response)
                response.read()
                return response
        except httpx.RequestError as error:
            return error
