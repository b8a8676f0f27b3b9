"""Client for Pullback, a REST service for exact derivatives: `Client().backward("y = relu(x)", {"x": x})`."""

from pullback.client import Backward, Client, Forward
from pullback.errors import AnswerError, NoAnswerError, PullbackError

__version__ = "0.1.0"

__all__ = ["AnswerError", "Backward", "Client", "Forward", "NoAnswerError", "PullbackError", "__version__"]
