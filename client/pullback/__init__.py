"""Client for Pullback, a REST service for exact derivatives: `Client().backward("y = relu(x)", {"x": x})`."""

from pullback.answers import Backward, Forward, Hessian, Hvp, Jacobian, Jvp
from pullback.client import Client
from pullback.errors import AnswerError, NoAnswerError, PullbackError

__version__ = "0.1.0"

__all__ = [
    "AnswerError",
    "Backward",
    "Client",
    "Forward",
    "Hessian",
    "Hvp",
    "Jacobian",
    "Jvp",
    "NoAnswerError",
    "PullbackError",
    "__version__",
]
