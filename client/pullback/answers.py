"""What the client gives back: arrays by name, of the library that the inputs are of."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from pullback_schemas import Meta
from pullback_schemas.results import NonFinite, Number


def _build(value: Any, info: ValidationInfo) -> Any:
    assert info.context is not None
    return None if value is None else info.context(value)


Array: TypeAlias = Annotated[Any, BeforeValidator(_build)]
"""A numpy array; a torch tensor where one of the inputs is one."""

Blocks: TypeAlias = dict[str, dict[str, Array]]


class Part(BaseModel):
    """A part of an answer; what it does not know it skips. The context of validation makes an array of a tensor."""

    model_config = ConfigDict(frozen=True)


class Answer(Part):
    """What every computed answer has."""

    meta: Meta


class Forward(Answer):
    """The outputs."""

    outputs: dict[str, Array]


class Vector(Part):
    """A gradient inside the graph; its value only where it is small."""

    dtype: str
    shape: list[int]
    norm: Number
    value: Array = None


class Passed(Part):
    """What a node passes on to one of its arguments."""

    argument: str
    reference: str
    vector: Vector | None


class Visit(Part):
    """A node on the way back: what it receives, by value, and what it passes on."""

    node: str
    op: str
    received: dict[str, Vector]
    passed: list[Passed]


class Explanation(Part):
    """The backward pass, node by node, and where numbers stop being finite."""

    nodes: list[Visit]
    first_non_finite: NonFinite | None = None


class Backward(Answer):
    """Outputs, gradients (None: asked for as null and unused), and what else was asked for."""

    outputs: dict[str, Array] = Field(default={})
    gradients: dict[str, Array]
    jacobians: Annotated[Blocks, BeforeValidator(lambda rows: rows or {})] = Field(default={})
    explanation: Explanation | None = None


class Jvp(Answer):
    """Outputs, and how fast each of them moves."""

    outputs: dict[str, Array]
    jvp: dict[str, Array]


class Jacobian(Answer):
    """Outputs, and jacobians[output][input]."""

    outputs: dict[str, Array]
    jacobians: Blocks


class Hvp(Answer):
    """Outputs, gradients, and the products of the Hessian with the vectors."""

    outputs: dict[str, Array]
    gradients: dict[str, Array]
    hvp: dict[str, Array]


class Hessian(Answer):
    """Outputs, gradients, and hessian[x][x2]."""

    outputs: dict[str, Array]
    gradients: dict[str, Array]
    hessian: Blocks


class Worst(Part):
    """The entry of a gradient that is furthest from its central difference."""

    index: list[int]
    gradient: Array
    difference: Array


class Verdict(Part):
    """Whether the gradient by one input is right: `passed`, `failed` or `not_checkable`, and how that was found out."""

    status: str
    reason: str | None
    rate: float | None
    adjoint_error: float | None
    worst: Worst | None = None


class Gradcheck(Answer):
    """Whether the gradients are right; None where none failed, but one was not checkable."""

    passed: bool | None
    inputs: dict[str, Verdict]
