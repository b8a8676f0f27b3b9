"""Client for Pullback, a REST service for exact derivatives: `Client().backward("y = relu(x)", {"x": x})`."""

from typing import TYPE_CHECKING, Any

from pullback.aio import AsyncClient
from pullback.answers import Backward, Explanation, Forward, Gradcheck, Hessian, Hvp, Jacobian, Jvp
from pullback.builder import Graph, GraphError
from pullback.client import Client
from pullback.errors import AnswerError, NoAnswerError, PullbackError, TracingError
from pullback.options import Options

if TYPE_CHECKING:
    from pullback.tracing import trace

__version__ = "0.1.0"

__all__ = [
    "AnswerError",
    "AsyncClient",
    "Backward",
    "Client",
    "Explanation",
    "Forward",
    "Gradcheck",
    "Graph",
    "GraphError",
    "Hessian",
    "Hvp",
    "Jacobian",
    "Jvp",
    "NoAnswerError",
    "Options",
    "PullbackError",
    "TracingError",
    "__version__",
    "trace",
]


def __getattr__(name: str) -> Any:
    """What needs torch is loaded when it is asked for."""
    if name == "trace":
        from pullback.tracing import trace

        return trace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
