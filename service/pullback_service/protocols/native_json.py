"""The native protocol in JSON: answers and problems as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from torch import Tensor

from pullback_schemas.problems import ProblemError, ProblemsError, describe
from pullback_schemas.tensors import Encoding
from pullback_service.protocols.tensor_writer import write_tensor


def encode(document: Mapping[str, Any]) -> bytes:
    """A JSON document as bytes."""
    return orjson.dumps(document)


def encode_problem(error: ProblemError | ProblemsError) -> tuple[int, bytes]:
    """The status and the problem document."""
    problem = describe(error)
    return problem.status, problem.model_dump_json(exclude_none=True).encode()


def write_tensors(tensors: Mapping[str, Tensor | None], encoding: Encoding) -> dict[str, Any]:
    """Named tensors in full form; None stays null."""
    return {name: None if tensor is None else write_tensor(tensor, encoding) for name, tensor in tensors.items()}
