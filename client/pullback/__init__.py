"""Client for Pullback, a REST service for exact derivatives: `Client().backward("y = relu(x)", {"x": x})`."""

from pullback.aio import AsyncClient
from pullback.answers import Backward, Explanation, Forward, Gradcheck, Hessian, Hvp, Jacobian, Jvp
from pullback.builder import Graph, GraphError
from pullback.client import Client
from pullback.errors import AnswerError, NoAnswerError, PullbackError, TracingError
from pullback.options import Options

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
]
